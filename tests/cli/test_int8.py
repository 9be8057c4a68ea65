"""`scan --precision int8` and `models quantize`: what is refused and when, what is said, and how a run goes on."""

import json
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from clipsieve.cli.entry import run as type_command
from clipsieve.cli.fidelity import fidelity_lines, show_fidelity
from clipsieve.engines import Fidelity, Int8Report
from clipsieve.store import Run
from model_folders import images, make_onnx_folder

FOUND = Fidelity(
    n_measured=57,
    cosine_mean=0.9995,
    cosine_1st=0.998,
    cosine_least=0.99,
    n_flipped=3,
    n_flipped_clear=1,
    n_close=10,
    fp32_images_per_s=20.0,
    int8_images_per_s=90.0,
)
REPORT = Int8Report("m", "photos", "int8-0123456789ab", "int8/model.onnx", True, 2, True, FOUND)
SLOWER = replace(REPORT, fidelity=replace(FOUND, int8_images_per_s=19.0))


def test_the_words_tell_how_many_images_there_were():
    said = " ".join(fidelity_lines(REPORT))
    assert "int8 on 57 images" in said
    assert "4.5 times as fast" in said
    assert "stay with" not in said


def test_where_int8_is_not_faster_that_is_said(capsys):
    assert "not faster than fp32 on this machine: stay with fp32" in fidelity_lines(SLOWER)[-1]
    show_fidelity(SLOWER)
    assert "stay with fp32" in capsys.readouterr().err
    show_fidelity(REPORT)
    told = capsys.readouterr()
    assert told.err == ""
    assert "2 images left out" in told.out


