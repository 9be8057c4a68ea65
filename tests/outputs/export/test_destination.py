"""A place holds whole files alone, whatever happens, and none outside of it."""

import errno
import itertools
import os
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from clipsieve.errors import ClipsieveError, ExportError, SourceError
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.local_files import is_leftover

NUMBERS = itertools.count()
LEFTOVER = ".clipsieve-0123456789abcdef.tmp"


@pytest.fixture(params=["folder", "memory"])
def place(request, tmp_path) -> Destination:
    return Destination(str(tmp_path / "new") if request.param == "folder" else f"memory://place-{next(NUMBERS)}/deep")


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def write_half(place: Destination, name: str, error: BaseException) -> None:
    with place.writer(name) as file:
        file.write(b"half of it")
        file.flush()
        raise error


def test_what_is_written_is_read_back(place):
    assert place.is_empty()
    assert place.sizes() == {}
    place.write_bytes("a b/ü%#?.bin", b"12345")
    with place.writer("top") as file:
        file.write(b"old")
    with place.writer("top") as file:
        file.write(b"newer")
        file.seek(0)
        assert file.read() == b"newer"
    assert not place.is_empty()
    assert place.read_bytes("a b/ü%#?.bin") == b"12345"
    assert (place.size("top"), place.size("nothing"), place.size("a b")) == (5, None, None)
    assert place.read_bytes("nothing") is None
    assert place.sizes() == {"a b/ü%#?.bin": 5, "top": 5}


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../../x", "a/./x", "a//x", "", "a/", ".", "..", "a\0b", "../" * 9 + "etc/x"]
)
def test_a_name_that_leads_out_is_refused_by_every_way_in(place, tmp_path, name):
    (tmp_path / "file").write_bytes(b"x")
    for way in (
        place.size,
        place.read_bytes,
        place.make_folder,
        lambda name: place.write_bytes(name, b"x"),
        lambda name: place.place(name, str(tmp_path / "file")),
        lambda name: place.link(name, "/etc"),
    ):
        with pytest.raises(ExportError, match="leads out of"):
            way(name)
    assert everything(tmp_path) == ["file"]
    assert place.is_empty()


