"""An exported folder is the source without what was left out: bytes, names, order, and all that lies beside the images."""

import hashlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

import numpy as np
import pytest

from clipsieve import write_demo_data
from clipsieve.errors import ExportError, SourceError
from clipsieve.evaluation.operating_points import Decision
from clipsieve.outputs.export.base import Unit, Written
from clipsieve.outputs.export.companions import Decided
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.folder import FolderWriter
from clipsieve.sources import FolderSource, RemoteFolderSource
from clipsieve.sources.storage import Storage
from clipsieve.types import Shard
from export_units import write_all

KEEP, REVIEW, REMOVE = Decision
NUMBERS = itertools.count()
TORCHVISION = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def fill(root: Path, files: Mapping[str | bytes, bytes]) -> FolderSource:
    for name, content in files.items():
        path = Path(os.fsdecode(os.fsencode(root) + b"/" + os.fsencode(name)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return FolderSource(root)


def named(*names: str | bytes) -> dict[str | bytes, bytes]:
    return {name: b"content of " + os.fsencode(name) for name in names}


def units(source, codes: Mapping[str, Decision], part_size: int = 2) -> list[Unit]:
    """Return what an export is told of a source that was scanned just now; what is not in `codes` is kept."""
    made = []
    for shard in source.plan(part_size).shards:
        refs = list(source.read(shard))
        digests = [hashlib.sha256(ref.content).hexdigest() if isinstance(ref.content, bytes) else None for ref in refs]
        ids = [ref.image_id for ref in refs]
        made.append(
            Unit(str(shard.index), (shard,), ids, digests, np.array([codes.get(i, KEEP) for i in ids], dtype=np.uint8))
        )
    return made


def export(source, codes, places, how="copy", planned=None, **options) -> list[Written]:
    writer = FolderWriter(source, how, **options)
    return [*write_all(writer, planned or units(source, codes), places), *writer.finish(places)]


def problems(written: list[Written]) -> list[str]:
    return [words for each in written for words in each.problems.values()]


def tree(root: Path) -> dict[bytes, bytes | str]:
    """Return everything below a folder: files by content, links by target, empty folders as such."""
    found: dict[bytes, bytes | str] = {}
    for path in root.rglob("*"):
        name = os.fsencode(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_dir():
            found |= {} if any(path.iterdir()) else {name: "empty"}
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def names(root: Path) -> set[str]:
    return {os.fsdecode(name) for name in tree(root)}


def untouched(root: Path) -> str:
    """Return a digest of all names, sizes, times and contents."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        facts = path.lstat()
        digest.update(os.fsencode(path) + f" {facts.st_mode} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    for name, content in sorted(tree(root).items()):
        digest.update(name + (content if isinstance(content, bytes) else content.encode()))
    return digest.hexdigest()


def image_folder(root: Path) -> tuple[list[str], list[tuple[str, int]]]:
    """Read a folder by the rules of torchvision's `ImageFolder`: its classes, and its samples in order."""
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    samples = [
        (os.path.relpath(f"{folder}/{name}", root), number)
        for number, label in enumerate(classes)
        for folder, _, files in sorted(os.walk(root / label, followlinks=True))
        for name in sorted(files)
        if name.lower().endswith(TORCHVISION)
    ]
    missing = set(classes) - {name.partition("/")[0] for name, _ in samples}
    if missing:
        raise FileNotFoundError(f"Found no valid file for the classes {sorted(missing)}")
    return classes, samples


@pytest.mark.parametrize("how", ["copy", "hardlink", "symlink"])
def test_what_torchvision_reads_is_the_source_minus_the_removed(tmp_path, how):
    write_demo_data(tmp_path / "source", n_images=60)
    source = FolderSource(tmp_path / "source")
    ids = [ref.image_id for shard in source.plan(100).shards for ref in source.read(shard)]
    rng = np.random.default_rng(5)
    codes = {name: Decision(int(rng.integers(3))) for name in ids}
    gone = sorted({name.split("/")[0] for name in ids})[1]
    codes |= {name: REMOVE for name in ids if name.startswith(gone + "/")}
    before = untouched(tmp_path / "source")
    places = {KEEP: Destination(str(tmp_path / "keep")), REVIEW: Destination(str(tmp_path / "review"))}
    written = export(source, codes, places, how, planned=units(source, codes, 7))
    _, whole = image_folder(tmp_path / "source")
    for decision, place in places.items():
        classes, samples = image_folder(place.folder)
        wanted = [name for name, _ in whole if codes[quote(name, safe="/ ")] is decision]
        assert [name for name, _ in samples] == wanted
        assert [classes[number] for _, number in samples] == [name.split("/")[0] for name in wanted]
        assert all(
            (place.folder / name).read_bytes() == (tmp_path / "source" / name).read_bytes() for name, _ in samples
        )
    assert gone not in image_folder(tmp_path / "keep")[0]
    assert untouched(tmp_path / "source") == before
    assert not problems(written)
    inputs = written[: len(source.plan(7).shards)]
    n_placed = sum(code is not REMOVE for code in codes.values())
    assert sum(len(each.places) for each in inputs) == sum(each.n_files for each in inputs) == n_placed
    assert sum(each.n_bytes for each in inputs) == sum(
        (tmp_path / "source" / name).stat().st_size for name, code in codes.items() if code is not REMOVE
    )


def test_units_are_parts(tmp_path):
    writer = FolderWriter(fill(tmp_path, named("a.png")))
    assert [writer.unit_of(Shard(index, ("a.png",), "", 1)) for index in (0, 12)] == ["0", "12"]


def test_each_input_is_in_the_place_of_its_decision_or_nowhere(tmp_path):
    source = fill(tmp_path / "source", named("a/1.png", "a/2.png", "b/3.png", "4.png"))
    codes = {"a/1.png": REVIEW, "a/2.png": REMOVE, "4.png": REVIEW}
    places = {REVIEW: Destination(str(tmp_path / "r")), REMOVE: Destination(str(tmp_path / "x"))}
    first, second, *_ = export(source, codes, places)
    assert (names(tmp_path / "r"), names(tmp_path / "x")) == ({"4.png", "a/1.png"}, {"a/2.png"})
    assert (first.places, second.places) == ({0: "4.png", 1: "a/1.png"}, {0: "a/2.png"})
    assert (first.n_files, first.n_bytes) == (2, len(b"content of 4.png") + len(b"content of a/1.png"))


ODD = [
    *(b"a b.png", b"line\nbreak.png", b"'quoted\".png", b"\xff\xfe.png", b"%FF%FE.png", "ünï.PNG".encode(), b"#?.png"),
    *(
        b"x" * 251 + b".png",
        b"-o.png",
        "\U0001f600 100%/\u202etxt.png".encode(),
        b"\xe9/\\/*.png",
        b"y" * 255 + b"/z.png",
    ),
]


@pytest.mark.parametrize("how", ["copy", "hardlink", "symlink"])
def test_odd_names_come_out_as_they_went_in(tmp_path, how):
    beside = [name.rpartition(b".")[0] + b".txt" for name in ODD]
    source = fill(tmp_path / "source", named(*ODD, *beside, b"notes \xff%\n\xc3\xbc"))
    written = export(source, {}, {KEEP: Destination(str(tmp_path / "out"))}, how)
    assert not problems(written)
    assert set(tree(tmp_path / "out")) == set(tree(tmp_path / "source")) == {*ODD, *beside, b"notes \xff%\n\xc3\xbc"}
    for name in ODD:
        assert (tmp_path / "out" / os.fsdecode(name)).read_bytes() == b"content of " + name
    files = [file for each in written for file in each.places.values()]
    assert sorted(unquote_to_bytes(file) for file in files) == sorted(ODD)


def test_what_lies_beside_an_image_goes_where_it_goes(tmp_path):
    source = fill(
        tmp_path / "source",
        named(
            *("a/000.jpg", "a/000.txt", "a/000.json", "a/000.jpg.json", "a/000", "a/0001.txt", "b/000.txt", "000.txt"),
            *("a/001.jpg", "a/001.png", "a/001.txt", "a/001.png.txt", "a/002.jpg", "a/002.txt", "a/x.000.jpg"),
            *("a/x.000.txt", "a/x.txt"),
        ),
    )
    codes = {"a/000.jpg": REMOVE, "a/001.jpg": KEEP, "a/001.png": REVIEW, "a/002.jpg": KEEP, "a/x.000.jpg": REVIEW}
    places = {decision: Destination(str(tmp_path / decision.name)) for decision in (KEEP, REVIEW)}
    export(source, codes, places)
    assert names(tmp_path / "KEEP") == {
        *("a/001.jpg", "a/002.jpg", "a/002.txt", "a/0001.txt", "b/000.txt", "000.txt", "a/x.txt")
    }
    assert names(tmp_path / "REVIEW") == {"a/001.png", "a/001.txt", "a/001.png.txt", "a/x.000.jpg", "a/x.000.txt"}
    export(source, codes, {REMOVE: Destination(str(tmp_path / "REMOVE"))})
    assert names(tmp_path / "REMOVE") == {"a/000.jpg", "a/000.txt", "a/000.json", "a/000.jpg.json", "a/000"}


def test_everything_else_is_kept(tmp_path):
    others = [
        "README.md",
        "labels.csv",
        ".hidden",
        ".cache/x.json",
        "cats/notes",
        "docs/a/b.txt",
        "x/.git",
        "a/.gitkeep",
    ]
    source = fill(tmp_path / "source", named("cats/1.jpg", "dogs/2.jpg", *others, ".git/HEAD", "sub/.git/objects/1"))
    fill(tmp_path / "source", named("cats/.clipsieve-0123456789abcdef.tmp"))  # of an export that was killed here
    (tmp_path / "source" / "empty" / "deep").mkdir(parents=True)
    os.mkfifo(tmp_path / "source" / "pipe")
    (tmp_path / "source" / "script.sh").write_bytes(b"#!")
    places = {decision: Destination(str(tmp_path / decision.name)) for decision in Decision}
    written = export(source, {"dogs/2.jpg": REMOVE}, places)
    assert names(tmp_path / "KEEP") == {"cats/1.jpg", *others, "script.sh", "empty/deep"}
    assert tree(tmp_path / "KEEP")[b".cache/x.json"] == b"content of .cache/x.json"
    assert names(tmp_path / "REMOVE") == {"dogs/2.jpg"}
    assert not problems(written)
    assert sum(each.n_files for each in written) == len(others) + 3


def test_images_that_nobody_has_scanned_are_left_out_and_told(tmp_path):
    source = fill(tmp_path / "source", named("cats/1.jpg", ".thumbs/1.jpg", "cats/._1.JPG", ".thumbs/index.json"))
    (tmp_path / "source" / "other.png").symlink_to("/etc/hostname")
    written = export(source, {}, {KEEP: Destination(str(tmp_path / "KEEP"))})
    assert names(tmp_path / "KEEP") == {"cats/1.jpg", ".thumbs/index.json"}
    assert sorted(problems(written)) == [
        "`.thumbs/1.jpg`: an image in a hidden place, which was not scanned",
        "`cats/._1.JPG`: an image in a hidden place, which was not scanned",
        "`other.png`: a link that leads out of the source, where nothing was scanned",
    ]


PIXELS = {  # the first bytes of files of each kind, as their specifications have them
    ".thumbs/xyz": b"\x89PNG\r\n\x1a\n",
    "c/bad_copy.dat": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "a/copy.jpg_large": b"GIF89a",
    "c/photo.bin": b"\0\0\0\x18ftypheic",
    "c/photo.part": b"\0\0\0\x0cJXL \r\n\x87\n",
    "c/1.jpg.bak": b"BM\x36\x10\0\0\0\0\0\0",
    "c/layers": b"8BPS\0\1",
}


@pytest.mark.parametrize("how", ["copy", "hardlink", "symlink"])
def test_images_under_other_names_are_left_out_and_told(tmp_path, how):
    clear = {"c/BMW.md": b"BMW and others", "c/empty.dat": b"", "c/movie.bin": b"\0\0\0\x18ftypisom"}
    pixels = {name: head + bytes(40) for name, head in PIXELS.items() if name != "c/layers"}
    source = fill(tmp_path / "source", named("c/1.jpg", "c/other.HEIC", "c/a.jxl") | pixels | clear)
    written = export(source, {}, {KEEP: Destination(str(tmp_path / "KEEP"))}, how)
    assert names(tmp_path / "KEEP") == {"c/1.jpg", *clear}
    assert sorted(problems(written)) == sorted(
        [f"`{name}`: it begins like an image, and was not scanned" for name in pixels]
        + [f"`{name}`: an image of a kind that is not scanned" for name in ("c/a.jxl", "c/other.HEIC")]
    )


def test_the_history_of_a_folder_is_not_exported(tmp_path):
    histories = [".git/HEAD", "a/.hg/store/x.i", ".svn/pristine/00/x.svn-base", ".dvc/cache/files/md5/0/1"]
    source = fill(tmp_path / "source", named("a/1.jpg", "a/.dvcignore", *histories))
    (tmp_path / "source" / "notes").symlink_to(".dvc/cache/files/md5/0/1")
    assert not problems(export(source, {}, {KEEP: Destination(str(tmp_path / "KEEP"))}))
    assert names(tmp_path / "KEEP") == {"a/1.jpg", "a/.dvcignore"}


def test_behind_a_url_images_without_an_extension_are_left_out_and_told(tmp_path, remote):
    far = Destination(remote)
    files = {"1.jpg": b"1", "picture": PIXELS["c/bad_copy.dat"], "text": b"words", ".x/.hg/y": b"z", "b.heif": b"b"}
    for name, content in files.items():
        far.write_bytes(name, content)
    written = export(RemoteFolderSource(Storage(remote)), {}, {KEEP: Destination(str(tmp_path / "KEEP"))})
    assert names(tmp_path / "KEEP") == {"1.jpg", "text"}
    assert problems(written) == [
        "`b.heif`: an image of a kind that is not scanned",
        "`picture`: it begins like an image, and was not scanned",
    ]


@pytest.mark.parametrize("how", ["copy", "hardlink", "symlink"])
def test_links_to_images(tmp_path, how):
    picture = PIXELS[".thumbs/xyz"] + bytes(9)
    source = fill(tmp_path / "source", {"a/1.png": picture, ".x/2.png": b"2", ".x/3": picture, "4.heic": b"4"})
    for link, target in {"cover": "a/1.png", "b.dat": ".x/2.png", "c.txt": ".x/3", "d.txt": "4.heic"}.items():
        (tmp_path / "source" / f"{link}.md").symlink_to(target)
    written = export(source, {}, {KEEP: Destination(str(tmp_path / "KEEP"))}, how)
    assert names(tmp_path / "KEEP") == {"a/1.png", "cover.md"}
    assert sorted(words for words in problems(written) if ".md" in words) == [
        "`b.dat.md`: an image in a hidden place, which was not scanned",
        "`c.txt.md`: it begins like an image, and was not scanned",
        "`d.txt.md`: an image of a kind that is not scanned",
    ]


@pytest.mark.parametrize(
    ("beside", "decision"),
    [
        *(("bad.caption.txt", REMOVE), ("bad.en.txt", REMOVE), ("bad.jpg.meta.json", REMOVE), ("BAD.txt", REMOVE)),
        *(
            ("bad.XML", REMOVE),
            ("bad.jpg.tar.gz", REMOVE),
            ("bad", REMOVE),
            ("Bad.JPG.txt", REMOVE),
            ("bad.x.y.npy", REMOVE),
        ),
        *(("bad.csv", KEEP), ("bad.zip", KEEP), ("bad.parquet", KEEP), ("bad.jsonl", KEEP), ("badly.txt", KEEP)),
        *(("README.md", KEEP), ("readme.txt", KEEP), ("README", KEEP), ("metadata.csv", KEEP), ("metadata.json", KEEP)),
        *(
            ("README.png.json", REMOVE),
            ("twin.txt", REMOVE),
            ("Twin.txt", KEEP),
            ("two.part.txt", KEEP),
            ("two.txt", REMOVE),
        ),
        *((".bad.txt", KEEP), ("no.txt", KEEP), ("x.txt", KEEP), ("bad.", REMOVE), ("...", KEEP)),
    ],
)
def test_which_files_belong_to_an_image(beside, decision):
    decided = Decided()
    for name in ("bad.jpg", "README.png", "metadata.jpg", "twin.jpg", "two.jpg", "x.000.jpg"):
        decided.add(f"a/{name}", REMOVE)
    for name in ("Twin.jpg", "two.part.jpg"):
        decided.add(f"a/{name}", KEEP)
    assert decided.decision_on(f"a/{beside}") is decision
    assert decided.decision_on(f"b/{beside}") is KEEP


def test_going_from_folder_to_folder_and_back_costs_no_more_than_staying():
    decided = Decided()
    for number in range(12_000):
        decided.add(f"{number % 4}/{number:05d}.jpg", REMOVE)
    begun = time.process_time()
    assert {decided.decision_on(f"{number % 4}/{number:05d}.txt") for number in range(1500)} == {REMOVE}
    assert time.process_time() - begun < 2  # going through a folder for each takes a multiple
    decided.add("1/00001.jpg", KEEP)
    assert decided.decision_on("1/00001.txt") is KEEP


def test_links_in_the_source(tmp_path):
    source = fill(tmp_path / "source", named("a/1.png", "a/2.png", "text/3.md", "b/4.png"))
    fill(tmp_path, named("outside/secret.txt"))
    root = tmp_path / "source"
    (root / "a" / "link.png").symlink_to("../b/4.png")
    (root / "a" / "gone.png").symlink_to("nowhere")
    (root / "2.md").symlink_to("text/3.md")
    (root / "cover").symlink_to(root / "a" / "2.png")  # leads to an image that is removed
    (root / "a" / "1.md").symlink_to("../text/3.md")  # stands beside an image for review
    (root / "val").symlink_to("b")
    (root / "b" / "up").symlink_to(root)
    (root / "out").symlink_to("../outside")
    (root / "out.txt").symlink_to("/etc/hostname")
    (root / "nothing.txt").symlink_to("nowhere")
    (root / "no folder").symlink_to("a/only")
    (root / "a" / "only").mkdir()
    (root / "a" / "only" / "5.png").write_bytes(b"5")
    codes = {"a/1.png": REVIEW, "a/2.png": REMOVE, "cover": REMOVE, "a/only/5.png": REMOVE}
    places = {decision: Destination(str(tmp_path / decision.name)) for decision in (KEEP, REVIEW)}
    before = untouched(root)
    for _ in range(2):
        written = export(source, codes, places)
        assert sorted(problems(written)) == [
            "`no folder`: a symbolic link to a folder of which nothing is left",
            "`nothing.txt`: it is not there any more, or a link leads to nothing",
            "`out.txt`: a link that leads out of the source, where nothing was scanned",
            "`out`: a link that leads out of the source, where nothing was scanned",
            "it is not there any more, or a link leads to nothing",
        ]
        assert tree(tmp_path / "KEEP") == {
            b"a/link.png": b"content of b/4.png",
            b"b/4.png": b"content of b/4.png",
            b"2.md": b"content of text/3.md",
            b"text/3.md": b"content of text/3.md",
            b"val": "link to b",
            b"b/up": "link to ..",
        }
        assert tree(tmp_path / "REVIEW") == {b"a/1.png": b"content of a/1.png", b"a/1.md": b"content of text/3.md"}
    assert untouched(root) == before


def test_a_link_under_another_name_lets_no_removed_image_through(tmp_path):
    source = fill(tmp_path / "source", named("a/1.png"))
    (tmp_path / "source" / "cover.dat").symlink_to("a/1.png")
    export(source, {"a/1.png": REMOVE}, {KEEP: Destination(str(tmp_path / "KEEP"))}, "symlink")
    assert not (tmp_path / "KEEP").exists()


@pytest.mark.parametrize("how", ["copy", "hardlink", "symlink"])
def test_what_cannot_be_read_is_told_and_costs_nothing_else(tmp_path, how):
    source = fill(tmp_path / "source", named("1.png", "2.png", "3.png", "4.png", "5.png"))
    (planned,) = units(source, {}, 9)
    root = tmp_path / "source"
    for name in ("2.png", "3.png", "4.png"):
        (root / name).unlink()
    os.mkfifo(root / "3.png")
    (root / "4.png").symlink_to("/etc/hostname")
    writer = FolderWriter(source, how)
    known = list(planned.sha256)
    planned = replace(
        planned, sha256=[known[0], None, None, None, known[4]]
    )  # they could not be read at the scan either
    written = writer.write(planned, {KEEP: Destination(str(tmp_path / "out"))})
    assert written.problems == {
        1: "it is not there any more, or a link leads to nothing",
        2: "not a regular file",
        3: "a link leads it out of the source",
    }
    assert written.places == {0: "1.png", 4: "5.png"}
    assert written.n_files == 2
    assert names(tmp_path / "out") == {"1.png", "5.png"}
    for row in (1, 2, 3):
        digests = [known[i] if i in (0, row, 4) else None for i in range(5)]
        with pytest.raises(SourceError, match=rf"`{row + 1}.png` has changed .* or cannot be read any more") as caught:
            writer.write(replace(planned, sha256=digests), {KEEP: Destination(str(tmp_path / "out"))})
        assert (caught.value.expected, caught.value.found) == (f"sha256 {known[row]}", written.problems[row])


@pytest.mark.parametrize(
    ("how", "hash_links", "is_noticed"),
    [
        *(("copy", False, True), ("hardlink", False, False), ("hardlink", True, True)),
        *(("symlink", False, False), ("symlink", True, True)),
    ],
)
def test_a_changed_image_is_noticed_by_its_hash(tmp_path, how, hash_links, is_noticed):
    source = fill(tmp_path / "source", named("a/1.png", "a/2.png"))
    planned = units(source, {}, 9)
    path = tmp_path / "source" / "a" / "2.png"
    times = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    places = {KEEP: Destination(str(tmp_path / "out"))}
    if not is_noticed:
        assert not problems(export(source, {}, places, how, planned=planned, hash_links=hash_links))
        return
    with pytest.raises(SourceError, match=r"`a/2.png` has changed since it was scanned") as caught:
        export(source, {}, places, how, planned=planned, hash_links=hash_links)
    assert caught.value.expected == f"sha256 {hashlib.sha256(b'content of a/2.png').hexdigest()}"
    assert names(tmp_path / "out") == {"a/1.png"}


def test_an_image_that_nobody_has_decided_on_stops_the_export(tmp_path):
    source = fill(tmp_path / "source", named("a/1.png"))
    planned = units(source, {})
    fill(tmp_path / "source", named("a/new.JPG"))
    with pytest.raises(SourceError, match=r"has changed since it was scanned: `.*a/new.JPG` is new"):
        export(source, {}, {KEEP: Destination(str(tmp_path / "out"))}, planned=planned)
    assert names(tmp_path / "out") == {"a/1.png"}


@pytest.mark.parametrize("how", ["copy", "hardlink", "symlink"])
def test_again_writes_nothing_twice_and_what_is_missing_once(tmp_path, how):
    source = fill(tmp_path / "source", named("a/1.png", "a/2.png", "b/3.png", "README"))
    out, places = tmp_path / "out", {KEEP: Destination(str(tmp_path / "out"))}
    first = export(source, {}, places, how)
    before = {name: os.lstat(out / name) for name in names(out)}
    (out / "a" / "2.png").unlink()
    (out / "b" / "3.png").unlink()
    (out / "b" / "3.png").write_bytes(b"half")
    again = export(source, {}, places, how)
    assert [(each.n_files, each.n_bytes, each.places) for each in again] == [
        (each.n_files, each.n_bytes, each.places) for each in first
    ]
    assert {os.fsdecode(name): (out / os.fsdecode(name)).read_bytes() for name in tree(out)} == {
        os.fsdecode(name): content for name, content in tree(tmp_path / "source").items()
    }
    for name in ("a/1.png", "README"):
        now = os.lstat(out / name)
        assert (now.st_ino, now.st_mtime_ns) == (before[name].st_ino, before[name].st_mtime_ns)
    assert os.lstat(out / "b" / "3.png").st_mode == before["b/3.png"].st_mode


@pytest.mark.parametrize(("first", "then"), [(a, b) for a in ("hardlink", "symlink") for b in ("copy", "symlink")])
def test_a_link_does_not_pass_for_a_copy(tmp_path, first, then):
    source = fill(tmp_path / "source", named("a/1.png"))
    places = {KEEP: Destination(str(tmp_path / "out"))}
    for how in (first, then):
        export(source, {}, places, how)
    made = tmp_path / "out" / "a" / "1.png"
    assert made.is_symlink() is (then == "symlink")
    if then == "copy":
        assert (made.stat().st_nlink, (tmp_path / "source/a/1.png").stat().st_nlink) == (1, 1)


def test_a_link_to_elsewhere_is_mended(tmp_path):
    source = fill(tmp_path / "source", named("a/1.png", "a/2.png"))
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "1.png").symlink_to(tmp_path / "source" / "a" / "2.png")
    export(source, {}, {KEEP: Destination(str(tmp_path / "out"))}, "symlink")
    assert (tmp_path / "out" / "a" / "1.png").readlink() == tmp_path / "source" / "a" / "1.png"


def test_what_an_export_keeps_for_itself_is_not_overwritten(tmp_path):
    source = fill(tmp_path / "source", named("1.png", ".clipsieve-export.json", "manifest.parquet", ".lock", "a/.lock"))
    fill(tmp_path / "out", {".clipsieve-export.json": b"ours", ".lock": b"ours"})
    written = export(source, {}, {KEEP: Destination(str(tmp_path / "out"))})
    assert tree(tmp_path / "out") == {
        b".clipsieve-export.json": b"ours",
        b".lock": b"ours",
        b"1.png": b"content of 1.png",
        b"a/.lock": b"content of a/.lock",
    }
    assert problems(written) == ["`manifest.parquet`: an export has a file of its own of that name"]


@pytest.mark.parametrize("taken", ["manifest.parquet", ".lock", ".clipsieve-export.json"])
def test_a_folder_called_as_a_file_of_an_export_costs_itself(tmp_path, taken, remote):
    files = [f"{taken}/1.png", f"{taken}/b/part", "2.png", "a/manifest.parquet/3.png"]
    source = fill(tmp_path / "source", named(*files))
    (tmp_path / "source" / taken / "empty").mkdir()
    for place in (Destination(str(tmp_path / "out")), Destination(remote)):
        written = export(source, {}, {KEEP: place})
        assert set(place.sizes()) == {"2.png", "a/manifest.parquet/3.png"}
        place.write_bytes(taken, b"ours")
        assert all("an export has a file of its own of that name" in words for words in problems(written)[1:])
        assert len(problems(written)) == 3
    assert not (tmp_path / "out" / taken).is_dir()


def test_files_of_any_size_come_whole(tmp_path):
    sizes = {"0.png": 0, "1.png": 1, "2.png": (1 << 20) - 1, "3.png": 1 << 20, "4.png": (1 << 21) + 1}
    rng = np.random.default_rng(7)
    source = fill(tmp_path / "source", {name: rng.bytes(size) for name, size in sizes.items()})
    small = FolderSource(
        tmp_path / "source", max_bytes=1000
    )  # what was too large to be scanned is exported all the same
    for number, each in enumerate((source, small)):
        export(each, {}, {KEEP: Destination(str(tmp_path / f"out{number}"))})
        assert tree(tmp_path / f"out{number}") == tree(tmp_path / "source")


@pytest.fixture
def remote() -> str:
    return f"memory://folder-{next(NUMBERS)}"


def content(place: Destination) -> dict[str, bytes | None]:
    return {name: place.read_bytes(name) for name in place.sizes()}


def test_from_here_to_a_url_and_back(tmp_path, remote):
    files = named(
        "a b/1.png", "a b/1.txt", "ü/2 %.png", "ü/3#.jpg", "ü/3#.json", "README", ".hidden/x", ".git/HEAD", "x.png.txt"
    )
    source = fill(tmp_path / "source", files)
    (tmp_path / "source" / "empty").mkdir()
    (tmp_path / "source" / "out").symlink_to("a b")
    codes = {"ü/3#.jpg": REMOVE}
    left = {name: files[name] for name in files if name not in ("ü/3#.jpg", "ü/3#.json", ".git/HEAD")}
    places = {KEEP: Destination(f"{remote}/there")}
    for how in ("copy", "hardlink", "symlink"):
        written = export(source, codes, places, how)
        assert problems(written) == ["`out`: a symbolic link, which the place cannot have"]
        assert content(places[KEEP]) == left
        assert sum(each.n_files for each in written) == len(left)
    places[KEEP].write_bytes(".git/HEAD", b"x")
    places[KEEP].write_bytes("sub/.git/objects/1.png", b"x")
    far = RemoteFolderSource(Storage(f"{remote}/there"))
    elsewhere = {KEEP: Destination(f"{remote}/further"), REVIEW: Destination(str(tmp_path / "back"))}
    written = export(far, {"a b/1.png": REVIEW}, elsewhere, "hardlink")
    assert not problems(written)
    assert content(elsewhere[REVIEW]) == {name: files[name] for name in ("a b/1.png", "a b/1.txt")}
    assert content(elsewhere[KEEP]) == {n: c for n, c in left.items() if n not in ("a b/1.png", "a b/1.txt")}
    files_named = {file for each in written for file in each.places.values()}
    assert files_named == {"a b/1.png", "ü/2 %25.png"}


def test_behind_a_url_a_changed_a_missing_and_a_new_image_are_noticed(tmp_path, remote):
    far = Destination(remote)
    for name in ("1.png", "2.png", "3.png"):
        far.write_bytes(name, name.encode())
    source = RemoteFolderSource(Storage(remote))
    planned = units(source, {}, 9)
    source.storage.filesystem.rm_file(source.path("2.png"))
    writer, places = FolderWriter(source), {KEEP: Destination(str(tmp_path / "out"))}
    with pytest.raises(SourceError, match=r"`2.png` has changed .* or cannot be read any more"):
        writer.write(planned[0], places)
    known = planned[0].sha256
    written = writer.write(replace(planned[0], sha256=[known[0], None, known[2]]), places)
    assert (written.places, list(written.problems)) == ({0: "1.png", 2: "3.png"}, [1])
    assert "not there when it was read" in written.problems[1]
    writer.remember(planned[0], written)
    far.write_bytes("new.jpg", b"x")
    with pytest.raises(SourceError, match=r"/new.jpg` is new"):
        list(writer.finish(places))
    far.write_bytes("2.png", b"other")
    with pytest.raises(SourceError, match=r"`2.png` has changed since it was scanned"):
        FolderWriter(source).write(planned[0], {KEEP: Destination(str(tmp_path / "new"))})
    assert "2.png" not in names(tmp_path / "new")


def test_a_name_that_is_too_long_for_the_disk_costs_itself(tmp_path, remote):
    far, too_long = Destination(remote), "x" * 252 + ".png"
    for name in ("a.png", too_long, "z.png"):
        far.write_bytes(name, name.encode())
    source = RemoteFolderSource(Storage(remote))
    planned = units(source, {}, 9)
    written = FolderWriter(source).write(planned[0], {KEEP: Destination(str(tmp_path / "out"))})
    assert written.problems == {1: "the place cannot have a file of that name: File name too long"}
    assert written.places == {0: "a.png", 2: "z.png"}
    assert names(tmp_path / "out") == {"a.png", "z.png"}


def test_a_name_that_is_no_utf8_cannot_go_behind_a_url(tmp_path, remote):
    source = fill(tmp_path / "source", named(b"\xff.png", "ok.png", b"\xfe.md"))
    place = Destination(remote)
    written = export(source, {}, {KEEP: place})
    assert list(content(place)) == ["ok.png"]
    assert problems(written) == [
        "its name is no UTF-8, and the place takes nothing else",
        r"`\xfe.md`: its name is no UTF-8, and the place takes nothing else",
    ]


def test_a_place_that_is_a_file_stops_the_export(tmp_path):
    source = fill(tmp_path / "source", named("a/1.png"))
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(ExportError, match="cannot write"):
        export(source, {}, {KEEP: Destination(str(tmp_path / "out"))})


def test_what_is_there_behind_a_url_is_not_sent_again(tmp_path, remote):
    source = fill(tmp_path / "source", named("1.png", "2.png", "README"))
    place = Destination(remote)
    place.write_bytes("1.png", b"CONTENT OF 1.png")  # of the right size, and told apart from a new one by its content
    place.write_bytes("README", b"half")
    export(source, {}, {KEEP: place})
    assert content(place) == {
        "1.png": b"CONTENT OF 1.png",
        "2.png": b"content of 2.png",
        "README": b"content of README",
    }


@pytest.mark.slow
def test_a_full_disk_stops_the_export_and_room_lets_it_go_on(tmp_path, small_disk):
    source = fill(tmp_path / "source", {f"{i:02d}.png": bytes([i]) * 60_000 for i in range(16)})
    (small_disk / "filler").write_bytes(bytes(300_000))
    places = {KEEP: Destination(str(small_disk / "out"))}
    with pytest.raises(ExportError, match="No space left on device"):
        export(source, {}, places)
    kept = tree(small_disk / "out")
    assert 0 < len(kept) < 16
    assert all(value == tree(tmp_path / "source")[name] for name, value in kept.items())
    (small_disk / "filler").unlink()
    export(source, {}, places)
    assert tree(small_disk / "out") == tree(tmp_path / "source")


@pytest.mark.slow
def test_a_hard_link_that_becomes_a_copy_is_compared(tmp_path, small_disk):
    source = fill(tmp_path / "source", named("a/1.png", "a/2.png"))
    planned = units(source, {}, 9)
    export(source, {}, {KEEP: Destination(str(small_disk / "out"))}, "hardlink", planned=planned)
    assert tree(small_disk / "out") == tree(tmp_path / "source")
    (tmp_path / "source" / "a" / "2.png").write_bytes(b"CONTENT OF a/2.png")
    with pytest.raises(SourceError, match=r"`a/2.png` has changed"):
        export(source, {}, {KEEP: Destination(str(small_disk / "new"))}, "hardlink", planned=planned)
    assert names(small_disk / "new") == {"a/1.png"}


SCRIPT = """
import hashlib, sys
from pathlib import Path
import numpy as np
from clipsieve.evaluation.operating_points import Decision
from clipsieve.outputs.export.base import Unit
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.folder import FolderWriter
from clipsieve.sources import FolderSource

root, out, how = sys.argv[1:]
source = FolderSource(Path(root))
writer, places = FolderWriter(source, how), {Decision.KEEP: Destination(out)}
shards = source.plan(50).shards
digests = [[hashlib.sha256(ref.content).hexdigest() for ref in source.read(shard)] for shard in shards]
print("ready", flush=True)
for shard, hashes in zip(shards, digests):
    codes = np.array([2 if name.endswith("7.png") else 0 for name in shard.members], dtype=np.uint8)
    unit = Unit(str(shard.index), (shard,), shard.members, hashes, codes)
    writer.remember(unit, writer.write(unit, places))
list(writer.finish(places))
"""


def start(source: Path, out: Path, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(source), str(out), how]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


def finish(process: subprocess.Popen[str]) -> None:
    _, complaints = process.communicate(timeout=120)
    assert (process.returncode, complaints) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["copy", "hardlink"])
def test_an_export_that_is_killed_goes_on_and_ends_as_one_that_was_not(tmp_path, how):
    rng = np.random.default_rng(11)
    files = {f"{i % 5}/{i:03d}.png": rng.bytes(int(rng.integers(1000, 300_000))) for i in range(300)}
    fill(tmp_path / "source", files | {f"{i % 5}/{i:03d}.txt": b"caption" for i in range(300)} | {"README": b"read me"})
    whole = tmp_path / "whole"
    process = start(tmp_path / "source", whole, how)
    finish(process)
    expected, moments, n_partial = tree(whole), random.Random(11), 0
    assert set(expected) == {name for name in tree(tmp_path / "source") if not name.endswith((b"7.png", b"7.txt"))}
    for number in range(10):
        out = tmp_path / f"cut-{number}"
        process = start(tmp_path / "source", out, how)
        # Not after a time, which another machine would need less or more of, but once so many files are there.
        n_wanted = moments.randrange(1, len(expected) - 20)
        while process.poll() is None and sum(len(names) for _, _, names in os.walk(out)) < n_wanted:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        found = {name: value for name, value in tree(out).items() if b"/.clipsieve-" not in b"/" + name}
        assert all(expected[name] == value for name, value in found.items() if value != "empty")
        n_partial += 0 < len(found) < len(expected)
        finish(start(tmp_path / "source", out, how))
        assert tree(out) == expected
    assert n_partial >= 3
