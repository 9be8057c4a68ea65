"""Int8 on a person's images: what is reported, what is refused, and what is left behind."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsieve import write_demo_data
from clipsieve.encoders.quantize import quantized_graph
from clipsieve.engines.fidelity import Comparison, Fidelity, FidelityBar
from clipsieve.engines.precision import PrecisionReport, prepare_int8
from clipsieve.errors import EmbeddingError, ModelError, SourceError
from clipsieve.sources import FolderSource
from model_folders import KINDS, images, make_onnx_folder
from tiny_encoder import TinyEncoder

GOOD = Fidelity(
    n_measured=200,
    cosine_mean=0.9995,
    cosine_1st=0.998,
    cosine_least=0.99,
    n_flipped=3,
    n_flipped_clear=1,
    n_close=10,
    fp32_images_per_s=20.0,
    int8_images_per_s=90.0,
)
OUT_OF_REACH = FidelityBar(cosine_mean=1.1)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CLIPSIEVE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def folder_of_images(path: Path, n: int, *, n_broken: int = 0, seed: int = 0) -> FolderSource:
    path.mkdir()
    for number, pixels in enumerate(images(n, seed=seed)):
        Image.fromarray(pixels).save(path / f"{number:03}.png")
    for number in range(n_broken):
        (path / f"broken-{number}.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return FolderSource(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"cosine_mean": 0.9979}, "mean cosine >= 0.998"),
        ({"cosine_mean": float("nan")}, "mean cosine >= 0.998"),
        ({"cosine_1st": 0.989}, "1st percentile >= 0.99"),
        ({"n_flipped": 90}, None),
        ({"n_flipped_clear": 2}, "flipped <= 1"),
        ({"n_flipped_clear": 2, "n_close": 0}, None),
        ({"n_flipped_clear": 1, "n_measured": 20}, None),
    ],
)
def test_the_bar(change, words):
    found = [expected for expected, _ in FidelityBar().shortfalls(replace(GOOD, **change))]
    assert len(found) == (words is not None)
    assert (words or "") in "".join(found)


class Noisy(TinyEncoder):
    """The tiny encoder, with its embeddings turned by a known cosine."""

    cosine = 1.0
    lost = 0

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        rows = super().encode_images(pixels)
        rng = np.random.default_rng(1)
        aside = rng.normal(size=rows.shape)
        aside -= (aside * rows).sum(axis=1, keepdims=True) * rows
        aside /= np.linalg.norm(aside, axis=1, keepdims=True)
        turned = self.cosine * rows + (1 - self.cosine**2) ** 0.5 * aside
        turned[: self.lost] = np.nan
        return turned.astype(np.float32)


def compare(cosine: float, lost: int = 0) -> Fidelity:
    int8 = Noisy()
    int8.cosine, int8.lost = cosine, lost
    side = int8.recipe.size_px
    return Comparison(TinyEncoder(), images(40, side), margin=0.02).with_int8(int8)


def test_cosines_are_those_between_the_two():
    same, turned = compare(1.0), compare(0.9)
    assert same.cosine_least == pytest.approx(1, abs=1e-6)
    assert (same.n_flipped, same.n_measured) == (0, 40)
    for value in (turned.cosine_mean, turned.cosine_1st, turned.cosine_least):
        assert value == pytest.approx(0.9, abs=1e-5)


def test_an_embedding_that_int8_loses_counts_as_the_opposite():
    found = compare(1.0, lost=4)
    assert found.cosine_least == pytest.approx(-1, abs=1e-6)
    assert found.n_measured == 40


def test_where_fp32_has_no_embedding_at_all_nothing_can_be_said():
    fp32 = Noisy()
    fp32.lost = 40
    pixels = images(40, fp32.recipe.size_px)
    with pytest.raises(EmbeddingError, match="every image"):
        Comparison(fp32, pixels, margin=0.02).with_int8(TinyEncoder())


def needs_openvino() -> None:
    pytest.importorskip("openvino", reason="OpenVINO runs int8 towers")


def test_a_report_is_returned_and_kept(tmp_path):
    needs_openvino()
    model = make_onnx_folder(tmp_path / "model")
    source = folder_of_images(tmp_path / "photos", 90, n_broken=3)
    report = prepare_int8(source, str(model), workers=1, bar=FidelityBar(flipped=1))
    assert (report.is_new, report.is_apart, report.n_skipped) == (True, True, 3)
    assert report.fidelity.n_measured == 90 - 32
    assert 0.998 < report.fidelity.cosine_mean < 1
    assert Path(report.graph) == quantized_graph(model)
    assert json.loads(Path(report.graph).with_name("fidelity.json").read_text()) == asdict(report)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[1:])
def test_every_kind_of_graph_runs(tmp_path, kind):
    needs_openvino()
    model = make_onnx_folder(tmp_path / "model", kind)
    source = folder_of_images(tmp_path / "photos", 9)
    report = prepare_int8(source, str(model), workers=1, bar=FidelityBar(flipped=1))
    assert 0.998 < report.fidelity.cosine_mean < 1


def test_few_images_calibrate_and_measure(tmp_path):
    needs_openvino()
    model = make_onnx_folder(tmp_path / "model")
    source = folder_of_images(tmp_path / "photos", 5)
    report = prepare_int8(source, str(model), workers=1, bar=FidelityBar(flipped=1))
    assert (report.is_apart, report.fidelity.n_measured) == (False, 5)


def test_a_new_form_below_the_bar_is_not_kept(tmp_path, home):
    needs_openvino()
    model = make_onnx_folder(tmp_path / "model")
    with pytest.raises(ModelError, match="too far from fp32 on 58") as caught:
        prepare_int8(folder_of_images(tmp_path / "photos", 90), str(model), workers=1, bar=OUT_OF_REACH)
    text = str(caught.value)
    assert "mean cosine >= 1.1" in text
    assert "bf16" in text
    assert "no int8 form was kept" in text
    assert quantized_graph(model) is None
    assert not list((home / "int8").glob("*/*"))


@pytest.mark.slow
def test_a_form_that_is_there_is_measured_on_other_images_and_stays(tmp_path):
    needs_openvino()
    model = make_onnx_folder(tmp_path / "model")
    bar = FidelityBar(flipped=1)
    first = prepare_int8(folder_of_images(tmp_path / "a", 40), str(model), workers=1, bar=bar)
    content = Path(first.graph).read_bytes()
    other = folder_of_images(tmp_path / "b", 40, seed=3)
    second = prepare_int8(other, str(model), workers=1, bar=bar)
    assert (second.is_new, second.graph) == (False, first.graph)
    assert second.fidelity.cosine_mean != first.fidelity.cosine_mean
    with pytest.raises(ModelError, match="too far") as caught:
        prepare_int8(other, str(model), workers=1, bar=OUT_OF_REACH)
    assert "--force" in str(caught.value)
    assert Path(first.graph).read_bytes() == content
    third = prepare_int8(other, str(model), workers=1, bar=bar, force=True)
    assert third.is_new
    assert Path(third.graph).read_bytes() != content


def test_images_that_cannot_be_read_are_said(tmp_path):
    needs_openvino()
    source = folder_of_images(tmp_path / "photos", 0, n_broken=3)
    with pytest.raises(SourceError, match="none of the images") as caught:
        prepare_int8(source, str(make_onnx_folder(tmp_path / "model")), workers=1)
    assert "3 of 3" in str(caught.value)


@pytest.mark.torch
def test_a_model_without_graphs_is_told_to_be_exported(tmp_path):
    from model_folders import make_torch_folder

    needs_openvino()
    model = make_torch_folder(tmp_path / "model")
    with pytest.raises(ModelError, match="no ONNX graphs") as caught:
        prepare_int8(folder_of_images(tmp_path / "photos", 3), str(model), workers=1)
    assert "models export" in str(caught.value)


@pytest.mark.slow
def test_the_embedded_model_on_the_demo_data(tmp_path):
    needs_openvino()
    write_demo_data(tmp_path / "demo", n_images=400)
    report = prepare_int8(FolderSource(tmp_path / "demo"), "pictogram")
    assert isinstance(report, PrecisionReport)
    assert report.fidelity.cosine_mean > 0.999
    assert report.fidelity.cosine_1st > 0.995
    assert report.fidelity.n_flipped_clear <= 2
    assert FidelityBar().shortfalls(report.fidelity) == []
