"""From a source to a run folder: one row for each input, always, and nothing done twice."""

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsieve.engines import DecodeLimits, LocalEngine, MaxFailures, ScanOptions, scan
from clipsieve.errors import (
    EmbeddingError,
    RunConflictError,
    RunCorruptError,
    SourceError,
    TooManyFailuresError,
    UsageError,
)
from clipsieve.sources import FolderSource
from clipsieve.store import Run
from clipsieve.types import ImageRef, Shard
from tiny_encoder import TinyEncoder

PARTS_OF_4 = ScanOptions(part_size=4)


def photo(value: int) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(value).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def photos(tmp_path) -> Path:
    """Ten images in two classes; 03 is truncated and 07 is no image."""
    root = tmp_path / "photos"
    for index in range(10):
        path = root / ("bad" if index % 2 else "good") / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(index))
    (root / "bad" / "03.png").write_bytes(photo(3)[:200])
    (root / "bad" / "07.png").write_bytes(b"words")
    return root


def run_scan(photos: Path, run: Path, encoder: TinyEncoder | None = None, options: ScanOptions = PARTS_OF_4, **engine):
    engine = LocalEngine(**{"workers": 1, **engine})
    return scan(FolderSource(photos), run, encoder or TinyEncoder(), options=options, engine=engine)


def digests(run: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(run.glob("images/*"))}


def column(run: Path, name: str) -> list[object]:
    return [value for table in Run.open(run).iter_images([name]) for value in table.column(name).to_pylist()]


def test_every_input_is_one_row_in_source_order(photos, tmp_path):
    report = run_scan(photos, tmp_path / "run")
    assert (report.n_listed, report.n_scanned, report.n_failed, report.n_new) == (10, 8, 2, 10)
    ids = column(tmp_path / "run", "image_id")
    assert ids == sorted(ids)
    assert len(set(ids)) == 10
    codes = dict(zip(ids, column(tmp_path / "run", "failure_code"), strict=True))
    assert {name for name, code in codes.items() if code} == {"bad/03.png", "bad/07.png"}
    embeddings = dict(zip(ids, column(tmp_path / "run", "embedding"), strict=True))
    assert {name for name, row in embeddings.items() if row is None} == {"bad/03.png", "bad/07.png"}
    assert np.linalg.norm(np.array(embeddings["good/00.png"], np.float32)) == pytest.approx(1, abs=2e-3)


