"""`.npy` files that are cut, forged or of another kind: an error in words, and nothing in them runs."""

import io
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest

from clipsieve.errors import SourceError
from clipsieve.store import find_embeddings

CANARY = Path(tempfile.gettempdir()) / "clipsieve-canary-that-must-not-appear"


class Canary:
    def __reduce__(self):
        return (CANARY.touch, ())


def npy(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def pickled() -> bytes:
    array = np.empty(2, dtype=object)
    array[:] = [Canary(), Canary()]
    header = npy(np.zeros(2, np.float32))[:128].replace(b"'<f4'", b"'|O' ")
    return header + pickle.dumps(array)


GOOD = npy(np.ones((10, 4), np.float32))
FILES = {
    "empty": b"",
    "words": b"<html>404</html>" * 50,
    "pickled objects": pickled(),
    "a bare pickle": pickle.dumps([1, 2, 3]),
    "cut in the header": GOOD[:40],
    "cut in the rows": GOOD[:-1],
    "one axis": npy(np.ones(10, np.float32)),
    "three axes": npy(np.ones((2, 2, 2), np.float32)),
    "no columns": npy(np.ones((3, 0), np.float32)),
    "integers": npy(np.ones((3, 4), np.int32)),
    "doubles": npy(np.ones((3, 4))),
    "column by column": npy(np.asfortranarray(np.ones((3, 4), np.float32))),
    "another byte order": npy(np.ones((3, 4), ">f4")),
    "a forged shape": GOOD.replace(b"(10, 4)", b"(10**9"),
    "a negative shape": GOOD.replace(b"(10, 4)", b"(-1, 4)"),
    "a huge shape": GOOD.replace(b"(10, 4),", b"(9999999"),
    "code for a header": GOOD.replace(b"{'descr'", b"__import"),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_what_holds_no_embeddings_is_refused_in_words(tmp_path, content):
    (tmp_path / "img_emb_0.npy").write_bytes(content)
    with pytest.raises(SourceError, match=r"img_emb_0\.npy"):
        find_embeddings(tmp_path)
    assert not CANARY.exists()


def test_a_good_file_among_them_is_taken(tmp_path):
    (tmp_path / "img_emb_0.npy").write_bytes(GOOD)
    (found,) = find_embeddings(tmp_path)
    assert (found.n_rows, found.embedding_dim, found.dtype) == (10, 4, "float32")


def test_two_files_of_one_number_are_refused(tmp_path):
    for name in ("img_emb_1.npy", "img_emb_01.npy"):
        (tmp_path / name).write_bytes(GOOD)
    with pytest.raises(SourceError, match="the same number"):
        find_embeddings(tmp_path)


def test_files_of_two_widths_are_refused(tmp_path):
    (tmp_path / "img_emb_0.npy").write_bytes(GOOD)
    (tmp_path / "img_emb_1.npy").write_bytes(npy(np.ones((3, 5), np.float32)))
    with pytest.raises(SourceError, match="differ in width"):
        find_embeddings(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_nothing_there_is_an_error(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no embeddings at"):
        find_embeddings(tmp_path / name)
