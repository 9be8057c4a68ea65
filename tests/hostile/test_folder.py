"""A folder of everything that can go wrong is scanned to its end, with one row for each input."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from clipsieve.engines import LocalEngine, ScanOptions, scan
from clipsieve.sources import FolderSource
from clipsieve.store import Run
from tiny_encoder import TinyEncoder

NAMES = [
    b"a b.png",
    b"line\nbreak.png",
    b"'quoted\".png",
    b"\xff\xfe.png",
    b"%FF%FE.png",
    "ünï.PNG".encode(),
    b"x" * 251 + b".png",
]


def photo(kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


def write_corpus(root: Path) -> set[str]:
    """Fill a folder and return the ids of the inputs that are sound."""
    for name in NAMES:
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(photo())
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF"):
        whole = photo(kind)
        for tenths in range(10):
            (root / f"cut {kind} {tenths}.png").write_bytes(whole[: len(whole) * tenths // 10])
    for name, content in {
        "svg": b"<svg/>",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "pdf": b"%PDF-1.7",
        "one": b"\x89",
    }.items():
        (root / f"{name}.png").write_bytes(content)
    (root / "dangling.png").symlink_to("nowhere")
    (root / "loop.png").symlink_to("loop.png")
    (root / "up.png").symlink_to("/etc/passwd")
    os.mkfifo(root / "pipe.png")
    (root / "wrong extension.gif").write_bytes(photo("JPEG"))
    return {
        "a b.png",
        "line\nbreak.png",
        "'quoted\".png",
        "%FF%FE.png",
        "%25FF%25FE.png",
        "ünï.PNG",
        "x" * 251 + ".png",
    } | {"wrong extension.gif"}


def test_one_row_for_each_input_always(tmp_path):
    (tmp_path / "photos").mkdir()
    sound = write_corpus(tmp_path / "photos")
    report = scan(
        FolderSource(tmp_path / "photos"),
        tmp_path / "run",
        TinyEncoder(),
        options=ScanOptions(part_size=7),
        engine=LocalEngine(workers=2, batch_size=4),
    )
    tables = list(Run.open(tmp_path / "run").iter_images(["image_id", "failure_code"]))
    rows = [row for table in tables for row in table.to_pylist()]
    assert report.n_listed == len(rows) == len({row["image_id"] for row in rows})
    assert report.n_scanned + report.n_failed == report.n_listed
    assert {row["image_id"] for row in rows if row["failure_code"] is None} == sound
    assert report.n_ignored == 2  # the link that leads out and the pipe
