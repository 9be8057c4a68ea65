"""WebDataset: what the library of that name writes is read as it is; what it would lose becomes a row."""

import gc
import gzip
import io
import json
import os
import tarfile
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.engines import LocalEngine, scan
from clipsieve.errors import SourceError, UsageError
from clipsieve.sources import open_source
from clipsieve.sources.tar_walk import _Member
from clipsieve.types import Failure, FailureCode
from image_files import encoded, png, tar
from tiny_encoder import TinyEncoder


def read(location, part_size=100, **options):
    source = open_source(location, **options)
    return [ref for shard in source.plan(part_size).shards for ref in source.read(shard)]


def the_library():
    """Import it late: it loads torch, which takes seconds."""
    import webdataset

    return webdataset


def read_with_the_library(location):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it leaves its files open
        samples = list(the_library().WebDataset(location, shardshuffle=False))
        gc.collect()
    return samples


def codes(refs):
    return [ref.content.code if isinstance(ref.content, Failure) else None for ref in refs]


def test_what_the_librarys_own_writer_writes(tmp_path):
    with the_library().ShardWriter(str(tmp_path / "%05d.tar"), maxcount=4, verbose=0) as writer:
        for index in range(10):
            facts = {"url": f"https://example.org/{index}", "width": 6}
            sample = {"png": png(index), "txt": f"picture {index}", "cls": index % 3, "json": facts}
            writer.write({"__key__": f"sample{index:04d}", **sample})
    theirs = read_with_the_library(str(tmp_path / "{00000..00002}.tar"))
    ours = read(tmp_path)
    assert len(ours) == len(theirs) == 10
    for ref, sample in zip(ours, theirs, strict=True):
        assert ref.content == sample["png"]
        assert ref.caption == sample["txt"].decode()
        assert ref.label == sample["cls"].decode()
        assert json.loads(ref.metadata) == json.loads(sample["json"])
        assert ref.image_id.endswith(f"/{sample['__key__']}.png")


def test_what_img2dataset_writes_works_as_it_is(tmp_path):
    for shard in range(2):
        members = []
        for index in range(3):
            key = f"{shard:05d}{index:04d}"
            facts = {
                "url": f"https://example.org/{key}.jpg",
                "caption": f"words {key}",
                "key": key,
                "status": "success",
            }
            members += [(f"{key}.jpg", encoded(index, "JPEG")), (f"{key}.txt", facts["caption"].encode())]
            members += [(f"{key}.json", json.dumps(facts).encode())]
        (tmp_path / f"{shard:05d}.tar").write_bytes(tar(members))
        pq.write_table(
            pa.table({"url": ["a"] * 4, "status": ["success"] * 3 + ["failed"]}), tmp_path / f"{shard:05d}.parquet"
        )
        (tmp_path / f"{shard:05d}_stats.json").write_text('{"count": 4, "successes": 3}')
    refs = read(tmp_path)
    assert [ref.image_id for ref in refs] == [f"{s:05d}.tar/{s:05d}{i:04d}.jpg" for s in range(2) for i in range(3)]
    assert refs[4].caption == "words 000010001"
    assert json.loads(refs[4].metadata)["key"] == "000010001"
    assert not any(codes(refs))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000"])
def test_any_image_extension(tmp_path, kind):
    extension = {"JPEG2000": "jp2", "TIFF": "TIF", "JPEG": "JPEG"}.get(kind, kind.lower())
    content = encoded(3, kind, 32)
    (tmp_path / "a.tar").write_bytes(tar([(f"1.{extension}", content), ("1.txt", b"words"), ("readme.md", b"x")]))
    source = open_source(tmp_path)
    plan = source.plan(10)
    (ref,) = source.read(plan.shards[0])
    assert (ref.content, ref.caption, plan.n_ignored) == (content, "words", 1)


def test_members_join_by_key_wherever_they_stand(tmp_path):
    images = [(f"x/{i:03d}.png", png(i)) for i in range(20)]
    texts = [(f"x/{i:03d}.txt", f"text {i}".encode()) for i in reversed(range(20))]
    (tmp_path / "a.tar").write_bytes(tar([*images, *texts, ("y/000.txt", b"of another folder")]))
    refs = read(tmp_path / "a.tar", 3)
    assert [ref.caption for ref in refs] == [f"text {i}" for i in range(20)]


