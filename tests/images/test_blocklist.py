"""Lists of files that are never opened."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clipsieve.engines import DecodeLimits, FidelityBar, LocalEngine, MaxFailures, ScanOptions, prepare_int8, scan
from clipsieve.errors import ModelError, UsageError
from clipsieve.images import BlockList, load_block_list
from clipsieve.sources import FolderSource
from image_files import png
from model_folders import make_onnx_folder
from tiny_encoder import TinyEncoder


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()  # noqa: S324


WRITTEN = {
    "sha256": f"{sha256(png(1))}\n",
    "md5": f"{md5(png(1))}\n",
    "capitals": f"{sha256(png(1)).upper()}\n",
    "as sha256sum prints it": f"{sha256(png(1))}  some/name with spaces.png\n{sha256(png(5))} *b.png\n",
    "both sorts": f"{md5(png(5))}\n{sha256(png(1))}",
    "with notes": f"# from a friend\n\n  {sha256(png(1))}  # no comment\n\n",
    "windows": f"\ufeff{sha256(png(1))}\r\n\r\n",
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN.keys())
def test_ways_of_writing_a_list(tmp_path, text):
    (tmp_path / "list.txt").write_bytes(text.encode())
    found = load_block_list(tmp_path / "list.txt")
    assert found.blocks(png(1))
    assert not found.blocks(png(2))


@pytest.mark.parametrize("line", ["hello", sha256(b"")[:-1], f"{sha256(b'')}0", "g" * 64, "a" * 40])
def test_a_line_without_a_hash_is_named(tmp_path, line):
    (tmp_path / "list.txt").write_text(f"{sha256(b'x')}\n{line}\n")
    with pytest.raises(UsageError, match=r"line 2 of .*list\.txt") as caught:
        load_block_list(tmp_path / "list.txt")
    assert caught.value.state == "nothing was read"


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
def test_a_list_that_would_block_nothing_is_refused(tmp_path, text):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(UsageError, match="is empty"):
        load_block_list(tmp_path / "list.txt")
    with pytest.raises(UsageError, match="cannot read"):
        load_block_list(tmp_path / "nowhere.txt")


def test_the_fingerprint_is_that_of_the_set():
    one, two = bytes(32), b"\1" * 32
    assert BlockList(frozenset({one, two})).fingerprint == BlockList(frozenset([two, one])).fingerprint
    assert BlockList(frozenset({one})).fingerprint != BlockList(frozenset({two})).fingerprint
    assert BlockList(frozenset({one})).fingerprint != BlockList(frozenset(), frozenset({one[:16]})).fingerprint
    assert not BlockList()


def rows(run: Path) -> list[dict[str, object]]:
    return pq.read_table(run / "images").to_pylist()


def test_a_blocked_image_is_a_row_with_its_hash_and_no_more(tmp_path):
    for index in range(4):
        path = tmp_path / "photos" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(index))
    blocked = BlockList(sha256=frozenset({bytes.fromhex(sha256(png(2)))}))
    encoder = TinyEncoder()
    options = ScanOptions(block_list=blocked, max_failures=MaxFailures(count=0))
    report = scan(
        FolderSource(tmp_path / "photos"), tmp_path / "run", encoder, options=options, engine=LocalEngine(workers=1)
    )
    assert (report.n_listed, report.n_scanned, report.n_failed, encoder.n_images) == (
        4,
        3,
        1,
        4,
    )  # one more is the try-out
    row = rows(tmp_path / "run")[2]
    assert (row["failure_step"], row["failure_code"], row["embedding"]) == ("read", "blocked", None)
    assert (row["sha256"], row["bytes"], row["width"], row["format"]) == (sha256(png(2)), len(png(2)), None, None)


def test_no_decoder_ever_sees_it(tmp_path):
    """The file is larger than a decoder may take and of no format; had it been decoded, its code would be another."""
    content = b"BM" + bytes(2_000_000)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.bmp").write_bytes(content)
    (tmp_path / "photos" / "b.png").write_bytes(png(1))
    for name, blocked in (("open", BlockList()), ("shut", BlockList(md5=frozenset({bytes.fromhex(md5(content))})))):
        options = ScanOptions(block_list=blocked, limits=DecodeLimits(max_pixels=1000))
        source = FolderSource(tmp_path / "photos")
        scan(source, tmp_path / name, TinyEncoder(), options=options, engine=LocalEngine(workers=1))
    assert rows(tmp_path / "open")[0]["failure_step"] == "decode"
    assert rows(tmp_path / "shut")[0]["failure_code"] == "blocked"


def test_no_decoder_ever_sees_it_on_the_way_to_int8(tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason="OpenVINO runs int8 towers")
    monkeypatch.setenv("CLIPSIEVE_HOME", str(tmp_path / "home"))
    (tmp_path / "photos").mkdir()
    for number in range(32):
        (tmp_path / "photos" / f"{number:02}.png").write_bytes(png(number))
    model = str(make_onnx_folder(tmp_path / "model"))
    source = FolderSource(tmp_path / "photos")
    blocked = BlockList(md5=frozenset({bytes.fromhex(md5(png(7)))}))
    with pytest.raises(ModelError, match="too few images to calibrate") as caught:
        prepare_int8(source, model, workers=1, block_list=blocked)
    assert caught.value.found == "31 readable images"  # had it been decoded, they were 32
    assert prepare_int8(source, model, workers=1, bar=FidelityBar(flipped=1)).n_skipped == 0


@pytest.mark.slow
def test_the_command(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(png(1))
    (tmp_path / "photos" / "b.png").write_bytes(png(2))
    (tmp_path / "list.txt").write_text(md5(png(2)))

    def run(*words):
        command = [sys.executable, "-m", "clipsieve", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert run("scan", "photos", "-o", "run", "--hash-list", "list.txt").returncode == 0
    assert "failed    1 (blocked 1)" in run("summary", "run").stdout
    (tmp_path / "list.txt").write_text("words")
    done = run("scan", "photos", "-o", "other", "--hash-list", "list.txt")
    assert (done.returncode, "line 1 of `list.txt`" in done.stderr) == (2, True)
    assert not (tmp_path / "other").exists()
