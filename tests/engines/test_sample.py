"""Some images of a source: how many, from where, and what is not opened for them."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from clipsieve.engines import sample as module
from clipsieve.engines.sample import sample
from clipsieve.sources import FolderSource, open_source
from image_files import png


def ids(source, n: int) -> list[str]:
    found = [ref.image_id for ref in sample(source, n)]
    assert len(set(found)) == len(found)
    return found


def tar(path: Path, n: int) -> Path:
    with tarfile.open(path, "w") as file:
        for number in range(n):
            member = tarfile.TarInfo(f"{number:04}.png")
            member.size = len(png(number))
            file.addfile(member, io.BytesIO(png(number)))
    return path


def tars(folder: Path, *lengths: int):
    folder.mkdir()
    for number, n in enumerate(lengths):
        tar(folder / f"{number:05}.tar", n)
    return open_source(str(folder), "webdataset")


def numbers(found: list[str]) -> list[int]:
    return [int(Path(each).stem) for each in found]


def names(found: list[str]) -> list[str]:
    return sorted({each.split("/")[0] for each in found})


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Return the tars that are opened, as they are."""
    from clipsieve.sources.webdataset import OpenTar

    found, before = [], OpenTar.__init__
    monkeypatch.setattr(
        OpenTar, "__init__", lambda self, name, *rest: (found.append(name), before(self, name, *rest))[1]
    )
    return found


def test_a_folder_is_taken_from_its_beginning_to_its_end(tmp_path):
    for number in range(50):
        (tmp_path / f"{number:03}.png").write_bytes(png(number))
    found = ids(FolderSource(tmp_path), 10)
    assert numbers(found) == [0, 5, 11, 16, 22, 27, 33, 38, 44, 49]
    assert len(ids(FolderSource(tmp_path), 100)) == 50


def test_few_tars_are_opened_and_each_of_them_once(tmp_path, opened):
    source = tars(tmp_path / "tars", *[10] * 40)
    found = ids(source, 32)
    assert len(found) == 32
    assert len(opened) == len(names(found)) == 8
    assert {"00000.tar", "00039.tar"} <= set(names(found))
    assert numbers([each for each in found if each.startswith("00000")]) == [0, 3, 6, 9]


def test_more_tars_are_opened_where_few_hold_too_few(tmp_path, opened):
    found = ids(tars(tmp_path / "tars", *[1] * 20), 15)
    assert len(found) == len(opened) == 15


def test_what_one_tar_lacks_others_make_up_for(tmp_path):
    source = tars(tmp_path / "tars", 1, 100, 100)
    assert len(ids(source, 31)) == 31
    assert len(ids(source, 1000)) == 201


def test_a_damaged_tar_gives_a_failure_and_the_others_the_rest(tmp_path):
    source = tars(tmp_path / "tars", 20, 20)
    (tmp_path / "tars/00000.tar").write_bytes(b"no tar at all" * 100)
    refs = list(sample(open_source(str(tmp_path / "tars"), "webdataset"), 10))
    assert sum(isinstance(ref.content, bytes) for ref in refs) == 9
    del source


def test_a_table_is_read_in_few_stretches(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    lines = ["image,key", *(f"{number % 3}.png,{number}" for number in range(400))]
    (tmp_path / "all.csv").write_text("\n".join(lines))
    from clipsieve.sources import Columns

    source = open_source(str(tmp_path / "all.csv"), "table", columns=Columns(id="key"))
    rows = [int(each) for each in ids(source, 40)]
    assert len(rows) == 40
    assert (rows[0], rows[-1]) == (0, 399)
    assert int((np.diff(rows) > 1).sum()) == 7


@pytest.mark.parametrize("n_all", [0, 1, 7, 8, 9, 39, 40, 41, 100])
@pytest.mark.parametrize("n", [1, 8, 40])
def test_places_are_there_once_and_as_many_as_there_can_be(n_all, n):
    spread, stretches = module._spread(n_all, n), module._stretches(n_all, n)
    assert len(spread) == min(n, n_all)
    assert len(stretches) <= min(n, n_all)
    for found in (spread, stretches):
        assert len(np.unique(found)) == len(found)
        assert ((found >= 0) & (found < n_all)).all()