def test_a_link_that_lies_in_a_place_leads_nothing_out(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "place" / "inner").mkdir(parents=True)
    (tmp_path / "place" / "out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "place" / "in").symlink_to("inner")
    place = Destination(str(tmp_path / "place"))
    for name in ("out/x", "out/deeper/x"):
        with pytest.raises(ExportError, match="leads out of"):
            place.write_bytes(name, b"x")
    place.write_bytes("in/x", b"x")
    assert everything(tmp_path / "elsewhere") == []
    assert (tmp_path / "place" / "inner" / "x").read_bytes() == b"x"


def test_a_place_may_be_a_link_itself(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "place").symlink_to("disk")
    Destination(str(tmp_path / "place")).write_bytes("a/x", b"x")
    assert everything(tmp_path / "disk") == ["a/x"]


@pytest.mark.parametrize("error", [RuntimeError("on purpose"), KeyboardInterrupt(), SourceError("on purpose")])
def test_an_error_while_a_file_is_written_leaves_nothing(place, tmp_path, monkeypatch, error):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place.write_bytes("a/kept", b"old")
    for name in ("a/new", "a/kept"):
        with pytest.raises(type(error)):
            write_half(place, name, error)
    assert place.sizes() == {"a/kept": 3}
    assert place.read_bytes("a/kept") == b"old"
    assert everything(tmp_path) == (["new/a/kept"] if place.is_local else [])


def test_a_file_is_not_there_before_it_is_whole(place):
    with place.writer("a") as file:
        file.write(b"x" * 100)
        file.flush()
        assert place.size("a") is None
    assert place.size("a") == 100


def test_what_a_killed_process_leaves_is_no_data_and_in_nobodys_way(tmp_path):
    script = (
        "import os, signal, sys\n"
        "from clipsieve.outputs.export.destination import Destination\n"
        "with Destination(sys.argv[1]).writer('a/x.bin') as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "place")], capture_output=True)
    assert done.returncode == -9, done.stderr
    (left,) = everything(tmp_path / "place")
    assert is_leftover(Path(left).name)
    place = Destination(str(tmp_path / "place"))
    assert place.is_empty()
    assert place.size("a/x.bin") is None
    place.write_bytes("a/x.bin", b"whole")
    assert everything(tmp_path / "place") == ["a/x.bin"]


@pytest.mark.parametrize(
    ("names", "is_empty"), [([], True), ([".lock"], True), ([f"a/{LEFTOVER}", ".lock"], True), (["a/.hidden"], False)]
)
def test_what_counts_as_empty(tmp_path, names, is_empty):
    for name in names:
        (tmp_path / "place" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "place" / name).write_bytes(b"x")
    assert Destination(str(tmp_path / "place")).is_empty() is is_empty


def test_a_link_counts_as_something(tmp_path):
    (tmp_path / "a").symlink_to("/nowhere")
    assert not Destination(str(tmp_path)).is_empty()


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    place = Destination(str(tmp_path / "file"))
    with pytest.raises(ExportError, match="is a file"):
        place.is_empty()
    for write in (lambda: place.write_bytes("x", b"x"), lambda: place.make_folder("x"), lambda: place.link("x", "y")):
        with pytest.raises(ExportError, match=r"cannot write `.*/file/x`"):
            write()
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(ExportError, match="is a file"):
        Destination(str(tmp_path / "dangling")).is_empty()
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_name_that_is_no_utf8_is_told_so_behind_a_url():
    place = Destination(f"memory://names-{next(NUMBERS)}")
    for way in (place.size, place.read_bytes, lambda name: place.write_bytes(name, b"x")):
        with pytest.raises(
            ExportError, match=r"the name `a/\\xff.tar` is no UTF-8, and `memory://.*` takes nothing else"
        ):
            way("a/\udcff.tar")
    assert place.is_empty()


class Growing(LocalFileSystem):
    """A server that writes in place, as those of SFTP, FTP and SMB do, over a line that breaks at a sign."""

    protocol = "growing"
    breaks = False

    @classmethod
    def _strip_protocol(cls, path):
        return path.removeprefix("growing://").rstrip("/")

    def put_file(self, path1, path2, **_):
        self.makedirs(self._parent(path2), exist_ok=True)
        content = Path(path1).read_bytes()
        Path(path2).write_bytes(content[: len(content) // 2] if Growing.breaks else content)
        if Growing.breaks:
            raise KeyboardInterrupt  # nothing is tidied on a line that is gone

    def rm_file(self, path):
        if Growing.breaks:
            raise OSError("the line is gone")
        super().rm_file(path)

    def mv(self, path1, path2):
        if Path(path2).exists():
            raise FileExistsError(path2)  # SMB renames onto nothing
        Path(path1).rename(path2)


@pytest.fixture
def growing(monkeypatch) -> None:
    fsspec.register_implementation("growing", Growing, clobber=True)
    monkeypatch.setattr(Growing, "breaks", False)


def test_where_a_file_grows_under_its_name_half_of_it_never_passes_for_whole(growing, tmp_path, monkeypatch):
    place = Destination(f"growing://{tmp_path}/there")
    assert place.is_empty()
    monkeypatch.setattr(Growing, "breaks", True)
    with pytest.raises(KeyboardInterrupt):
        place.write_bytes("a.tar", b"x" * 100)
    assert [is_leftover(name) for name in everything(tmp_path / "there")] == [True]
    assert (place.size("a.tar"), place.sizes(), place.is_empty()) == (None, {}, True)
    monkeypatch.setattr(Growing, "breaks", False)
    for content in (b"old" * 100, b"new" * 50):
        place.write_bytes("a.tar", content)
        place.write_bytes("b/c", content)
        assert everything(tmp_path / "there") == ["a.tar", "b/c"]
        assert place.read_bytes("a.tar") == place.read_bytes("b/c") == content
    assert not place.is_empty()


def test_a_place_tells_whether_it_takes_files_and_leaves_nothing(growing, tmp_path):
    there = Destination(f"memory://probe-{next(NUMBERS)}")
    assert there.takes_files()
    assert there.sizes() == {}
    (tmp_path / "file").write_bytes(b"x")
    assert not Destination(f"growing://{tmp_path}/file").takes_files()


def test_an_object_where_the_folder_should_be():
    where = f"memory://object-{next(NUMBERS)}"
    Destination(where).write_bytes("thing", b"x")
    with pytest.raises(ExportError, match="is a file"):
        Destination(f"{where}/thing").is_empty()


def test_a_folder_in_the_way_of_a_file(tmp_path):
    place = Destination(str(tmp_path))
    place.write_bytes("a/x", b"x")
    with pytest.raises(ExportError) as caught:
        place.write_bytes("a", b"x")
    assert caught.value.__cause__.errno == errno.EISDIR
    with pytest.raises(ExportError, match="cannot read"):
        place.read_bytes("a")
    assert everything(tmp_path) == ["a/x"]


@pytest.mark.parametrize(
    ("how", "is_link", "n_links"), [("copy", False, 1), ("hardlink", False, 2), ("symlink", True, 1)]
)
def test_files_are_copied_or_linked(tmp_path, how, is_link, n_links):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "way").symlink_to("file")
    place = Destination(str(tmp_path / "place"))
    for _ in range(2):
        place.place("a/x", os.fsencode(tmp_path / "way"), how)
    made = tmp_path / "place" / "a" / "x"
    assert made.read_bytes() == b"content"
    assert (made.is_symlink(), made.stat().st_nlink) == (is_link, n_links)
    assert not is_link or made.readlink() == tmp_path / "file"
    assert everything(tmp_path / "place") == ["a/x"]


def test_behind_a_url_everything_is_a_copy(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    place = Destination(f"memory://links-{next(NUMBERS)}")
    for how in ("copy", "hardlink", "symlink"):
        place.place(how, str(tmp_path / "file"), how)
        assert place.read_bytes(how) == b"content"


def test_a_file_that_cannot_be_read_is_not_blamed_on_the_place(tmp_path):
    place = Destination(str(tmp_path / "place"))
    for how in ("copy", "hardlink"):
        with pytest.raises(SourceError, match=r"cannot read `.*nothing`"):
            place.place("x", str(tmp_path / "nothing"), how)
    assert place.is_empty()


def test_a_link_that_is_there_stays_and_another_one_is_replaced(tmp_path):
    place = Destination(str(tmp_path))
    place.link("a", "/etc")
    before = os.lstat(tmp_path / "a").st_ino
    place.link("a", "/etc")
    assert os.lstat(tmp_path / "a").st_ino == before
    place.link("a", "/usr")
    assert (tmp_path / "a").readlink() == Path("/usr")


@pytest.mark.parametrize("name", [b"\xff\xfe.png", b"x" * 255, "ü\U0001f600\n%41 '\".png".encode()])
def test_names_that_a_disk_takes_are_taken(tmp_path, name):
    place = Destination(str(tmp_path / "place"))
    place.write_bytes(f"ü/{os.fsdecode(name)}", b"x")
    assert [os.fsencode(path.name) for path in (tmp_path / "place" / "ü").iterdir()] == [name]
    assert place.size(f"ü/{os.fsdecode(name)}") == 1


def test_a_name_too_long_is_an_error_in_words(tmp_path):
    with pytest.raises(ExportError, match="File name too long"):
        Destination(str(tmp_path)).write_bytes("x" * 256, b"x")
    assert everything(tmp_path) == []


@pytest.mark.parametrize("location", ["relative", "file:///{}/from%20url"])
def test_locations(tmp_path, monkeypatch, location):
    monkeypatch.chdir(tmp_path)
    place = Destination(location.format(str(tmp_path).lstrip("/")))
    place.write_bytes("x", b"x")
    expected = tmp_path / ("from url" if "url" in location else "relative")
    assert (place.url, place.folder) == (str(expected), expected)
    assert (expected / "x").read_bytes() == b"x"


def test_a_place_that_cannot_be_written_to_is_told_without_passwords(tmp_path):
    with pytest.raises(ClipsieveError) as caught:
        Destination("ftp://me:secret@127.0.0.1:9/x").is_empty()
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_a_full_disk_leaves_whole_files_and_says_so(small_disk):
    place = Destination(str(small_disk / "place"))
    place.write_bytes("a", b"x" * 300_000)
    (small_disk / "source").write_bytes(b"y" * 400_000)
    for write in (
        lambda: place.write_bytes("b", b"x" * 900_000),
        lambda: place.place("b", str(small_disk / "source")),
        lambda: place.write_bytes("a", b"y" * 900_000),
    ):
        with pytest.raises(ExportError, match="No space left on device") as caught:
            write()
        assert caught.value.hint.startswith("make room")
        assert place.sizes() == {"a": 300_000}
    assert place.read_bytes("a") == b"x" * 300_000
    assert everything(small_disk / "place") == ["a"]


@pytest.mark.slow
def test_a_full_temporary_folder_is_not_blamed_on_the_place(small_disk, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    with pytest.raises(SourceError, match="no room left in") as caught:
        Destination(f"memory://full-{next(NUMBERS)}").write_bytes("b", b"x" * 2_000_000)
    assert "TMPDIR" in caught.value.hint
    assert everything(small_disk) == []


@pytest.mark.slow
def test_a_disk_that_takes_nothing(small_disk):
    place = Destination(str(small_disk / "place"))
    place.write_bytes("a", b"x")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(ExportError, match="Read-only file system") as caught:
        place.write_bytes("b", b"x")
    assert "mend the permissions" in caught.value.hint
    assert place.read_bytes("a") == b"x"


@pytest.mark.slow
def test_a_hard_link_to_another_disk_becomes_a_copy(small_disk, tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    Destination(str(small_disk)).place("x", str(tmp_path / "file"), "hardlink")
    assert (small_disk / "x").read_bytes() == b"content"
    assert not (small_disk / "x").is_symlink()
    assert (tmp_path / "file").stat().st_nlink == 1
