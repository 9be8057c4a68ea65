"""A dry run: every check of a scan, an estimate that holds, and nothing left behind."""

import hashlib
import io
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from upath import UPath

from clipsieve import load_encoder, write_demo_data
from clipsieve.engines import LocalEngine, ScanOptions, probe, scan
from clipsieve.engines.dry_run import dry_run
from clipsieve.engines.forecast import OFF_BY, forecast
from clipsieve.engines.probe import Probe
from clipsieve.engines.rates import local_share
from clipsieve.engines.workplace import Workplace
from clipsieve.errors import EmbeddingError, ModelFileError, RunConflictError, RunError, SourceError, UsageError
from clipsieve.sources import FolderSource
from clipsieve.types import Failure, FailureCode, FailureStep
from tiny_encoder import TinyEncoder

PARTS_OF_4 = ScanOptions(part_size=4)
PROBE = Probe(
    n_images=200,
    n_failed=4,
    image_bytes=100_000.0,
    image_bytes_error=1000.0,
    megapixels=0.19,
    read_s=0.001,
    decode_s=0.005,
    encode_s=0.08,
    start_s=2.0,
)
TWO_CORES = Workplace("local", 1, 2, 0, 1, 2, 0.0, 2, 2, 2, 2)


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """Measure for a moment alone, where the numbers do not matter."""
    if "estimate" not in request.node.name:
        monkeypatch.setattr(probe, "DECODE_S", 0.0)
        monkeypatch.setattr(probe, "ENCODE_S", 0.0)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Ten images; 03 is truncated and 07 is no image."""
    root = tmp_path / "photos"
    root.mkdir()
    for index in range(10):
        file = io.BytesIO()
        noise = np.random.default_rng(index).integers(0, 256, (12, 10, 3), dtype=np.uint8)
        Image.fromarray(noise).save(file, "PNG")
        (root / f"{index:02d}.png").write_bytes(file.getvalue())
    (root / "03.png").write_bytes((root / "03.png").read_bytes()[:200])
    (root / "07.png").write_bytes(b"words")
    return root


@contextmanager
def opened(encoder=None, entered=None, **engine):
    if entered is not None:
        entered.append(True)
    yield encoder or TinyEncoder(), LocalEngine(workers=1, **engine)


def tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder"
        for path in sorted(root.rglob("*"))
    }


def dry(photos, run, encoder=None, options=PARTS_OF_4, **told):
    return dry_run(FolderSource(photos), run, opened(encoder), options=options, **told)


def really(photos, run, encoder=None, options=PARTS_OF_4, **told):
    encoder = encoder or TinyEncoder()
    return scan(FolderSource(photos), run, encoder, options=options, engine=LocalEngine(workers=1), **told)


def test_it_says_what_would_be_done_and_leaves_nothing(photos, tmp_path):
    before, seen = tree(tmp_path), []
    found = dry(photos, tmp_path / "new" / "run", on_progress=lambda n, of: seen.append((n, of)))
    assert tree(tmp_path) == before
    assert (found.n_images, found.n_done, found.n_left) == (10, 0, 10)
    assert (found.n_parts, found.n_parts_left) == (3, 3)
    assert (found.probe.n_images, found.probe.n_failed) == (10, 2)
    assert found.probe.image_bytes == pytest.approx(np.mean([p.stat().st_size for p in photos.iterdir()]))
    assert found.probe.megapixels == pytest.approx(120e-6)
    assert found.forecast.n_failures == 2
    assert seen[-1] == (10, 10)
    assert found.forecast.cost is None


@pytest.mark.slow
def test_a_run_that_goes_on_has_less_to_do(photos, tmp_path):
    really(photos, tmp_path / "run")
    done = dry(photos, tmp_path / "run")
    assert (done.n_done, done.n_left, done.n_parts_left, done.probe, done.forecast) == (10, 0, 0, None, None)
    (photos / "99.png").write_bytes((photos / "00.png").read_bytes())
    (tmp_path / "run/images/part-00000.parquet").unlink()
    before = tree(tmp_path)
    found = dry(photos, tmp_path / "run")
    assert (found.n_images, found.n_done, found.n_left, found.n_parts_left) == (11, 4, 7, 2)
    assert tree(tmp_path) == before


@pytest.mark.slow
def test_what_shall_be_made_anew_is_left(photos, tmp_path):
    really(photos, tmp_path / "run")
    before = tree(tmp_path)
    assert dry(photos, tmp_path / "run", redo="all").n_left == 10
    assert dry(photos, tmp_path / "run", TinyEncoder(seed=1), redo="stale").n_done == 0
    assert tree(tmp_path) == before


class Flaky(FolderSource):
    """One file cannot be read today."""

    def read(self, shard):
        failure = Failure(FailureStep.READ, FailureCode.READ_ERROR, "the disk made a noise")
        for ref in super().read(shard):
            yield replace(ref, content=failure) if ref.image_id == "05.png" else ref


@pytest.mark.slow
def test_failures_that_may_pass_are_tried_again_if_asked(photos, tmp_path):
    scan(Flaky(photos), tmp_path / "run", TinyEncoder(), options=PARTS_OF_4, engine=LocalEngine(workers=1))
    assert dry(photos, tmp_path / "run").n_left == 0
    again = dry(photos, tmp_path / "run", retry_failed=True)
    assert (again.n_left, again.n_parts_left) == (4, 1), "damage does not pass, a disk may"


@pytest.mark.parametrize("way", [dry, really], ids=["dry run", "scan"])
@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("photos/00.png", RunConflictError),
        ("photos/00.png/run", RunError),
        ("photos", RunConflictError),
        ("run", RunConflictError),
    ],
    ids=["a file", "below a file", "other files", "another encoder's run"],
)
def test_a_place_that_will_not_do_is_refused_and_left_as_it_was(photos, tmp_path, way, place, error):
    if place == "run":
        really(photos, tmp_path / "run", TinyEncoder(seed=1))
    before = tree(tmp_path)
    with pytest.raises(error):
        way(photos, tmp_path / place)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("way", [dry, really], ids=["dry run", "scan"])
def test_a_source_without_images_is_refused_first(tmp_path, way):
    (tmp_path / "none").mkdir()
    with pytest.raises(SourceError):
        way(tmp_path / "none", tmp_path / "run")
    assert tree(tmp_path) == {"none": "a folder"}


@pytest.mark.parametrize("way", [dry, really], ids=["dry run", "scan"])
def test_a_disk_that_cannot_hold_the_embeddings_is_refused(photos, small_disk, way):
    with pytest.raises(RunError, match="not enough room"):
        way(photos, small_disk / "run", TinyEncoder(dim=100_000))
    assert list(small_disk.iterdir()) == []


def test_a_place_that_may_not_be_written_to_is_found_out_before_the_model_is_loaded(photos, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    entered = []
    with pytest.raises(RunError, match="cannot write to the folder"):
        dry_run(FolderSource(photos), small_disk / "run", opened(entered=entered))
    assert entered == []


@pytest.mark.parametrize("way", [dry, really], ids=["dry run", "scan"])
def test_a_model_that_cannot_encode_is_found_out(photos, tmp_path, way):
    class Broken(TinyEncoder):
        def encode_images(self, pixels):
            raise EmbeddingError("the graph is damaged")

    before = tree(tmp_path)
    with pytest.raises(EmbeddingError):
        way(photos, tmp_path / "run", Broken())
    assert tree(tmp_path) == before


def test_what_does_not_load_says_so(photos, tmp_path):
    @contextmanager
    def opening():
        raise ModelFileError("the model is damaged")
        yield

    with pytest.raises(ModelFileError):
        dry_run(FolderSource(photos), tmp_path / "run", opening())
    assert not (tmp_path / "run").exists()


def test_nothing_stays_behind_a_url(photos):
    place = UPath("memory://dry/run")
    assert dry(photos, place).run == "memory://dry/run"
    assert place.fs.find("/dry") == []


@pytest.mark.slow
def test_nothing_stays_on_a_server_that_has_folders(photos, tmp_path):
    found = dry(photos, UPath(f"local://{tmp_path}/far/away/run"))
    assert found.n_left == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_cores_share_decoding_and_encoding():
    found = forecast(PROBE, TWO_CORES, 10_000, 1000, 512, price=3.0)
    assert found.images_per_s == pytest.approx(local_share()[0] * 2 / (0.005 + 0.08))
    assert found.bound == "encoding"
    assert found.elapsed_s == pytest.approx(2.0 + 10_000 / found.images_per_s)
    assert found.cost == pytest.approx(3.0 * found.elapsed_s / 3600)
    assert found.most_s / found.elapsed_s == found.elapsed_s / found.least_s == pytest.approx(OFF_BY)
    assert (found.read_bytes, found.read_bytes_high) == pytest.approx((1e9, 10_000 * (100_000 + 1.96 * 1000)))
    assert found.n_failures_low < found.n_failures == 200 < found.n_failures_high


def test_gpus_and_decoders_are_as_fast_as_the_slower_of_them():
    one_gpu = Workplace("ray", 1, 9, 1, 1, 4, 1.0, 8, 8, 1, 1)
    decoding = forecast(replace(PROBE, encode_s=1e-4), one_gpu, 100, 10, 512)
    assert (decoding.bound, decoding.images_per_s) == ("decoding", pytest.approx(0.85 * 8 / 0.005))
    one_part = forecast(replace(PROBE, encode_s=1e-4), one_gpu, 100, 1000, 512)  # which one task decodes
    assert (one_part.bound, one_part.images_per_s) == ("decoding", pytest.approx(0.85 * 1 / 0.005))
    encoding = forecast(PROBE, one_gpu, 100, 1000, 512)
    assert (encoding.bound, encoding.images_per_s) == ("encoding", pytest.approx(0.85 / 0.08))


def test_fewer_decoders_than_cores_are_the_bound():
    probe_ = replace(PROBE, decode_s=0.08, encode_s=0.001)
    found = forecast(probe_, replace(TWO_CORES, cores=8, decoders=1, threads=8), 100, 1000, 512)
    assert (found.bound, found.images_per_s) == ("decoding", pytest.approx(local_share()[0] / 0.08))


def test_a_price_that_makes_no_sense():
    with pytest.raises(UsageError, match="the price is"):
        forecast(PROBE, TWO_CORES, 100, 1000, 512, price=-1.0)


@pytest.mark.slow
def test_the_estimate_is_near_a_scan(tmp_path):
    """Before and after the scan, since others may use the machine: it lies between those two, or not far off."""
    write_demo_data(tmp_path / "images", n_images=2000)
    source, guessed = FolderSource(tmp_path / "images"), []

    @contextmanager
    def opening():
        with load_encoder("pictogram") as encoder:
            yield encoder, LocalEngine()

    guessed.append(dry_run(source, tmp_path / "run", opening()).forecast.elapsed_s)
    with load_encoder("pictogram") as encoder:
        took_s = scan(source, tmp_path / "run", encoder).elapsed_s
    guessed.append(dry_run(source, tmp_path / "other", opening()).forecast.elapsed_s)
    assert min(guessed) / 3 < took_s < 3 * max(guessed), guessed
