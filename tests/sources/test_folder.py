"""Folders as people have them: odd names, links, pipes, files that go away."""

import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from PIL import Image

from clipsieve.errors import SourceError
from clipsieve.sources import FolderSource, open_source
from clipsieve.types import Failure, FailureCode, ImageRef

CONTENT = b"GIF89a, as far as a listing can tell"


def fill(root: Path, *names: str | bytes) -> FolderSource:
    for name in names:
        path = Path(os.fsdecode(os.fsencode(root) + b"/" + os.fsencode(name)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENT)
    return FolderSource(root)


def refs(source: FolderSource) -> list[ImageRef]:
    return [ref for shard in source.plan(1000).shards for ref in source.read(shard)]


def ids(source: FolderSource) -> list[str]:
    return [ref.image_id for ref in refs(source)]


def test_order_is_that_of_the_bytes_at_any_depth(tmp_path):
    source = fill(tmp_path, "b.png", "a/z.jpg", "a/b/c/d.webp", "B.PNG", "ä.png", "a10.png", "a9.png")
    assert ids(source) == ["B.PNG", "a/b/c/d.webp", "a/z.jpg", "a10.png", "a9.png", "b.png", "ä.png"]


def test_order_is_that_of_the_whole_paths_whatever_stands_beside_a_slash(tmp_path):
    rng = np.random.default_rng(0)
    letters = np.array(["a", "b", "-", "0", "~", "é", "/", "/"])
    drawn = {"".join(rng.choice(letters, size=rng.integers(1, 7))) for _ in range(300)}
    clean = {"/".join(piece for piece in name.split("/") if piece) for name in drawn} - {""}
    folders = {name[:end] for name in clean for end, mark in enumerate(name) if mark == "/"}
    names = [f"{name}.png" for name in clean] + [f"{folder}/z.png" for folder in folders]
    assert len(names) > 150
    found = ids(fill(tmp_path, *names))
    assert found == sorted(names, key=str.encode)


def test_a_listing_holds_little_for_each_file(tmp_path):
    fill(tmp_path, "flat/first.png")
    for number in range(1000):
        os.link(tmp_path / "flat/first.png", tmp_path / f"flat/{number:08d}.png")
    source = FolderSource(tmp_path)
    tracemalloc.start()
    try:
        plan = source.plan(200)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert plan.n_images == 1001
    assert held / 1001 < 100
    assert peak / 1001 < 180


def test_the_label_is_the_first_folder_as_in_imagefolder(tmp_path):
    labels = {ref.image_id: ref.label for ref in refs(fill(tmp_path, "top.png", "cat/1.png", "cat/young/2.png"))}
    assert labels == {"top.png": None, "cat/1.png": "cat", "cat/young/2.png": "cat"}


@pytest.mark.parametrize(
    "name", ["a b.png", "a\nb.png", "quote\"'.png", "100%.png", "%41.png", "日本.png", "-o.png", "#?.png"]
)
def test_odd_names_survive_in_id_and_uri(tmp_path, name):
    (ref,) = refs(fill(tmp_path, name))
    assert ref.content == CONTENT
    assert unquote_to_bytes(ref.image_id) == name.encode()
    assert unquote_to_bytes(ref.uri.removeprefix("file://")) == os.fsencode(tmp_path / name)


def test_names_that_are_no_utf8_are_escaped_uniquely_and_reversibly(tmp_path):
    names = [b"\xff.png", b"%FF.png", b"caf\xe9/1.png", "café/1.png".encode()]
    found = refs(fill(tmp_path, *names))
    assert sorted(ref.image_id for ref in found) == ["%25FF.png", "%FF.png", "caf%E9/1.png", "café/1.png"]
    assert sorted(unquote_to_bytes(ref.image_id) for ref in found) == sorted(names)
    for ref in found:
        f"{ref.image_id}{ref.uri}{ref.label}".encode()  # everything can be written as UTF-8


def test_a_root_that_is_no_utf8_has_a_location_that_can_be_written(tmp_path):
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    source = fill(root, "1.png")
    assert source.location.encode().endswith(b"caf\\xe9")
    assert refs(source)[0].content == CONTENT


@pytest.mark.parametrize("name", ["photo", "noise", "empty"])
def test_without_an_extension_the_first_bytes_decide(tmp_path, name):
    fill(tmp_path, "a.png")
    Image.new("RGB", (2, 2)).save(tmp_path / "photo", "JPEG")
    (tmp_path / "noise").write_bytes(b"words")
    (tmp_path / "empty").touch()
    assert (name in ids(FolderSource(tmp_path))) == (name == "photo")


def test_hidden_files_are_neither_read_nor_counted_and_others_are_counted(tmp_path):
    source = fill(tmp_path, "a.png", "._a.png", ".DS_Store", ".git/b.png", "Thumbs.db", "notes.txt")
    assert ids(source) == ["a.png"]
    assert source.plan(10).n_ignored == 2


def test_links_count_while_they_stay_inside(tmp_path):
    fill(tmp_path / "outside", "secret.png")
    source = fill(tmp_path / "root", "a/1.png")
    root = tmp_path / "root"
    (root / "inside.png").symlink_to("a/1.png")
    (root / "out.png").symlink_to(tmp_path / "outside" / "secret.png")
    (root / "up").symlink_to(tmp_path)
    (root / "cycle").symlink_to(root)
    (root / "gone.png").symlink_to("nowhere.png")
    (root / "knot.png").symlink_to("knot.png")
    found = {ref.image_id: ref.content for ref in refs(source)}
    assert set(found) == {"a/1.png", "gone.png", "inside.png", "knot.png"}
    assert found["inside.png"] == CONTENT
    assert code(found["gone.png"]) is FailureCode.NOT_FOUND
    assert code(found["knot.png"]) is FailureCode.READ_ERROR


def test_a_root_that_is_a_link_is_the_folder_it_leads_to(tmp_path):
    fill(tmp_path / "root", "1.png")
    (tmp_path / "link").symlink_to("root")
    assert FolderSource(tmp_path / "link").location == str(tmp_path / "root")


def test_pipes_and_sockets_are_never_opened(tmp_path):
    source = fill(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    assert ids(source) == ["a.png"]


def test_what_changes_between_listing_and_reading_is_a_failure(tmp_path):
    source = fill(tmp_path, "gone.png", "now-a-folder.png", "now-a-pipe.png")
    (shard,) = source.plan(10).shards
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "now-a-folder.png").mkdir()
    os.mkfifo(tmp_path / "now-a-pipe.png")
    codes = [code(ref.content) for ref in source.read(shard)]
    assert codes == [FailureCode.NOT_FOUND, FailureCode.READ_ERROR, FailureCode.READ_ERROR]


def test_a_file_over_the_budget_is_not_read(tmp_path):
    fill(tmp_path, "small.png")
    with (tmp_path / "vast.png").open("wb") as file:
        file.truncate(1 << 40)  # sparse: nothing could read it whole
    found = {ref.image_id: ref.content for ref in refs(FolderSource(tmp_path))}
    assert found["small.png"] == CONTENT
    assert code(found["vast.png"]) is FailureCode.TOO_MANY_BYTES


def test_the_fingerprint_follows_names_sizes_and_times(tmp_path):
    source = fill(tmp_path, "a.png", "b.png", "c.png")
    before = source.plan(2).shards
    os.utime(tmp_path / "a.png", ns=(0, 1))
    touched = source.plan(2).shards
    assert touched[0].fingerprint != before[0].fingerprint
    assert touched[1].fingerprint == before[1].fingerprint
    (tmp_path / "c.png").rename(tmp_path / "d.png")
    assert source.plan(2).shards[1].fingerprint != touched[1].fingerprint


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from clipsieve.errors import SourceError
from clipsieve.sources import open_source
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    source = open_source(Path(sys.argv[1]))
    for ref in source.read(source.plan(10).shards[0]):
        print(ref.image_id, getattr(ref.content, "code", len(ref.content) if isinstance(ref.content, bytes) else "?"))
except SourceError as error:
    print("SourceError", error.what)
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user may enter: pytest's own are the owner's alone."""
    with tempfile.TemporaryDirectory(prefix="clipsieve-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
        for path in Path(name).iterdir():
            path.chmod(0o755)


def as_nobody(folder: Path) -> str:
    """Read a folder in a process without root's rights, from which nothing can be locked."""
    done = subprocess.run([sys.executable, "-c", UNPRIVILEGED, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_unreadable_file_is_a_failure(public):
    fill(public, "a.png", "b.png")
    (public / "b.png").chmod(0)
    assert as_nobody(public).splitlines() == [f"a.png {len(CONTENT)}", "b.png not_permitted"]


def test_an_unreadable_folder_is_an_error_that_names_it(public):
    fill(public, "a.png", "locked/b.png")
    (public / "locked").chmod(0)
    assert as_nobody(public).startswith(f"SourceError cannot list the folder `{public}/locked`: Permission denied")


def test_a_folder_below_an_unreadable_one_is_an_error(public):
    fill(public, "locked/inner/b.png")
    (public / "locked").chmod(0)
    said = as_nobody(public / "locked" / "inner")
    assert said.startswith(f"SourceError cannot open `{public}/locked/inner`: Permission denied")


@pytest.mark.parametrize("name", ["x" * 5000, "nul\0"], ids=["too long", "with a nul"])
def test_a_name_that_no_folder_can_have_is_an_error(name):
    with pytest.raises(SourceError, match="cannot open `"):
        open_source(name)


def test_errors_say_what_lies_there(tmp_path):
    for nowhere in (tmp_path / "nowhere", ""):
        with pytest.raises(SourceError, match="there is nothing at"):
            open_source(nowhere)
    with pytest.raises(SourceError, match="is empty"):
        open_source(tmp_path).plan(10)
    for name in ("a.txt", "b.txt", "c.json"):
        (tmp_path / name).touch()
    with pytest.raises(SourceError, match="holds no images") as caught:
        open_source(tmp_path).plan(10)
    assert caught.value.found == "3 other files: .txt 2, .json 1"
    with pytest.raises(SourceError, match="is not a folder"):
        open_source(tmp_path / "a.txt")


def code(content: bytes | Failure) -> FailureCode:
    assert isinstance(content, Failure)
    return content.code