def test_an_encoder_is_told_the_whole_job_before_its_first_image_also_where_a_part_is_done(photos, tmp_path):
    class Told(TinyEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.told: list[tuple[int | None, int]] = []

        def expect(self, *, n_images: int | None = None, batch_size: int | None = None) -> None:
            self.told.append((n_images, self.n_images))

    first, second = Told(), Told()
    run_scan(photos, tmp_path / "run", first)
    (tmp_path / "run" / "images" / "part-00001.parquet").unlink()
    run_scan(photos, tmp_path / "run", second)
    for encoder in (first, second):
        assert encoder.told[0] == (10, 0)
        assert {n_images for n_images, _ in encoder.told} == {10, None}
    assert 0 < second.n_images < first.n_images


def test_rows_depend_on_neither_workers_nor_batches(photos, tmp_path):
    run_scan(photos, tmp_path / "a", workers=1, batch_size=32)
    run_scan(photos, tmp_path / "b", workers=3, batch_size=3)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_the_same_command_again_encodes_nothing(photos, tmp_path):
    run_scan(photos, tmp_path / "run")
    before, encoder = digests(tmp_path / "run"), TinyEncoder()
    report = run_scan(photos, tmp_path / "run", encoder)
    assert (report.n_new, report.n_failed, encoder.n_images) == (0, 2, 0)
    assert digests(tmp_path / "run") == before


def test_only_missing_parts_are_made_and_with_the_same_bytes(photos, tmp_path):
    run_scan(photos, tmp_path / "run")
    before = digests(tmp_path / "run")
    (tmp_path / "run" / "images" / "part-00001.parquet").unlink()
    assert run_scan(photos, tmp_path / "run").n_new == 4
    assert digests(tmp_path / "run") == before


def test_a_part_cut_short_is_made_again(photos, tmp_path):
    run_scan(photos, tmp_path / "run")
    before = digests(tmp_path / "run")
    part = tmp_path / "run" / "images" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    assert run_scan(photos, tmp_path / "run").n_new == 4
    assert digests(tmp_path / "run") == before


def test_changed_new_and_vanished_inputs_are_picked_up(photos, tmp_path):
    run_scan(photos, tmp_path / "run")
    (photos / "good" / "08.png").write_bytes(photo(99))
    assert run_scan(photos, tmp_path / "run").n_new == 2  # the last part alone
    (photos / "zoo.png").write_bytes(photo(5))
    assert run_scan(photos, tmp_path / "run").n_listed == 11
    shutil.rmtree(photos / "good")
    report = run_scan(photos, tmp_path / "run")
    assert report.n_listed == 6
    assert len(column(tmp_path / "run", "image_id")) == 6
    assert len(digests(tmp_path / "run")) == 2


def test_a_write_that_was_killed_leaves_no_trace_in_the_result(photos, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".run.json.tmp").write_bytes(b'{"half')
    run_scan(photos, run)
    (run / "images" / ".part-00000.parquet.tmp").write_bytes(b"PAR1 half")
    (run / "images" / "part-00000.parquet").unlink()
    run_scan(photos, run)
    assert set(digests(run)) == {f"part-0000{i}.parquet" for i in range(3)}


@pytest.mark.parametrize(
    ("encoder", "options", "named"),
    [
        (TinyEncoder(seed=1), PARTS_OF_4, "encoder"),
        (TinyEncoder(dim=7), PARTS_OF_4, "encoder"),
        (TinyEncoder(), ScanOptions(part_size=5), "part-size"),
        (TinyEncoder(), ScanOptions(part_size=4, limits=DecodeLimits(max_pixels=9)), "max-pixels"),
    ],
)
def test_a_run_of_something_else_is_refused_with_both_named(photos, tmp_path, encoder, options, named):
    run_scan(photos, tmp_path / "run")
    before = digests(tmp_path / "run")
    with pytest.raises(RunConflictError, match=named) as caught:
        run_scan(photos, tmp_path / "run", encoder, options)
    assert caught.value.expected != caught.value.found
    assert caught.value.state == "nothing was written"
    assert digests(tmp_path / "run") == before


def test_another_source_is_refused(photos, tmp_path):
    run_scan(photos, tmp_path / "run")
    with pytest.raises(RunConflictError, match="source"):
        run_scan(photos / "good", tmp_path / "run")


def test_a_folder_with_other_files_is_refused_and_untouched(photos, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(RunConflictError, match="holds other files"):
        run_scan(photos, other)
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]
    with pytest.raises(RunConflictError, match="is a file"):
        run_scan(photos, other / "thesis.tex")


def test_an_empty_source_writes_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="empty"):
        run_scan(tmp_path / "empty", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("allowed", ["1", "10%"])
def test_too_many_failures_end_the_scan_and_keep_the_parts(photos, tmp_path, allowed):
    options = ScanOptions(part_size=4, max_failures=MaxFailures.parse(allowed))
    with pytest.raises(TooManyFailuresError, match="have failed") as caught:
        run_scan(photos, tmp_path / "run", options=options)
    assert caught.value.exit_status == 3
    assert digests(tmp_path / "run")
    report = run_scan(photos, tmp_path / "run", options=ScanOptions(part_size=4, max_failures=MaxFailures.parse("20%")))
    assert report.n_new < 10


@pytest.mark.parametrize("text", ["-1", "101%", "many", "%", "1.5", "nan%"])
def test_a_number_of_failures_that_makes_no_sense_is_a_usage_error(text):
    with pytest.raises(UsageError):
        MaxFailures.parse(text)


def test_a_scan_that_is_broken_off_keeps_its_parts_and_goes_on(photos, tmp_path):
    def interrupt(n_done: int, _n_total: int) -> None:
        if n_done >= 6:
            raise KeyboardInterrupt

    engine = LocalEngine(workers=2, batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        scan(
            FolderSource(photos),
            tmp_path / "run",
            TinyEncoder(),
            options=PARTS_OF_4,
            engine=engine,
            on_progress=interrupt,
        )
    kept = digests(tmp_path / "run")
    assert len(kept) == 1
    assert run_scan(photos, tmp_path / "run").n_new == 6
    run_scan(photos, tmp_path / "whole")
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")
    assert kept.items() <= digests(tmp_path / "run").items()


class Failing(FolderSource):
    """A folder whose third part cannot be read any more."""

    def read(self, shard: Shard) -> Iterator[ImageRef]:
        if shard.index == 2:
            raise SourceError("the disk is gone")
        yield from super().read(shard)


def test_what_a_source_gave_before_it_failed_is_written(photos, tmp_path):
    engine = LocalEngine(workers=2, batch_size=2)
    with pytest.raises(SourceError, match="the disk is gone"):
        scan(Failing(photos), tmp_path / "run", TinyEncoder(), options=PARTS_OF_4, engine=engine)
    kept = digests(tmp_path / "run")
    assert len(kept) == 2
    assert run_scan(photos, tmp_path / "run").n_new == 2
    assert kept.items() <= digests(tmp_path / "run").items()


class Broken(TinyEncoder):
    """An encoder that fails at its third batch, as on a GPU that is lost."""

    n_calls = 0

    def encode_images(self, pixels):
        self.n_calls += 1
        if self.n_calls == 4:  # the first one was the trial before the scan
            raise EmbeddingError("the device is gone")
        return super().encode_images(pixels)


def test_an_encoder_that_fails_leaves_only_whole_parts(photos, tmp_path):
    engine = LocalEngine(workers=2, batch_size=2)
    with pytest.raises(EmbeddingError, match="the device is gone"):
        scan(FolderSource(photos), tmp_path / "run", Broken(), options=PARTS_OF_4, engine=engine)
    kept = digests(tmp_path / "run")
    assert len(kept) == 1
    run_scan(photos, tmp_path / "run")
    run_scan(photos, tmp_path / "whole")
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")


def test_progress_ends_at_the_number_listed(photos, tmp_path):
    seen: list[tuple[int, int]] = []
    engine = LocalEngine(workers=1, batch_size=3)
    for _ in range(2):
        scan(
            FolderSource(photos), tmp_path / "run", TinyEncoder(), engine=engine, on_progress=lambda *n: seen.append(n)
        )
        assert seen[-1] == (10, 10)


def test_an_embedding_that_is_not_finite_is_a_failure(photos, tmp_path):
    class Broken(TinyEncoder):
        def encode_images(self, pixels):
            return np.full((len(pixels), 6), np.nan, np.float32)

    assert run_scan(photos, tmp_path / "run", Broken()).n_failed == 10
    assert column(tmp_path / "run", "failure_code").count("not_finite") == 8


def test_a_damaged_part_is_named(photos, tmp_path):
    run_scan(photos, tmp_path / "run")
    part = tmp_path / "run" / "images" / "part-00001.parquet"
    part.write_bytes(b"PAR1")
    with pytest.raises(RunCorruptError, match="part-00001"):
        list(Run.open(tmp_path / "run").iter_images())


def test_the_history_tells_what_was_done(photos, tmp_path):
    for _ in range(2):
        run_scan(photos, tmp_path / "run")
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["n_new"] for line in lines] == [10, 0]
