"""Embeddings of an earlier scan are found again by what the files hold."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsieve.engines import BlockList, DecodeLimits, LocalEngine, ScanOptions, scan
from clipsieve.sources import FolderSource
from clipsieve.store import Run, StoredEmbeddings
from tiny_encoder import TinyEncoder

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute


def photo(value: int, side: int = 12) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(value).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(12):
        (folder / f"{index:02d}.png").write_bytes(photo(index))
    return folder


def run_scan(photos: Path, run: Path, encoder: TinyEncoder, redo="never", **options):
    options = ScanOptions(**{"part_size": 4, **options})
    return scan(FolderSource(photos), run, encoder, options=options, engine=LocalEngine(workers=1), redo=redo)


def rows(run: Path) -> list[dict[str, object]]:
    return [row for part in Run.open(run).iter_images() for row in part.to_pylist()]


def test_an_image_inserted_at_the_front_is_the_only_one_encoded(photos, tmp_path):
    run_scan(photos, tmp_path / "run", TinyEncoder())
    (photos / "00-first.png").write_bytes(photo(99))
    encoder = TinyEncoder()
    report = run_scan(photos, tmp_path / "run", encoder)
    assert (report.n_listed, report.n_new, report.n_reused) == (13, 13, 12)
    assert encoder.n_images == 1
    run_scan(photos, tmp_path / "whole", TinyEncoder())
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")
    assert [path.name for path in sorted((tmp_path / "run" / "images").iterdir())] == [
        f"part-0000{index}.parquet" for index in range(4)
    ]


def test_a_renamed_file_keeps_its_embedding_and_a_changed_one_does_not(photos, tmp_path):
    run_scan(photos, tmp_path / "run", TinyEncoder())
    (photos / "03.png").rename(photos / "zz.png")
    (photos / "05.png").write_bytes(photo(77))
    encoder = TinyEncoder()
    run_scan(photos, tmp_path / "run", encoder)
    assert encoder.n_images == 1
    run_scan(photos, tmp_path / "whole", TinyEncoder())
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


def test_a_rescan_that_is_broken_off_still_knows_what_was_there(photos, tmp_path):
    run_scan(photos, tmp_path / "run", TinyEncoder())
    (photos / "00-first.png").write_bytes(photo(99))

    def interrupt(n_done: int, _: int) -> None:
        if n_done >= 5:
            raise KeyboardInterrupt

    engine = LocalEngine(workers=1, batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        scan(
            FolderSource(photos),
            tmp_path / "run",
            TinyEncoder(),
            options=ScanOptions(part_size=4),
            engine=engine,
            on_progress=interrupt,
        )
    encoder = TinyEncoder()
    report = run_scan(photos, tmp_path / "run", encoder)
    assert encoder.n_images <= 1
    assert report.n_scanned == 13


def test_nothing_of_another_encoder_is_reused(photos, tmp_path):
    run_scan(photos, tmp_path / "run", TinyEncoder())
    encoder = TinyEncoder(seed=1)
    report = run_scan(photos, tmp_path / "run", encoder, redo="stale")
    assert (encoder.n_images, report.n_reused) == (12, 0)


def test_a_new_block_list_opens_no_image(photos, tmp_path):
    import hashlib

    run_scan(photos, tmp_path / "run", TinyEncoder())
    encoder = TinyEncoder()
    blocked = BlockList(sha256=frozenset({hashlib.sha256(photo(6)).digest()}))
    report = run_scan(photos, tmp_path / "run", encoder, redo="stale", block_list=blocked)
    assert (encoder.n_images, report.n_reused, report.n_failed) == (0, 11, 1)
    assert [row["failure_code"] for row in rows(tmp_path / "run")].count("blocked") == 1


def test_what_is_too_large_today_is_not_found(photos, tmp_path):
    (photos / "large.png").write_bytes(photo(50, side=40))
    run_scan(photos, tmp_path / "run", TinyEncoder())
    encoder = TinyEncoder()
    limits = DecodeLimits(max_pixels=12 * 12)
    report = run_scan(photos, tmp_path / "run", encoder, redo="stale", limits=limits)
    assert (encoder.n_images, report.n_reused, report.n_failed) == (0, 12, 1)


def test_a_part_that_cannot_be_read_is_passed_over(photos, tmp_path):
    run_scan(photos, tmp_path / "run", TinyEncoder())
    parts = sorted((tmp_path / "run" / "images").glob("*.parquet"))
    parts[1].write_bytes(b"PAR1")
    known = StoredEmbeddings([*parts, tmp_path / "nowhere.parquet"], max_pixels=10**6)
    assert len(known) == 8
    assert known.find("0" * 64) is None
    wanted = rows_of(parts[0])[2]
    facts, embedding = known.find(wanted["sha256"])
    assert (facts.sha256, facts.width) == (wanted["sha256"], 12)
    np.testing.assert_allclose(embedding, wanted["embedding"], atol=1e-3)


def rows_of(part: Path) -> list[dict[str, object]]:
    import pyarrow.parquet as pq

    return pq.read_table(part).to_pylist()
