"""Folders to, from and between places behind a real S3 server, and what becomes of a server that fails."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from clipsieve.errors import ExportError
from clipsieve.evaluation.operating_points import Decision
from clipsieve.outputs.export.base import Places, Unit, Written
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.folder import FolderWriter
from clipsieve.sources import FolderSource, RemoteFolderSource, Source, open_source
from s3_server import BUCKET, S3Server

pytestmark = pytest.mark.slow
KEEP, REVIEW, REMOVE = Decision
ODD = [
    "a b.png",
    "ä/ü.png",
    "c#1.png",
    "d%25.png",
    "e+f.png",
    "g?.png",
    "h&i=j.png",
    "k*[l].png",
    "m\U0001f600/n.txt",
    ".o/p",
]


def url(name: str) -> str:
    return f"s3://{BUCKET}/{name}"


def objects(server: S3Server, prefix: str) -> dict[str, bytes]:
    """Return what lies below a prefix, as another client sees it."""
    client = server.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
    keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
    return {key.removeprefix(f"{prefix}/"): client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def fill(root: Path, names: list[str]) -> FolderSource:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content of " + name.encode())
    return FolderSource(root)


def export(source: Source, places: Places, removed: tuple[str, ...] = ()) -> list[Written]:
    assert isinstance(source, FolderSource | RemoteFolderSource)
    writer, written = FolderWriter(source), []
    for shard in source.plan(7).shards:
        refs = list(source.read(shard))
        digests = [hashlib.sha256(ref.content).hexdigest() if isinstance(ref.content, bytes) else None for ref in refs]
        ids = [ref.image_id for ref in refs]
        codes = np.array([REMOVE if name in removed else KEEP for name in ids], dtype=np.uint8)
        unit = Unit(str(shard.index), (shard,), ids, digests, codes)
        written.append(writer.write(unit, places))
        writer.remember(unit, written[-1])
    return written + list(writer.finish(places))


def problems(written: list[Written]) -> list[str]:
    return [words for each in written for words in each.problems.values()]


def below(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_place_is_written_read_and_told_empty(server, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = Destination(url("place/deep"))
    assert (place.is_empty(), place.sizes(), place.read_bytes("a"), place.size("a")) == (True, {}, None, None)
    for name in ODD:
        place.write_bytes(name, name.encode())
    place.write_bytes("empty", b"")
    place.write_bytes("c#1.png", b"newer")
    assert not place.is_empty()
    expected = {name: name.encode() for name in ODD} | {"empty": b"", "c#1.png": b"newer"}
    assert objects(server, "place/deep") == expected
    assert {name: place.read_bytes(name) for name in expected} == expected
    assert {name: place.size(name) for name in expected} == {name: len(content) for name, content in expected.items()}
    assert place.sizes() == {name: len(content) for name, content in expected.items()}
    assert Destination(url("place/dee")).is_empty()
    assert not list(tmp_path.iterdir())


def test_a_block_that_fails_sends_nothing(server):
    place = Destination(url("half"))
    with pytest.raises(KeyError), place.writer("x") as file:
        raise KeyError(file.write(b"half"))
    assert objects(server, "half") == {}


def test_what_is_no_place(server):
    server.put("thing", b"x")
    with pytest.raises(ExportError, match="is a file"):
        Destination(url("thing")).is_empty()
    with pytest.raises(ExportError, match=r"cannot write `s3://no-such-bucket/x/a`"):
        Destination("s3://no-such-bucket/x").write_bytes("a", b"x")
    for name in ("no-such-bucket/x", ""):
        with pytest.raises(ExportError, match=rf"cannot write `s3://{name}{'/' if name else ''}a`: ") as caught:
            Destination(f"s3://{name}").write_bytes("a", b"x")
        assert not any(word in str(caught.value) for word in ("listed", "read it", "was read"))
    with pytest.raises(ExportError, match=r"cannot read `s3://`: ") as caught:
        Destination("s3://").sizes()
    assert "another place" in caught.value.hint
    server.put("marked/", b"")  # as consoles make folders
    assert Destination(url("marked")).is_empty()


def test_a_server_that_fails_for_good_is_told(server):
    server.fail(containing="broken")
    place = Destination(url("bad"))
    place.write_bytes("a", b"x")
    with pytest.raises(ExportError, match=r"cannot write `s3://my-bucket/bad/broken`: .*on purpose"):
        place.write_bytes("broken", b"x")
    assert objects(server, "bad") == {"a": b"x"}


def test_from_a_folder_over_s3_to_s3_and_back(server, tmp_path):
    beside = ["a b.txt", "README", "c#1.json"]
    source = fill(tmp_path / "source", ODD + beside)
    there = {KEEP: Destination(url("one"))}
    assert not problems(export(source, there, removed=("c#1.png",)))
    expected = {name: b"content of " + name.encode() for name in ODD + beside if not name.startswith("c#1")}
    assert objects(server, "one") == expected
    places = {KEEP: Destination(url("two")), REMOVE: Destination(url("gone"))}
    assert not problems(export(open_source(url("one")), places, removed=("a b.png",)))
    assert objects(server, "gone") == {name: expected.pop(name) for name in ("a b.png", "a b.txt")}
    assert objects(server, "two") == expected
    assert not problems(export(open_source(url("two")), {KEEP: Destination(str(tmp_path / "back"))}))
    assert below(tmp_path / "back") == expected


def test_one_request_in_ten_failing_loses_nothing(server, tmp_path):
    names = [f"{number % 3}/{number:02d}.png" for number in range(60)] + [f"{n % 3}/{n:02d}.txt" for n in range(60)]
    source = fill(tmp_path / "source", names)
    server.fail(every=10, status=503)
    before = server.counts()
    for here, there in (
        (None, url("shaky/one")),
        (url("shaky/one"), url("shaky/two")),
        (url("shaky/two"), tmp_path / "back"),
    ):
        from_there = source if here is None else open_source(here)
        assert not problems(export(from_there, {KEEP: Destination(str(there))}, removed=("0/00.png",)))
    assert server.counts()["n_failed"] - before["n_failed"] >= 30
    expected = below(tmp_path / "source")
    del expected["0/00.png"], expected["0/00.txt"]
    assert below(tmp_path / "back") == objects(server, "shaky/one") == objects(server, "shaky/two") == expected


def test_what_is_there_is_neither_asked_for_nor_sent_again(server, tmp_path):
    source = fill(tmp_path / "source", [f"{number:02d}.png" for number in range(40)])
    first = export(source, {KEEP: Destination(url("again"))})
    server.client().delete_object(Bucket=BUCKET, Key="again/07.png")
    server.put("again/09.png", b"half")
    before = server.counts()["n_requests"]
    again = export(source, {KEEP: Destination(url("again"))})
    assert server.counts()["n_requests"] - before <= 12
    assert again == first
    assert objects(server, "again") == below(tmp_path / "source")


def test_keys_that_a_disk_cannot_have_cost_themselves(server, tmp_path):
    good = ["a.png", "z/z.png"]
    bad = ["x" * 252 + ".png", "up/../../up.png", "e//f.png", "./g.png", "both.png", "both.png/c.png"]
    for key in good + bad:
        server.put(f"keys/{key}", key.encode())
    written = export(open_source(url("keys")), {KEEP: Destination(str(tmp_path / "out"))})
    found = below(tmp_path)
    assert all(found.pop(f"out/{name}") == name.encode() for name in good)
    assert list(found) in (["out/both.png"], ["out/both.png/c.png"])
    said = problems(written)
    assert sum("leads out of the place" in words for words in said) == 3
    assert sum("cannot have a file of that name" in words for words in said) == 2


def test_an_object_that_the_server_refuses_costs_itself(server, tmp_path):
    names = ["a.png", "b\nc.png", "d.png", "e\nf.txt"]
    source = fill(tmp_path / "source", names)
    written = export(source, {KEEP: Destination(url("refused"))})
    words = (
        "the place takes other files, and not this one: there is no such place, such as a bucket, or it takes no file of that "
        "name"
    )
    assert problems(written) == [words, f"`e\nf.txt`: {words}"]
    assert set(objects(server, "refused")) == {"a.png", "d.png"}


def test_a_server_that_takes_nothing_stops_the_export(server, tmp_path):
    source = fill(tmp_path / "source", ["a.png"])
    with pytest.raises(ExportError, match=r"cannot write `s3://no-such-bucket/x/a.png`: there is no such place"):
        export(source, {KEEP: Destination("s3://no-such-bucket/x")})


def test_an_object_that_vanishes_costs_itself(server, tmp_path):
    for number in range(3):
        server.put(f"vanish/{number}.png", b"x")
    source = open_source(url("vanish"))
    assert isinstance(source, RemoteFolderSource)
    (shard,) = source.plan(9).shards
    server.client().delete_object(Bucket=BUCKET, Key="vanish/1.png")
    unit = Unit("0", (shard,), ["0.png", "1.png", "2.png"], [None] * 3, np.zeros(3, np.uint8))
    written = FolderWriter(source).write(unit, {KEEP: Destination(str(tmp_path / "out"))})
    assert list(written.problems) == [1]
    assert below(tmp_path / "out") == {"0.png": b"x", "2.png": b"x"}
