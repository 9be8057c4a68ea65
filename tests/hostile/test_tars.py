"""Tar files that are cut, damaged or forged: what is whole comes out, the rest is one row, and nothing hangs or grows."""

import gzip
import io
import random
import re
import signal
import tarfile
import tempfile
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.engines import LocalEngine, scan
from clipsieve.sources import compressed, open_source
from clipsieve.sources.tar_index import index_tar
from clipsieve.sources.tar_walk import MAX_HEADER_BYTES
from clipsieve.types import FailureCode
from image_files import png, tar
from tiny_encoder import TinyEncoder

KINDS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
MEMBERS = [
    (f"{'d' * 70}/{'e' * 60}{i}.{ending}", png(i) if ending == "png" else b"words")
    for i in range(5)
    for ending in ("png", "txt")
]
WHOLE = {kind: tar(MEMBERS, kind) for kind in KINDS}


def index(content: bytes):
    with tempfile.TemporaryFile() as file:
        file.write(content)
        return index_tar(file)


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_tar_has_no_damage(kind):
    found = index(WHOLE[kind])
    assert (len(found.images), found.damage) == (5, None)


@settings(max_examples=300)
@given(st.sampled_from(KINDS), st.floats(0, 1, exclude_max=True))
def test_wherever_a_tar_is_cut_what_is_whole_comes_out(kind, share):
    whole = index(WHOLE[kind])
    end_of_members = whole.images[-1].companions["txt"].start + 512
    cut = int(share * end_of_members)
    found = index(WHOLE[kind][:cut])
    wanted = [image for image in whole.images if image.extent.start + image.extent.n_bytes <= cut]
    assert [image.extent for image in found.images] == [image.extent for image in wanted]
    assert found.damage is not None
    assert found.damage.offset <= cut
    # Between the two headers of a long name, a cut cannot be told from damage.
    assert found.damage.code in (FailureCode.TRUNCATED, FailureCode.EMPTY_FILE, FailureCode.CORRUPT)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_scan_of_a_cut_tar_adds_up_and_names_tar_and_offset(tmp_path, pack):
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars" / "good.tar").write_bytes(pack(WHOLE[KINDS[0]]))
    packed = pack(WHOLE[KINDS[0]][: 3 * 2048 + 500])
    (tmp_path / "tars" / "cut.tar").write_bytes(packed)
    source = open_source(tmp_path / "tars")
    report = scan(source, tmp_path / "run", TinyEncoder(), engine=LocalEngine(workers=1))
    assert (report.n_listed, report.n_scanned, report.n_failed) == (9, 8, 1)
    lost = [
        ref for shard in source.plan(100).shards for ref in source.read(shard) if not isinstance(ref.content, bytes)
    ]
    assert lost[0].image_id.startswith("cut.tar@")
    assert lost[0].content.detail.startswith("cut.tar: the tar ends at byte")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9, 0.99])
def test_a_cut_gzip_gives_what_could_be_unpacked(tmp_path, share):
    noise = random.Random(0).randbytes(30_000)
    members = [(f"{i}.png", png(i) + noise[i * 5000 : (i + 1) * 5000]) for i in range(6)]
    packed = gzip.compress(tar(members))
    (tmp_path / "a.tar.gz").write_bytes(packed[: int(share * len(packed))])
    source = open_source(tmp_path)
    refs = [ref for shard in source.plan(100).shards for ref in source.read(shard)]
    whole = [ref.content for ref in refs if isinstance(ref.content, bytes)]
    assert whole == [content for _, content in members[: len(whole)]]
    assert len(refs) == len(whole) + 1
    assert len(whole) >= int(share * 6) - 1


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", FailureCode.EMPTY_FILE),
        (b"x", FailureCode.TRUNCATED),
        (b"<html>404</html>" * 100, FailureCode.CORRUPT),
        (random.Random(1).randbytes(20_000), FailureCode.CORRUPT),
        (b"\x1f\x8b" + b"\0" * 100, FailureCode.CORRUPT),
    ],
)
def test_what_is_no_tar_is_one_failure_among_others(tmp_path, content, code):
    (tmp_path / "a.tar").write_bytes(content)
    (tmp_path / "b.tar").write_bytes(tar([("1.png", png(1))]))
    source = open_source(tmp_path)
    refs = [ref for shard in source.plan(100).shards for ref in source.read(shard)]
    assert [isinstance(ref.content, bytes) for ref in refs] == [False, True]
    assert refs[0].content.code in (code, FailureCode.EMPTY_FILE)