class Done(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


class Desk:
    """A folder with a model and 34 images, and the commands that are typed there."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path, self._capsys = path, capsys
        make_onnx_folder(path / "model")
        self.draw("photos", 34)

    def draw(self, name: str, n: int, seed: int = 0) -> None:
        (self.path / name).mkdir()
        for number, pixels in enumerate(images(n, seed=seed)):
            Image.fromarray(pixels).save(self.path / name / f"{number:03}.png")

    def type(self, *args: str) -> Done:
        status = type_command(args)
        told = self._capsys.readouterr()
        return Done(status, told.out, told.err)

    def scan(self, *args: str, model: str = "./model") -> Done:
        return self.type(
            *("scan", "photos", "-o", "run", "-m", model, "--precision", "int8", "--workers", "1", "--json"), *args
        )

    def quantize(self, *args: str) -> Done:
        return self.type("models", "quantize", "./model", *args, "--workers", "1", "--json")

    def precision(self) -> str:
        return Run.open(self.path / "run").manifest.encoder.precision

    def towers(self) -> list[str]:
        return sorted(f"int8-{graph.parent.name}" for graph in (self.path / "home/int8").glob("*/*/model.onnx"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    pytest.importorskip("openvino", reason="OpenVINO runs int8 towers")
    monkeypatch.setenv("CLIPSIEVE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path, capsys)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--backend", "onnx"], "`--backend onnx` has no int8"),
        (["--backend", "torch"], "`--backend torch` has no int8"),
        (["--device", "cuda:0,cuda:1"], "there is no int8 on `cuda:0,cuda:1`"),
    ],
)
def test_what_does_not_go_together_is_refused_before_the_source_is_looked_for(desk, args, words):
    done = desk.type("scan", "nowhere", "-o", "run", "-m", "no/model", "--precision", "int8", *args)
    assert (done.status, done.out) == (2, "")
    assert words in done.err
    assert not (desk.path / "home").exists()


@pytest.mark.parametrize("missing", ["openvino", "onnx"])
def test_what_is_not_installed_is_said_before_the_source_is_looked_for(desk, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    for command in (["scan", "nowhere", "-o", "run", "--precision", "int8"], ["models", "quantize", "no/m", "nowhere"]):
        done = desk.type(*command)
        assert done.status != 0
        assert "pip install 'clipsieve[openvino]'" in done.err


def test_a_scan_compares_first_says_so_and_goes_on_as_it_was_begun(desk):
    first = desk.scan()
    assert first.status == 0, first.err
    facts = json.loads(first.out)
    assert facts["int8"]["precision"] == desk.precision() == desk.towers()[0]
    assert facts["int8"]["fidelity"]["n_measured"] == 34
    assert "int8 on 34 images" in first.err
    again = desk.scan()
    assert (again.status, "cosine" in again.err) == (0, False)
    facts = json.loads(again.out)
    assert (facts["int8"], facts["n_new"]) == (None, 0)
    assert [entry["what"] for entry in Run.open(desk.path / "run").history()] == ["int8", "scan", "scan"]


@pytest.mark.slow
def test_a_run_keeps_its_tower_whatever_force_makes(desk):
    assert desk.scan().status == 0
    begun = desk.precision()
    desk.draw("others", 33, seed=4)
    made = desk.quantize("others", "--force", "-q")
    assert made.status == 0, made.err
    newer = json.loads(made.out)["precision"]
    assert newer != begun
    assert desk.towers() == sorted([begun, newer])
    assert json.loads(desk.scan().out)["n_new"] == 0
    assert desk.precision() == begun
    measured = desk.scan("--overwrite")
    assert json.loads(measured.out)["int8"]["precision"] == newer == desk.precision()


@pytest.mark.slow
def test_overwriting_measures_another_model(desk):
    assert desk.scan().status == 0
    begun = desk.precision()
    make_onnx_folder(desk.path / "other", seed=3)
    refused = desk.scan(model="./other")
    assert refused.status == 1
    assert "another encoder" in refused.err
    done = desk.scan("--overwrite", model="./other")
    assert done.status == 0, done.err
    assert json.loads(done.out)["int8"]["precision"] == desk.precision() != begun


@pytest.mark.slow
def test_without_its_tower_a_run_of_the_same_images_goes_on_with_the_same_one(desk, monkeypatch):
    assert desk.scan().status == 0
    begun = desk.precision()
    monkeypatch.setenv("CLIPSIEVE_HOME", str(desk.path / "elsewhere"))
    done = desk.scan()
    assert done.status == 0, done.err
    facts = json.loads(done.out)
    assert (facts["int8"]["precision"], facts["int8"]["is_new"], facts["n_new"]) == (begun, True, 0)


@pytest.mark.slow
def test_a_damaged_tower_is_made_again(desk):
    assert desk.scan().status == 0
    begun = desk.precision()
    graph = next((desk.path / "home/int8").glob("*/*/model.onnx"))
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-10])
    done = desk.scan()
    assert done.status == 0, done.err
    assert json.loads(done.out)["int8"]["precision"] == begun
    assert graph.read_bytes() == whole


@pytest.mark.slow
def test_blocked_images_calibrate_nothing(desk):
    paths = sorted((desk.path / "photos").iterdir())[:3]
    (desk.path / "list.txt").write_text("\n".join(sha256(path.read_bytes()).hexdigest() for path in paths))
    for done in (desk.scan("--hash-list", "list.txt"), desk.quantize("photos", "--hash-list", "list.txt")):
        assert done.status == 1
        assert "found:    31 readable images" in done.err
        assert "models quantize MODEL OTHER_IMAGES" in done.err
    assert desk.towers() == []
    assert not (desk.path / "run").exists()
    assert desk.quantize("photos").status == 0
    assert json.loads(desk.scan("--hash-list", "list.txt").out)["int8"]["n_skipped"] == 3


@pytest.mark.slow
def test_a_scan_in_another_precision_has_no_such_facts(desk):
    done = desk.type("scan", "photos", "-o", "run", "-m", "./model", "--workers", "1", "--json")
    assert json.loads(done.out)["int8"] is None


@pytest.mark.slow
def test_what_was_made_is_shown_as_a_table(desk):
    done = desk.type("models", "quantize", "./model", "photos", "--workers", "1")
    assert done.status == 0, done.err
    assert f"made {desk.towers()[0]}: " in done.out
    assert "measured on 34 images, those for calibration among them" in done.out
    assert "decisions flipped" in done.out
