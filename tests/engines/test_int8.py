"""Int8 on a person's images: what is reported, what is refused, and what is left behind."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsieve import write_demo_data
from clipsieve.classifiers import builtin_prompt_set
from clipsieve.encoders import load_encoder
from clipsieve.encoders.quantize import LEAST_COSINE
from clipsieve.encoders.quantize_towers import Towers, read_quantization
from clipsieve.engines.fidelity import Comparison, Fidelity, FidelityBar
from clipsieve.engines.int8 import Int8Report, int8_of_run, prepare_int8
from clipsieve.engines.scan import scan
from clipsieve.errors import EmbeddingError, ModelError, ModelFileError, SourceError
from clipsieve.images import BlockList
from clipsieve.sources import FolderSource
from clipsieve.store import Run
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
ANY_FLIPS = FidelityBar(flipped=1)


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
        ({"n_flipped_clear": 2}, None),
        ({"n_flipped_clear": 3}, "flipped <= 2"),
        ({"n_flipped_clear": 2, "n_close": 60}, "flipped <= 1"),
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
    return Comparison(TinyEncoder(), images(40, side), cosine=0.998).with_int8(int8)


def test_cosines_are_those_between_the_two():
    same, turned = compare(1.0), compare(0.9)
    assert same.cosine_least == pytest.approx(1, abs=1e-6)
    assert (same.n_flipped, same.n_measured) == (0, 40)
    for value in (turned.cosine_mean, turned.cosine_1st, turned.cosine_least):
        assert value == pytest.approx(0.9, abs=1e-5)


def test_a_decision_is_clear_where_what_the_bar_allows_would_not_flip_it():
    class Far(TinyEncoder):
        """Gives embeddings at a known logit between the two prompts."""

        def encode_images(self, pixels: np.ndarray) -> np.ndarray:
            prompts = [set_.texts(each) for each in set_.classes]
            wanted, unwanted = (self.encode_texts(texts).mean(axis=0) for texts in prompts)
            wanted, unwanted = wanted / np.linalg.norm(wanted), unwanted / np.linalg.norm(unwanted)
            apart = unwanted - wanted
            middle = (unwanted + wanted) / np.linalg.norm(unwanted + wanted)
            self.allowed = self.logit_scale * np.linalg.norm(apart) * np.sqrt((1 - 0.998**2) / len(apart))
            turn = logits[: len(pixels), None] * self.allowed / self.logit_scale / np.linalg.norm(apart) ** 2 * apart
            rows = middle + turn
            return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    set_ = builtin_prompt_set("positive-negative")
    logits = np.array([-3, -1.2, -0.8, -0.1, 0.1, 0.8, 1.2, 3.0])
    side = TinyEncoder().recipe.size_px
    found = Comparison(Far(), images(8, side), cosine=0.998).with_int8(Far())
    assert (found.n_close, found.n_flipped) == (4, 0)


def test_an_embedding_that_int8_loses_counts_as_the_opposite():
    found = compare(1.0, lost=4)
    assert found.cosine_least == pytest.approx(-1, abs=1e-6)
    assert found.n_measured == 40


def test_where_fp32_has_no_embedding_at_all_nothing_can_be_said():
    fp32 = Noisy()
    fp32.lost = 40
    pixels = images(40, fp32.recipe.size_px)
    with pytest.raises(EmbeddingError, match="every image"):
        Comparison(fp32, pixels, cosine=0.998).with_int8(TinyEncoder())


def needs_openvino() -> None:
    pytest.importorskip("openvino", reason="OpenVINO runs int8 towers")


def test_what_was_found_is_reported_and_how_far_it_has_come_is_told(tmp_path):
    needs_openvino()
    model = make_onnx_folder(tmp_path / "model")
    source = folder_of_images(tmp_path / "photos", 90, n_broken=3)
    told: list[tuple[int, int]] = []
    report = prepare_int8(
        source, str(model), workers=1, bar=ANY_FLIPS, on_progress=lambda n_done, n_total: told.append((n_done, n_total))
    )
    assert (report.is_new, report.is_apart, report.n_skipped) == (True, True, 3)
    assert report.fidelity.n_measured == 90 - 32
    assert LEAST_COSINE < report.fidelity.cosine_mean < 1
    assert Path(report.graph) == Towers(model).graph(report.precision)
    assert Towers(model).current == report.precision
    assert told[-1] == (93 + 3 * 32 + 2 * 58,) * 2
    assert [n_done for n_done, _ in told] == sorted(n_done for n_done, _ in told)
    assert all(n_done <= n_total for n_done, n_total in told)


@pytest.mark.slow
def test_no_blocked_image_calibrates_or_is_measured(tmp_path):
    needs_openvino()
    model = make_onnx_folder(tmp_path / "model")
    source = folder_of_images(tmp_path / "photos", 33)
    blocked = [hashlib.sha256((tmp_path / f"photos/{name}.png").read_bytes()).digest() for name in ("000", "032")]
    with pytest.raises(ModelError, match="too few images") as caught:
        prepare_int8(source, str(model), workers=1, block_list=BlockList(sha256=frozenset(blocked)))
    assert caught.value.found == "31 readable images"
    one = BlockList(sha256=frozenset(blocked[:1]))
    report = prepare_int8(source, str(model), workers=1, bar=ANY_FLIPS, block_list=one)
    assert (report.n_skipped, report.fidelity.n_measured) == (1, 32)
    assert read_quantization(Path(report.graph))["calibration"]["n_images"] == 32


@pytest.mark.slow
def test_with_too_few_images_a_tower_is_not_made_but_used(tmp_path):
    needs_openvino()
    model = make_onnx_folder(tmp_path / "model")
    few = folder_of_images(tmp_path / "few", 5)
    with pytest.raises(ModelError, match="too few images to calibrate") as caught:
        prepare_int8(few, str(model), workers=1, bar=ANY_FLIPS)
    assert (caught.value.expected, caught.value.found) == ("at least 32", "5 readable images")
    assert "models quantize" in str(caught.value.hint)
    made = prepare_int8(folder_of_images(tmp_path / "many", 40), str(model), workers=1, bar=ANY_FLIPS)
    report = prepare_int8(few, str(model), workers=1, bar=ANY_FLIPS)
    assert (report.is_new, report.precision, report.fidelity.n_measured) == (False, made.precision, 5)


@pytest.mark.slow
class TestTheTowerOfARun:
    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        needs_openvino()
        return make_onnx_folder(tmp_path / "model")

    @pytest.fixture
    def source(self, tmp_path: Path) -> FolderSource:
        return folder_of_images(tmp_path / "photos", 40)

    @pytest.fixture
    def begun(self, tmp_path: Path, model: Path, source: FolderSource) -> Int8Report:
        report = prepare_int8(source, str(model), workers=1, bar=ANY_FLIPS)
        with load_encoder(str(model), precision=report.precision) as encoder:
            scan(source, tmp_path / "run", encoder, int8=report)
        return report

    def test_it_is_taken_again_whatever_was_made_later(self, tmp_path, model, source, begun):
        assert int8_of_run(tmp_path / "run", str(model)) == begun.precision
        other = folder_of_images(tmp_path / "others", 40, seed=4)
        later = prepare_int8(other, str(model), workers=1, bar=ANY_FLIPS, force=True)
        assert Towers(model).current == later.precision != begun.precision
        again = int8_of_run(tmp_path / "run", str(model))
        assert again == begun.precision
        with load_encoder(str(model), precision=again) as encoder:
            assert scan(source, tmp_path / "run", encoder).n_new == 0

    def test_the_comparison_is_in_the_history_of_the_run(self, tmp_path, begun):
        first = Run.open(tmp_path / "run").history()[0]
        assert (first["what"], first["precision"]) == ("int8", begun.precision)
        assert first["fidelity"]["cosine_mean"] == begun.fidelity.cosine_mean

    def test_another_model_has_another_one(self, tmp_path, begun):
        assert int8_of_run(tmp_path / "run", str(make_onnx_folder(tmp_path / "other", seed=3))) is None
        assert int8_of_run(tmp_path / "no run", str(tmp_path / "model")) is None

    def test_one_that_is_not_here_or_damaged_is_not_taken(self, tmp_path, model, begun, monkeypatch):
        monkeypatch.setenv("CLIPSIEVE_HOME", str(tmp_path / "elsewhere"))
        assert int8_of_run(tmp_path / "run", str(model)) is None
        monkeypatch.setenv("CLIPSIEVE_HOME", str(tmp_path / "home"))
        assert int8_of_run(tmp_path / "run", str(model)) == begun.precision
        with Path(begun.graph).open("ab") as file:
            file.write(b"more")
        assert int8_of_run(tmp_path / "run", str(model)) is None

    def test_a_run_in_fp32_has_none(self, tmp_path, model, source):
        with load_encoder(str(model)) as encoder:
            scan(source, tmp_path / "run", encoder)
        assert int8_of_run(tmp_path / "run", str(model)) is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[1:])
def test_every_kind_of_graph_runs(tmp_path, kind):
    needs_openvino()
    model = make_onnx_folder(tmp_path / "model", kind)
    source = folder_of_images(tmp_path / "photos", 33)
    report = prepare_int8(source, str(model), workers=1, bar=ANY_FLIPS)
    assert LEAST_COSINE < report.fidelity.cosine_mean < 1
    assert (report.is_apart, report.fidelity.n_measured) == (False, 33)


def test_a_new_form_below_the_bar_is_not_kept(tmp_path, home):
    needs_openvino()
    model = make_onnx_folder(tmp_path / "model")
    with pytest.raises(ModelError, match="too far from fp32 on 58") as caught:
        prepare_int8(folder_of_images(tmp_path / "photos", 90), str(model), workers=1, bar=OUT_OF_REACH)
    text = str(caught.value)
    assert "mean cosine >= 1.1" in text
    assert "bf16" in text
    assert "no int8 form was kept" in text
    assert Towers(model).current is None
    assert not list((home / "int8").glob("*/*"))


@pytest.mark.slow
def test_a_form_that_is_there_is_measured_on_other_images_and_stays(tmp_path):
    needs_openvino()
    model = make_onnx_folder(tmp_path / "model")
    bar = ANY_FLIPS
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
    assert Path(third.graph).read_bytes() != content == Path(first.graph).read_bytes()


def test_images_that_cannot_be_read_are_said(tmp_path):
    needs_openvino()
    source = folder_of_images(tmp_path / "photos", 0, n_broken=3)
    with pytest.raises(SourceError, match="none of the images") as caught:
        prepare_int8(source, str(make_onnx_folder(tmp_path / "model")), workers=1)
    assert "3 failed" in str(caught.value)


@pytest.mark.torch
def test_a_model_without_graphs_is_told_to_be_exported(tmp_path):
    from model_folders import make_torch_folder

    needs_openvino()
    model = make_torch_folder(tmp_path / "model")
    with pytest.raises(ModelFileError, match="no graphs") as caught:
        prepare_int8(folder_of_images(tmp_path / "photos", 3), str(model), workers=1)
    assert "models export" in str(caught.value)


@pytest.mark.slow
def test_the_embedded_model_on_the_demo_data(tmp_path):
    needs_openvino()
    write_demo_data(tmp_path / "demo", n_images=400)
    report = prepare_int8(FolderSource(tmp_path / "demo"), "pictogram")
    assert isinstance(report, Int8Report)
    assert report.fidelity.cosine_mean > 0.999
    assert report.fidelity.cosine_1st > 0.995
    assert report.fidelity.n_flipped_clear <= 2
    assert FidelityBar().shortfalls(report.fidelity) == []
