"""A scan on a cluster writes what a scan on one machine writes, byte for byte: every kind of source, batches of any size."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import source_kinds
from clipsieve.encoders import EncoderChoice
from clipsieve.engines import DecodeLimits, Engine, LocalEngine, ScanOptions, ScanReport, scan
from clipsieve.engines.ray import RayEncoder, RayEngine, Wanted, lay_out
from clipsieve.sources import Columns, Source, open_source
from image_files import png

pytestmark = pytest.mark.ray
PARTS_OF_3 = ScanOptions(part_size=3)


def parts(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "images").glob("*"))}


def plain(report: ScanReport) -> ScanReport:
    return replace(report, elapsed_s=0.0)


@pytest.fixture(scope="module")
def both(cluster):
    """Return a function that scans on one machine and on a cluster, and gives both reports and both runs' parts."""
    layout = lay_out(cluster.nodes, Wanted(), on_gpu=False)
    local = EncoderChoice().load()
    remote = RayEncoder(EncoderChoice(device="cpu", threads=layout.threads), layout)

    def scan_both(source: Source, scratch: Path, *, batch_size: int | None = None, options=PARTS_OF_3, redo="never"):
        def go(name: str, encoder, engine: Engine) -> tuple[ScanReport, dict[str, bytes]]:
            report = scan(source, scratch / name, encoder, options=options, engine=engine, redo=redo)
            return plain(report), parts(scratch / name)

        there = go("ray", remote, RayEngine(cluster, batch_size=batch_size))
        return go("local", local, LocalEngine(workers=1, batch_size=batch_size)), there

    yield scan_both
    remote.close()


@pytest.mark.parametrize("make", source_kinds.KINDS, ids=lambda make: make.__name__)
def test_every_kind_of_source(both, tmp_path, make):
    one_machine, many = both(open_source(make(tmp_path / "source")), tmp_path)
    assert many == one_machine
    assert one_machine[0].n_scanned == source_kinds.N_IMAGES


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_batches_of_any_size(both, tmp_path, batch_size):
    source = open_source(source_kinds.webdataset(tmp_path / "source"))
    one_machine, many = both(source, tmp_path, batch_size=batch_size, options=ScanOptions(part_size=5))
    assert many == one_machine


def test_labels_captions_and_odd_words_travel_along(both, tmp_path):
    root = tmp_path / "source"
    root.mkdir()
    words = ["plain", "日本語 🦊", "a \x1f control", '"quoted, twice"', "", "x" * 5000]
    for index in range(len(words)):
        (root / f"{index}.png").write_bytes(png(index))
    cells = [word.replace('"', '""') for word in words]
    rows = [f'{index}.png,"{cell}",l{index % 2}' for index, cell in enumerate(cells)]
    (root / "t.csv").write_text("\n".join(["path,caption,label", *rows, "gone.png,lost,l0"]), encoding="utf-8")
    columns = Columns(image="path", caption="caption", label="label")
    one_machine, many = both(open_source(root / "t.csv", columns=columns), tmp_path)
    assert many == one_machine
    assert one_machine[0].n_failed == 1


def test_embeddings_of_an_earlier_scan_are_reused(both, tmp_path):
    source = open_source(source_kinds.folder(tmp_path / "source"))
    before, _ = both(source, tmp_path)
    shutil.rmtree(tmp_path / "ray")
    shutil.copytree(tmp_path / "local", tmp_path / "ray")
    (tmp_path / "source" / "class 0" / "0.png").write_bytes(png(40))  # one image is another
    options = ScanOptions(part_size=3, limits=DecodeLimits(max_pixels=10**6))
    one_machine, many = both(source, tmp_path, options=options, redo="stale")
    assert many == one_machine
    assert (before[0].n_reused, one_machine[0].n_reused) == (0, source_kinds.N_IMAGES - 1)


def test_a_finished_run_is_left_as_it_is(both, tmp_path):
    source = open_source(source_kinds.folder(tmp_path / "source"))
    both(source, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "ray" / "images").iterdir()}
    _, again = both(source, tmp_path)
    assert again[0].n_new == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