def test_two_tars_joined_end_in_a_failure_and_not_in_silence():
    found = index(tar([("1.png", png(1))]) + tar([("2.png", png(2))]))
    assert len(found.images) == 1
    assert found.damage.code is FailureCode.CORRUPT
    assert "after the end mark" in found.damage.detail


def test_a_flipped_byte_in_a_header_ends_the_tar_there():
    content = bytearray(WHOLE[tarfile.USTAR_FORMAT])
    content[2 * 1024 + 5] ^= 0xFF
    found = index(bytes(content))
    assert (len(found.images), found.damage.offset, found.damage.code) == (1, 2048, FailureCode.CORRUPT)


def forge(field: slice, value: bytes) -> bytes:
    """Return a tar whose third header holds another value, with a checksum that fits."""
    content = bytearray(tar([(f"{i}.png", png(i)) for i in range(4)], tarfile.USTAR_FORMAT))
    start = index(bytes(content)).images[2].extent.start - 512
    header = content[start : start + 512]
    header[field] = value.ljust(field.stop - field.start, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content[start : start + 512] = header
    return bytes(content)


SIZE, KIND = slice(124, 136), slice(156, 157)


@pytest.mark.parametrize(
    "size",
    [
        b"77777777777\0",
        b"\xff" * 12,
        b"\xff" * 11 + b"\x00",
        b"\xff" * 10 + b"\xfc\x00",
        b"\x80" + b"\xff" * 11,
        b"-0000000512\0",
    ],
)
def test_forged_sizes_neither_loop_nor_read_on(size):
    found = index(forge(SIZE, size))
    assert [image.name for image in found.images][:2] == ["0.png", "1.png"]
    assert found.damage is not None


def test_a_forged_size_of_an_extended_header_does_not_loop():
    for kind in (b"x", b"g", b"L", b"K", b"S"):
        content = bytearray(forge(SIZE, b"\xff" * 10 + b"\xfc\x00"))
        start = index(bytes(content)).images[-1].extent.start
        content[start : start + 1] = content[start : start + 1]
        forged = forge(KIND, kind)
        assert len(index(forged).images) <= 4
        both = bytearray(forged)
        header = both[2 * 1024 : 2 * 1024 + 512]
        header[SIZE] = b"\xff" * 10 + b"\xfc\x00"
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        both[2 * 1024 : 2 * 1024 + 512] = header
        assert index(bytes(both)).damage is not None


def test_an_extended_header_of_megabytes_is_not_read():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as made:
        member = tarfile.TarInfo("1.png")
        member.pax_headers = {"comment": "x" * (MAX_HEADER_BYTES + 1)}
        member.size = len(png(1))
        made.addfile(member, io.BytesIO(png(1)))
    found = index(file.getvalue())
    assert (found.images, found.damage.code) == ([], FailureCode.CORRUPT)


@pytest.mark.parametrize(
    "content", [b"1" * 900_000, b"9" * 10 + b" x=" + b"1" * 900_000, b"11 a=b\n" * 100_000, b"-5 a=b\n", b"0 a=b\n"]
)
def test_a_forged_extended_header_takes_no_more_than_a_moment(content):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as made:
        header = tarfile.TarInfo("PaxHeader")
        header.type, header.size = tarfile.XHDTYPE, len(content)
        made.addfile(header, io.BytesIO(content))
        member = tarfile.TarInfo("1.png")
        member.size = len(png(1))
        made.addfile(member, io.BytesIO(png(1)))
    begun_s = time.monotonic()
    found = index(file.getvalue())
    assert time.monotonic() - begun_s < 10
    assert found.damage is not None or len(found.images) == 1


def test_what_unfolds_beyond_the_bound_ends_there(tmp_path, monkeypatch):
    monkeypatch.setattr(compressed, "MAX_UNPACKED_BYTES", 3 * 2**20)
    members = [("1.png", png(1)), ("2.bin", bytes(20 * 2**20))]
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(tar(members)))
    source = open_source(tmp_path)
    refs = [ref for shard in source.plan(100).shards for ref in source.read(shard)]
    assert refs[0].content == png(1)
    assert refs[1].content.code is FailureCode.TRUNCATED


@pytest.mark.slow
def test_random_damage_never_raises():
    random_ = random.Random(2)
    for kind in KINDS:
        for _ in range(2000):
            content = bytearray(WHOLE[kind])
            for _ in range(random_.randint(1, 8)):
                content[random_.randrange(len(content))] = random_.randrange(256)
            index(bytes(content))