def test_each_image_of_a_key_is_an_input(tmp_path):
    members = [("1.jpg", encoded(1, "JPEG")), ("1.seg.png", png(2)), ("1.txt", b"both")]
    (tmp_path / "a.tar").write_bytes(tar(members))
    refs = read(tmp_path / "a.tar")
    assert [(ref.image_id, ref.caption) for ref in refs] == [("a.tar/1.jpg", "both"), ("a.tar/1.seg.png", "both")]


@pytest.mark.parametrize(
    ("members", "captions"),
    [
        ("0.png 0.txt=A 0.png 0.txt=B", ["A", "B"]),
        ("0.txt=A 0.png 0.txt=B 0.png", ["A", "B"]),
        ("0.png 1.png 0.txt=A 1.txt=C 0.png 0.txt=B", ["A", "C", "B"]),
        ("0.png 0.png 0.txt=A 0.txt=B", [None, None]),
        ("0.png 0.txt=A 0.png", [None, None]),
    ],
)
def test_keys_that_come_twice_never_swap_their_texts(tmp_path, members, captions):
    made = [member.partition("=") for member in members.split()]
    content = [(name, text.encode() or png(number)) for number, (name, _, text) in enumerate(made)]
    (tmp_path / "a.tar").write_bytes(tar(content))
    assert [ref.caption for ref in read(tmp_path)] == captions


def test_two_members_of_one_name_are_two_inputs(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar([("1.png", png(1)), ("1.png", png(2)), ("1.png", png(3))]))
    refs = read(tmp_path / "a.tar")
    assert [ref.content for ref in refs] == [png(1), png(2), png(3)]
    assert len({ref.image_id for ref in refs}) == 3


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_odd_and_long_names(tmp_path, kind):
    names = ["a b.png", "new\nline.png", "100%.png", f"{'d' * 90}/{'e' * 90}.png"]
    names += ["ü.png", os.fsdecode(b"\xff\xfe.png")] if kind != tarfile.PAX_FORMAT else ["ü.png"]
    (tmp_path / "a.tar").write_bytes(tar([(name, png(i)) for i, name in enumerate(names)], kind))
    refs = read(tmp_path)
    assert [ref.content for ref in refs] == [png(i) for i in range(len(names))]
    assert len({ref.image_id for ref in refs}) == len(names)
    assert all(ref.image_id.isprintable() or "\n" in ref.image_id for ref in refs)
    for ref in refs:
        ref.image_id.encode()


