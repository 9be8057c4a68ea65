"""WebDataset again: what the library of that name reads is the source minus the removed samples, byte for byte."""

import copy
import gc
import gzip
import hashlib
import io
import json
import os
import tarfile
import tracemalloc
import warnings

import numpy as np
import pytest
import webdataset

from clipsieve.errors import ExportError, SourceError
from clipsieve.outputs.export.base import Unit
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.webdataset import WebDatasetWriter
from clipsieve.sources import open_source
from export_units import KEEP, REMOVE, REVIEW, export, joined, places, units
from image_files import encoded, png, tar

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute


def read_with_the_library(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it leaves its files open
        samples = list(webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False))
        gc.collect()
    return [
        {name: value for name, value in each.items() if name not in ("__url__", "__local_path__")} for each in samples
    ]


def raw_members(content: bytes) -> list[tuple[str, bytes]]:
    """Return the name of each member of a tar, and all its blocks, headers before its own included."""
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        members = opened.getmembers()
        ends = [member.offset for member in members[1:]] + [opened.offset]
    starts = [0, *ends[:-1]]
    return [(m.name, content[start:end]) for m, start, end in zip(members, starts, ends, strict=True)]


def closed(blocks: bytes) -> bytes:
    whole = blocks + bytes(1024)
    return whole + bytes(-len(whole) % 10240)


def made(folder, content: bytes, name="a.tar"):
    (folder / "tars").mkdir(exist_ok=True)
    (folder / "tars" / name).write_bytes(content)
    source = open_source(folder / "tars", "webdataset")
    return source, WebDatasetWriter(source)


def removing(*parts: str):
    return lambda image_id: REMOVE if any(part in image_id for part in parts) else KEEP


def test_the_library_reads_back_what_its_own_writer_wrote_but_for_the_removed(tmp_path):
    (tmp_path / "tars").mkdir()
    facts = [
        {"__key__": f"s{i:03d}", "png": png(i), "txt": f"text {i}", "cls": i % 3, "x.npy": np.arange(i)}
        for i in range(24)
    ]
    for number in range(3):
        with webdataset.TarWriter(str(tmp_path / "tars" / f"{number:03d}.tar")) as writer:
            for each in facts[8 * number : 8 * number + 8]:
                writer.write(each)
    rng = np.random.default_rng(0)
    fate = {each["__key__"]: int(rng.integers(3)) for each in facts}
    source = open_source(tmp_path / "tars")
    export(source, WebDatasetWriter(source), tmp_path / "out", lambda name: fate[name.rpartition("/")[2][:4]])
    before = read_with_the_library(tmp_path / "tars" / "{000..002}.tar")
    assert len(before) == 24
    for decision in (KEEP, REVIEW, REMOVE):
        names = sorted((tmp_path / "out" / decision.name.lower()).iterdir())
        after = [sample for path in names for sample in read_with_the_library(path)]
        assert after == [sample for sample in before if fate[sample["__key__"]] == decision]
        assert list(after[0]) == list(before[0])


def test_the_layout_of_img2dataset_is_kept(tmp_path):
    members = [
        (f"{key:09d}.{end}", encoded(key, "JPEG") if end == "jpg" else json.dumps({"key": key}).encode())
        for key in range(7)
        for end in ("jpg", "json", "txt")
    ]
    (tmp_path / "tars" / "train").mkdir(parents=True)
    for name in ("00000.tar", "00001.tar"):
        (tmp_path / "tars" / "train" / name).write_bytes(tar(members))
    source = open_source(tmp_path / "tars")
    written = export(source, WebDatasetWriter(source), tmp_path / "out", removing("000000003", "000000005"), KEEP)
    for name in ("00000.tar", "00001.tar"):
        with tarfile.open(tmp_path / "out" / "keep" / "train" / name) as opened:
            found = [(member.name, opened.extractfile(member).read()) for member in opened]
        assert found == [each for each in members if int(each[0][:9]) not in (3, 5)]
    assert [each.n_files for each in written] == [1, 1]
    assert written[0].places == dict.fromkeys((0, 1, 2, 4, 6), "train/00000.tar")
    assert written[0].n_bytes == (tmp_path / "out" / "keep" / "train" / "00000.tar").stat().st_size