@settings(max_examples=150)
@given(st.sampled_from(KINDS), st.booleans(), st.floats(0, 1, exclude_max=True))
def test_wherever_the_bytes_end_the_source_gives_whole_images_and_one_row(kind, packed, share):
    whole = index(WHOLE[kind])
    end_of_members = whole.images[-1].companions["txt"].start + 512
    content = gzip.compress(WHOLE[kind]) if packed else WHOLE[kind][:end_of_members]
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "a.tar").write_bytes(content[: int(share * len(content))])
        source = open_source(root, "webdataset")
        refs = [ref for shard in source.plan(2).shards for ref in source.read(shard)]
    *images, lost = refs
    assert [ref.content for ref in images] == [png(i) for i in range(len(images))]
    assert re.fullmatch(r"a\.tar@\d+", lost.image_id)
    assert lost.content.detail.startswith("a.tar: ")
    if not packed:
        cut = int(share * len(content))
        assert len(images) == sum(image.extent.start + image.extent.n_bytes <= cut for image in whole.images)


def header(name: str, kind: bytes, size: bytes = b"00000000000\0") -> bytes:
    """Return one header block with any kind and size, and a checksum that fits."""
    made = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    made[KIND], made[SIZE], made[148:156] = kind, size, b" " * 8
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


def extended(records: dict[str, str], kind: bytes = b"x") -> bytes:
    """Return an extended header, of the next member alone or of all."""
    member = tarfile.TarInfo("made")
    made = member.create_pax_global_header(records) if kind == b"g" else None
    if made is None:
        member.pax_headers = records
        made = member.create_pax_header(member.get_info(), "utf-8")[:-512]
    return made


def within(seconds: int):
    def stop(*_):
        raise TimeoutError(f"{seconds} seconds were not enough")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def ten_seconds():
    yield from within(10)


@pytest.fixture
def a_minute():
    """For what makes a large tar first, and counts every byte of memory."""
    yield from within(60)


FIRST = tar([("0.png", png(0))])[:1024]
REST = tar([("1.png", png(1))])
BACKWARDS = [b"\xff" * 10 + bytes([high, 0]) for high in (0xFE, 0xFC, 0xFA, 0)]


@pytest.mark.usefixtures("ten_seconds")
@pytest.mark.parametrize("kind", [*"012345678", *"ADEIKLMNSVXZgx", "\0", "\xff"])
@pytest.mark.parametrize("size", BACKWARDS)
def test_no_kind_of_member_leads_backwards(kind, size):
    found = index(FIRST + header("x.bin", kind.encode("latin-1"), size) + REST)
    assert found.images[0].name == "0.png"
    assert len(found.images) <= 3


@pytest.mark.usefixtures("ten_seconds")
@pytest.mark.parametrize("size", ["-512", "-1024", "-1536", "-2048", "9" * 30, "9" * 250, "1.5", "nan"])
@pytest.mark.parametrize("kind", [b"0", b"5", b"Z"])
@pytest.mark.parametrize("scope", [b"x", b"g"])
def test_no_size_in_an_extended_header_leads_backwards(size, kind, scope):
    found = index(FIRST + extended({"size": size}, scope) + header("x.bin", kind) + REST)
    assert found.images[0].name == "0.png"
    assert len(found.images) <= 2


def peak_bytes(content: bytes) -> int:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        tracemalloc.start()
        assert index_tar(file).damage is not None
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def sparse_map() -> bytes:
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x", "GNU.sparse.realsize": "9"}
    places = b"999999999\n" + b"257\n" * (8 * 2**20)
    return extended(records) + header("x.png", b"0", b"%011o\0" % len(places)) + places


def many_records(kind: bytes, n_headers: int) -> bytes:
    return b"".join(
        extended({f"{number}.{key}": "v" for key in range(40_000)}, kind) + (FIRST if kind == b"g" else b"")
        for number in range(n_headers)
    )


@pytest.mark.slow
@pytest.mark.usefixtures("a_minute")
@pytest.mark.parametrize(
    "make", [sparse_map, lambda: many_records(b"x", 30), lambda: many_records(b"g", 30)], ids=["sparse", "x", "g"]
)
def test_headers_of_one_member_add_up_to_a_bounded_amount(make):
    assert peak_bytes(make() + REST) < 150 * 2**20


@pytest.mark.usefixtures("ten_seconds")
def test_records_for_all_members_do_not_slow_each_of_them():
    assert index(many_records(b"g", 1) + header("x.bin", b"0") * 20_000 + REST).damage is not None
    few = index(extended({"comment": "by hand"}, b"g") + FIRST * 50 + REST)
    assert (len(few.images), few.damage) == (51, None)