def test_hard_links_count_and_symbolic_ones_do_not(tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        member = tarfile.TarInfo("1.png")
        member.size = len(png(1))
        made.addfile(member, io.BytesIO(png(1)))
        for name, kind in (("2.png", tarfile.LNKTYPE), ("3.png", tarfile.SYMTYPE), ("d", tarfile.DIRTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "1.png" if kind != tarfile.SYMTYPE else "/etc/passwd"
            made.addfile(link)
    (tmp_path / "a.tar").write_bytes(file.getvalue())
    refs = read(tmp_path)
    assert [(ref.image_id, ref.content) for ref in refs] == [("a.tar/1.png", png(1)), ("a.tar/2.png", png(1))]


def test_captions_come_from_the_metadata_where_there_is_no_text(tmp_path):
    members = [("1.png", png(1)), ("1.json", b'{"caption": "of json"}'), ("2.png", png(2)), ("2.json", b"{broken")]
    (tmp_path / "a.tar").write_bytes(tar(members))
    assert [(ref.caption, ref.metadata) for ref in read(tmp_path)] == [
        ("of json", '{"caption": "of json"}'),
        (None, "{broken"),
    ]


def test_braces_globs_and_folders_name_the_same_tars(tmp_path):
    for number in range(3):
        (tmp_path / f"{number:02d}.tar").write_bytes(tar([(f"{number}.png", png(number))]))
    (tmp_path / ".hidden.tar").write_bytes(tar([("h.png", png(9))]))
    (tmp_path / "notes.txt").write_text("x")
    wanted = [png(number) for number in range(3)]
    for location in (
        tmp_path,
        tmp_path / "{00..02}.tar",
        tmp_path / "*.tar",
        tmp_path / "0?.tar",
        tmp_path / "{00,01,02}.tar",
    ):
        assert [ref.content for ref in read(location)] == wanted
    assert [ref.content for ref in read(tmp_path / "{02..00}.tar")] == wanted[::-1]


def test_a_name_with_braces_of_its_own_is_that_file(tmp_path):
    (tmp_path / "{0..1}.tar").write_bytes(tar([("1.png", png(1))]))
    assert [ref.content for ref in read(tmp_path / "{0..1}.tar")] == [png(1)]


def test_a_tar_that_is_missing_among_many_is_one_failure(tmp_path):
    for number in (0, 2):
        (tmp_path / f"{number}.tar").write_bytes(tar([("a.png", png(number))]))
    refs = read(tmp_path / "{0..2}.tar")
    assert codes(refs) == [None, FailureCode.NOT_FOUND, None]
    assert refs[1].content.detail.startswith("1.tar: ")


@pytest.mark.parametrize("pattern", ["nowhere.tar", "{0..3}.tar", "*.tar", "nowhere-{0..3}.tar.gz"])
def test_nothing_there_is_an_error_that_names_it(tmp_path, pattern):
    with pytest.raises(SourceError, match="no tar files"):
        open_source(tmp_path / pattern)


def test_too_many_names_are_refused_before_they_are_made(tmp_path):
    with pytest.raises(UsageError, match="more than 1,000,000"):
        open_source(tmp_path / "{0..99999999999}.tar")


def test_a_folder_of_images_and_tars_is_not_guessed_at(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar([("1.png", png(1))]))
    (tmp_path / "b.png").write_bytes(png(2))
    with pytest.raises(SourceError, match="side by side"):
        open_source(tmp_path)
    assert [ref.image_id for ref in read(tmp_path, kind="webdataset")] == ["a.tar/1.png"]
    assert [ref.image_id for ref in read(tmp_path, kind="folder")] == ["b.png"]


def test_tars_without_images_are_an_error(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar([("1.txt", b"words")]))
    with pytest.raises(SourceError, match="no image") as caught:
        open_source(tmp_path).plan(10)
    assert caught.value.found == "1 other members"


def test_a_changed_tar_costs_its_own_parts_alone(tmp_path):
    (tmp_path / "tars").mkdir()
    for number in range(3):
        (tmp_path / "tars" / f"{number}.tar").write_bytes(
            tar([(f"{number}{i}.png", png(10 * number + i)) for i in range(4)])
        )
    engine = LocalEngine(workers=1)
    scan(open_source(tmp_path / "tars"), tmp_path / "run", TinyEncoder(), engine=engine)
    (tmp_path / "tars" / "1.tar").write_bytes(tar([("new.png", png(77)), ("10.png", png(10))]))
    encoder = TinyEncoder()
    report = scan(open_source(tmp_path / "tars"), tmp_path / "run", encoder, engine=engine)
    assert (report.n_listed, report.n_new, report.n_reused, encoder.n_images) == (10, 2, 1, 1)


def test_gzip_is_told_by_content_and_not_by_name(tmp_path):
    content = tar([("1.png", png(1)), ("1.txt", b"words")])
    (tmp_path / "plain.tar.gz").write_bytes(content)
    (tmp_path / "packed.tar").write_bytes(gzip.compress(content))
    (tmp_path / "packed.tgz").write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:]))
    assert [(ref.content, ref.caption) for ref in read(tmp_path)] == [(png(1), "words")] * 3


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
def test_a_header_is_read_as_tarfile_reads_it_whatever_byte_of_it_is_changed(tar_format):
    member = tarfile.TarInfo("a/" * 60 + "é.jpg" if tar_format == tarfile.USTAR_FORMAT else "é.jpg")
    member.size, member.mtime, member.uname = 1234, 1_700_000_000, "somebody"
    plain = member.tobuf(tar_format)
    rng = np.random.default_rng(0)
    n_read = 0
    for place in range(512):
        for value in (*b"0 \x007", int(rng.integers(256))):
            changed = bytearray(plain)
            changed[place] = value
            if not 148 <= place < 156:  # mostly with a checksum that holds
                changed[148:156] = b"%06o\0 " % (sum(changed) - sum(changed[148:156]) + 256)
            found, expected = header(_Member, bytes(changed)), header(tarfile.TarInfo, bytes(changed))
            assert found == expected, (place, value)
            n_read += expected is not None
    assert n_read > 1500


def header(kind: type[tarfile.TarInfo], block: bytes) -> tuple[object, ...] | None:
    try:
        found = kind.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None
    return found.name, found.size, found.type