LONG = f"{'d' * 120}/{'e' * 130}"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_headers_contents_and_padding_are_those_of_the_source(tmp_path, form):
    names = ["a b.png", "new\nline.png", "100%.png", "../x.png", "/etc/y.png", "./z.png", "ü.png", "日本.txt"]
    names += [f"{LONG}.png", f"{LONG}.txt"] if form != tarfile.USTAR_FORMAT else ["d" * 90 + "/" + "e" * 90 + ".png"]
    names += [os.fsdecode(b"\xff\xfe.png"), os.fsdecode(b"\xff\xfe.json")] if form != tarfile.PAX_FORMAT else []
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form, errors="surrogateescape") as opened:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            inside = png(number) if name.endswith("png") else b"words"
            member.size, member.mtime, member.mode = len(inside), 1_600_000_000.25 + number, 0o640
            member.uname, member.gname, member.uid = "someone", "some group", 1234
            opened.addfile(member, io.BytesIO(inside))
    content = file.getvalue()
    source, writer = made(tmp_path, content)
    export(source, writer, tmp_path / "all", lambda _: KEEP, KEEP)
    assert (tmp_path / "all" / "keep" / "a.tar").read_bytes() == content
    export(source, writer, tmp_path / "some", removing("100%25", LONG, "x.png", "%FF"))
    raw = raw_members(content)
    gone = {name for name in names if any(part in name for part in ("100%", LONG, "x.png", "\udcff"))}
    for folder, is_wanted in (("keep", False), ("remove", True)):
        expected = b"".join(blocks for name, blocks in raw if (name in gone) is is_wanted)
        assert (tmp_path / "some" / folder / "a.tar").read_bytes() == closed(expected)
    assert not (tmp_path / "some" / "review").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all", "some", "tars"]


def test_nothing_of_what_was_removed_is_left(tmp_path):
    secret = b"the removed picture, its caption and its name"
    members = [(f"{i}.{end}", png(i) + (secret if i == 2 else b"")) for i in range(5) for end in ("png", "txt")]
    members += [(f"2.{secret.decode()}.bin", secret), ("._2.png", secret)]
    source, writer = made(tmp_path, tar(members, tarfile.PAX_FORMAT))
    export(source, writer, tmp_path / "out", removing("/2.png"), KEEP)
    kept = (tmp_path / "out" / "keep" / "a.tar").read_bytes()
    assert secret not in kept
    assert len(kept) == 10240 * -(-(8 * 1024 + 1024) // 10240)


def test_a_sample_goes_as_a_whole_wherever_its_members_stand(tmp_path):
    members = [(f"x/{i}.png", png(i)) for i in range(6)]
    members += [(f"x/{i}.seg.PNG", png(100 + i)) for i in reversed(range(6))]
    members += [(f"x/{i}.txt", b"words") for i in range(6)] + [
        ("y/3.txt", b"another folder"),
        ("README.md", b"read me"),
    ]
    source, writer = made(tmp_path, tar(members))
    export(source, writer, tmp_path / "out", lambda name: {"4.png": REMOVE, "1.seg.PNG": REVIEW}.get(name[8:], KEEP))
    found = {
        each: [name for name, _ in raw_members((tmp_path / "out" / each / "a.tar").read_bytes())]
        for each in ("keep", "review", "remove")
    }
    assert found["review"] == ["x/1.png", "x/1.seg.PNG", "x/1.txt"]
    assert found["remove"] == ["x/4.png", "x/4.seg.PNG", "x/4.txt"]
    assert found["keep"] == [name for name, _ in members if name[:3] not in ("x/1", "x/4")]


def test_two_images_of_one_key_make_one_group_and_others_do_not(tmp_path):
    members = [("1.jpg", encoded(1, "JPEG")), ("2.jpg", encoded(2, "JPEG")), ("1.seg.png", png(2)), ("d/1.jpg", png(3))]
    source, writer = made(tmp_path, tar(members))
    (unit,) = units(source, writer, lambda _: KEEP)
    assert writer.groups(unit).tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar"])
def test_packed_tars_come_out_packed_and_twice_the_same(tmp_path, name):
    members = [(f"{i}.{end}", png(i) if end == "png" else b"words") for i in range(6) for end in ("png", "txt")]
    content = tar(members)
    source, writer = made(tmp_path, gzip.compress(content), name)
    for folder in ("one", "two"):
        export(source, writer, tmp_path / folder, removing("/1.png", "/4.png"), KEEP)
    packed = (tmp_path / "one" / "keep" / name).read_bytes()
    assert packed == (tmp_path / "two" / "keep" / name).read_bytes()
    expected = b"".join(blocks for member, blocks in raw_members(content) if member[0] not in "14")
    assert gzip.decompress(packed) == closed(expected)
    assert packed[4:8] == bytes(4)
    assert packed[3] == 0  # no name within
    assert [each["__key__"] for each in read_with_the_library(tmp_path / "one" / "keep" / name)] == ["0", "2", "3", "5"]


def test_a_tar_of_which_nothing_is_kept_is_an_empty_tar(tmp_path):
    source, writer = made(tmp_path, tar([("1.png", png(1)), ("1.txt", b"x")]))
    (written,) = export(source, writer, tmp_path / "out", lambda _: REVIEW)
    kept = tmp_path / "out" / "keep" / "a.tar"
    assert kept.read_bytes() == bytes(10240)
    with tarfile.open(kept) as opened:
        assert opened.getnames() == []
    assert read_with_the_library(kept) == []
    assert (written.n_files, written.places) == (2, {0: "a.tar"})
    assert not (tmp_path / "out" / "remove").exists()


def special(*members: tuple[str, bytes | None, bytes, str], form=tarfile.GNU_FORMAT, **headers) -> bytes:
    """Return a tar of members of any type: name, content, type, and what a link leads to."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form, **headers) as opened:
        for name, content, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mtime = kind, target, 1_500_000_000
            member.size = len(content or b"")
            opened.addfile(member, io.BytesIO(content or b""))
    return file.getvalue()


REG, LNK, SYM, DIR = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_hard_links_are_followed_where_their_file_goes_elsewhere(tmp_path, form):
    content = special(
        ("1.png", png(1), REG, ""),
        (f"{LONG}.png", None, LNK, "1.png"),
        ("3.png", None, LNK, f"{LONG}.png"),
        ("4.png", None, SYM, "1.png"),
        ("5.png", None, LNK, "not there.png"),
        ("6.png", png(6), REG, ""),
        ("7.png", None, LNK, "6.png"),
        ("8.png", None, LNK, "1.png"),
        form=form,
    )
    source, writer = made(tmp_path, content)
    export(source, writer, tmp_path / "out", lambda name: REMOVE if "/1.png" in name or "/8.png" in name else KEEP)
    with tarfile.open(tmp_path / "out" / "keep" / "a.tar") as opened:
        found = {member.name: member for member in opened}
        assert opened.extractfile(f"{LONG}.png").read() == opened.extractfile("3.png").read() == png(1)
        assert opened.extractfile("7.png").read() == png(6)
    kinds = {name: member.type for name, member in found.items()}
    assert kinds == {f"{LONG}.png": REG, "3.png": LNK, "4.png": SYM, "5.png": LNK, "6.png": REG, "7.png": LNK}
    assert found[f"{LONG}.png"].mtime == 1_500_000_000
    with tarfile.open(tmp_path / "out" / "remove" / "a.tar") as opened:
        assert [(member.name, member.type) for member in opened] == [("1.png", REG), ("8.png", LNK)]
    again = open_source(tmp_path / "out" / "keep")
    refs = [ref for shard in again.plan(10).shards for ref in again.read(shard)]
    assert [ref.content for ref in refs] == [png(1), png(1), png(6), png(6)]


def test_folders_and_lonely_members_are_kept_and_headers_for_all_go_everywhere(tmp_path):
    content = special(
        ("1", None, DIR, ""),
        ("1.png", png(1), REG, ""),
        ("2.png", png(2), REG, ""),
        ("lonely.txt", b"words", REG, ""),
        form=tarfile.PAX_FORMAT,
        pax_headers={"comment": "for all members"},
    )
    source, writer = made(tmp_path, content)
    export(source, writer, tmp_path / "out", removing("/1.png"))
    for folder, names in (("keep", ["1", "2.png", "lonely.txt"]), ("remove", ["1.png"])):
        with tarfile.open(tmp_path / "out" / folder / "a.tar") as opened:
            assert (opened.getnames(), opened.pax_headers) == (names, {"comment": "for all members"})


def test_of_a_cut_tar_what_is_whole_goes_its_way_and_the_rest_is_told(tmp_path):
    members = [(f"{i}.{end}", png(i) if end == "png" else b"words") for i in range(5) for end in ("png", "txt")]
    content = tar(members, tarfile.USTAR_FORMAT)
    source, writer = made(tmp_path, content[: 6 * 1024 + 520])
    (written,) = export(source, writer, tmp_path / "out", lambda name: REMOVE if "/1.png" in name else KEEP)
    raw = raw_members(content)
    kept = (tmp_path / "out" / "keep" / "a.tar").read_bytes()
    assert kept == closed(b"".join(blocks for name, blocks in raw if name[0] in "02"))
    assert written.places == {0: "a.tar", 1: "a.tar", 2: "a.tar"}
    assert list(written.problems) == [3]
    assert "`a.tar` is damaged" in written.problems[3]


def test_a_tar_cut_within_its_last_padding_is_padded(tmp_path):
    content = tar([(f"{i}.png", png(i)) for i in range(2)], tarfile.USTAR_FORMAT)
    source, writer = made(tmp_path, content[: 1024 + 512 + len(png(1))])
    export(source, writer, tmp_path / "out", lambda _: KEEP, KEEP)
    assert (tmp_path / "out" / "keep" / "a.tar").read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"<html>404</html>" * 100, b"\x1f\x8b" + bytes(100)])
def test_what_is_no_tar_leaves_a_problem_and_no_file(tmp_path, content):
    made(tmp_path, tar([("1.png", png(1))]), "b.tar")
    source, writer = made(tmp_path, content)
    bad, good = export(source, writer, tmp_path / "out", lambda _: KEEP, KEEP)
    assert (bad.n_files, bad.places, list(bad.problems)) == (0, {}, [0])
    assert (good.n_files, good.problems) == (1, {})
    assert [path.name for path in (tmp_path / "out" / "keep").iterdir()] == ["b.tar"]
    (without_place,) = [
        writer.write(unit, {}) for unit in units(source, writer, lambda _: KEEP) if unit.name == "a.tar"
    ]
    assert without_place.problems == {}


def test_a_cut_gzip_gives_what_could_be_unpacked(tmp_path):
    rng = np.random.default_rng(0)
    content = tar([(f"{i}.png", png(i) + rng.bytes(5000)) for i in range(6)])
    packed = gzip.compress(content)
    source, writer = made(tmp_path, packed[: len(packed) // 2])
    (written,) = export(source, writer, tmp_path / "out", lambda _: KEEP, KEEP)
    kept = gzip.decompress((tmp_path / "out" / "keep" / "a.tar").read_bytes())
    raw = raw_members(content)
    n_whole = len(written.places)
    assert n_whole >= 2
    assert kept == closed(b"".join(blocks for _, blocks in raw[:n_whole]))
    assert list(written.problems) == [n_whole]


@pytest.mark.parametrize("changed", ["content", "name", "more", "fewer", "cut", "gone"])
def test_a_tar_that_has_changed_is_refused_and_nothing_of_it_is_written(tmp_path, changed):
    members = [(f"{i}.png", png(i)) for i in range(4)]
    source, writer = made(tmp_path, tar(members))
    (unit,) = units(source, writer, removing("/1.png"))
    others = {
        "content": tar([*members[:3], ("3.png", png(99))]),
        "name": tar([*members[:3], ("4.png", png(3))]),
        "more": tar([*members, ("4.png", png(4))]),
        "fewer": tar(members[:3]),
        "cut": tar(members)[:3000],
        "gone": None,
    }
    path = tmp_path / "tars" / "a.tar"
    path.unlink() if others[changed] is None else path.write_bytes(others[changed])
    # Opened again, as by a later command; of what is gone, there is the listing alone.
    new = WebDatasetWriter(open_source(path.parent) if path.exists() else copy.copy(source))
    with pytest.raises(SourceError, match="has changed since it was scanned") as caught:
        new.write(unit, places(tmp_path / "out"))
    assert "a.tar" in caught.value.what
    assert changed != "content" or "`3.png` in `a.tar`" in caught.value.what
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_what_is_there_is_not_written_again_and_what_is_missing_is(tmp_path):
    source, writer = made(tmp_path, tar([(f"{i}.png", png(i)) for i in range(4)]))
    (first,) = export(source, writer, tmp_path / "out", removing("/1.png"))
    kept, removed = (tmp_path / "out" / name / "a.tar" for name in ("keep", "remove"))
    content, inode = removed.read_bytes(), kept.stat().st_ino
    removed.unlink()
    (again,) = export(source, writer, tmp_path / "out", removing("/1.png"))
    assert again == first
    assert (removed.read_bytes(), kept.stat().st_ino) == (content, inode)
    # When all is there, the source is not even opened.
    (unit,) = units(source, writer, removing("/1.png"))
    closed_source = WebDatasetWriter(type(source)("nowhere", source._storage, []))
    assert closed_source.write(unit, places(tmp_path / "out")) == first


def test_an_image_that_could_not_be_hashed_goes_all_the_same(tmp_path):
    big = encoded(1, "BMP", 64)
    made(tmp_path, tar([("1.png", png(1)), ("2.bmp", big)]))
    source = open_source(tmp_path / "tars", max_bytes=1000)
    export(source, WebDatasetWriter(source), tmp_path / "out", lambda _: REVIEW, REVIEW)
    with tarfile.open(tmp_path / "out" / "review" / "a.tar") as opened:
        assert opened.extractfile("2.bmp").read() == big


def test_a_place_that_refuses_a_name_is_an_export_error(tmp_path):
    source, writer = made(tmp_path, tar([("1.png", png(1))]))
    (unit,) = units(source, writer, lambda _: KEEP)
    with pytest.raises(ExportError, match="leads out of"):
        writer.write(
            Unit("../a.tar", unit.shards, ["../a.tar/1.png"], unit.sha256, unit.codes), places(tmp_path / "out")
        )


def test_behind_urls_as_on_this_machine(tmp_path):
    import fsspec

    content = tar([(f"{i}.png", png(i)) for i in range(4)])
    memory = fsspec.filesystem("memory")
    memory.pipe("/export-tars/train/a.tar", content)
    source = open_source("memory://export-tars")
    writer = WebDatasetWriter(source)
    (unit,) = units(source, writer, removing("/1.png"))
    writer.write(joined(writer, unit), {KEEP: Destination("memory://export-kept")})
    expected = b"".join(blocks for name, blocks in raw_members(content) if name != "1.png")
    assert memory.cat("/export-kept/train/a.tar") == closed(expected)


def test_memory_does_not_grow_with_the_tar(tmp_path):
    big = np.random.default_rng(0).bytes(16 * 1024**2)
    source, writer = made(tmp_path, tar([("1.png", png(1)), ("1.mp4", big), ("2.png", png(2)), ("2.mp4", big)]))
    (unit,) = units(source, writer, removing("/2.png"))
    tracemalloc.start()
    writer.write(unit, places(tmp_path / "out"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 1024**2
    with tarfile.open(tmp_path / "out" / "keep" / "a.tar") as opened:
        found = hashlib.sha256(opened.extractfile("1.mp4").read()).hexdigest()
    assert found == hashlib.sha256(big).hexdigest()


def told(written) -> list[str]:
    return [words for each in written for words in each.problems.values()]


def test_images_that_were_no_inputs_are_left_out_and_told(tmp_path):
    heic = b"\0\0\0\x18ftypheic" + bytes(500)
    members = [
        ("001.jpg", encoded(1, "JPEG")),
        ("001.bin", b"numbers"),
        (".hidden/001.jpg", encoded(2, "JPEG")),
        ("002.heic", heic),
        ("003.bin", png(3)),
        ("004.image", encoded(4, "WEBP")),
        ("005", heic),
        ("006.jxl", b"\xff\x0a" + bytes(50)),
        ("007.bmp.part", encoded(7, "GIF")),
        ("001.thumb", png(8)),
        (".x.jpg", b""),
        ("._001.jpg", b"\0\5\x16\7" + bytes(90)),
        ("009.jpg", encoded(9, "JPEG")),
        ("notes.txt", b"words"),
    ]
    source, writer = made(tmp_path, tar(members))
    written = export(source, writer, tmp_path / "out", removing("009"), KEEP, REMOVE)
    written += writer.finish(places(tmp_path / "out", KEEP, REMOVE))
    found = [name for name, _ in raw_members((tmp_path / "out" / "keep" / "a.tar").read_bytes())]
    assert found == ["001.jpg", "001.bin", ".x.jpg", "._001.jpg", "notes.txt"]
    (words,) = told(written)
    assert words == (
        "`a.tar`: images that were not scanned are left out: `.hidden/001.jpg`, `002.heic`, `003.bin`, `004.image`, `005` "
        "and 3 more"
    )


def test_sparse_files_and_links_do_not_carry_images_past_the_scan(tmp_path):
    sparse = tarfile.TarInfo("5.jpg")
    sparse.type, sparse.size = tarfile.GNUTYPE_SPARSE, len(png(5))
    header = bytearray(sparse.tobuf(tarfile.GNU_FORMAT))
    header[386:398], header[398:410] = b"%011o\0" % 0, b"%011o\0" % len(png(5))
    header[483:495] = b"%011o\0" % len(png(5))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content = special(
        ("1.png", png(1), REG, ""),
        (".hidden.png", png(2), REG, ""),
        ("3.png", None, LNK, ".hidden.png"),
        ("notes.txt", None, LNK, "1.png"),
        ("odd", png(4), b"Z", ""),
        ("6.png", png(6), REG, ""),
    )
    end = content.rstrip(b"\0")
    whole = end + bytes(-len(end) % 512) + bytes(header) + png(5) + bytes(-len(png(5)) % 512)
    source, writer = made(tmp_path, closed(whole))
    written = export(source, writer, tmp_path / "out", removing("/1.png"), KEEP)
    written += writer.finish(places(tmp_path / "out", KEEP))
    with tarfile.open(tmp_path / "out" / "keep" / "a.tar") as opened:
        found = {member.name: (member.type, opened.extractfile(member).read()) for member in opened}
    # A link to what is left out is an input, and becomes the file.
    assert found == {"3.png": (REG, png(2)), "6.png": (REG, png(6))}
    (words,) = told(written)
    assert words.endswith("are left out: `.hidden.png`, `notes.txt`, `odd`, `5.jpg`")


def test_tars_without_images_are_part_of_the_data_set(tmp_path):
    labels = tar([("a/labels.json", b"{}"), ("a/numbers.bin", b"12")])
    made(tmp_path, labels, "b.tar")
    made(tmp_path, tar([("a.heic", b"x"), ("b.txt", b"words")]), "c.tar")
    source, writer = made(tmp_path, tar([("1.png", png(1)), ("2.png", png(2))]))
    where = places(tmp_path / "out")
    written = export(source, writer, tmp_path / "out", removing("/1.png")) + list(writer.finish(where))
    kept = {path.name: path.read_bytes() for path in (tmp_path / "out" / "keep").iterdir()}
    assert kept["b.tar"] == labels
    assert {name: [each for each, _ in raw_members(content)] for name, content in kept.items()} == {
        "a.tar": ["2.png"],
        "b.tar": ["a/labels.json", "a/numbers.bin"],
        "c.tar": ["b.txt"],
    }
    assert [path.name for path in (tmp_path / "out" / "remove").iterdir()] == ["a.tar"]
    assert told(written) == ["`c.tar`: images that were not scanned are left out: `a.heic`"]
    assert sum(each.n_files for each in written) == 4


@pytest.mark.parametrize(
    ("image", "text"), [("./030.png", "030.txt"), ("030.png", "./030.txt"), ("././x/1.png", "x/1.txt")]
)
def test_a_path_is_the_same_with_a_dot_before_it(tmp_path, image, text):
    source, writer = made(tmp_path, tar([(image, png(1)), (text, b"secret words"), ("031.png", png(2))]))
    (shard,) = source.plan(10).shards
    assert [ref.caption for ref in source.read(shard)] == ["secret words", None]
    export(source, writer, tmp_path / "out", lambda name: KEEP if "031" in name else REMOVE, KEEP)
    assert [name for name, _ in raw_members((tmp_path / "out" / "keep" / "a.tar").read_bytes())] == ["031.png"]
