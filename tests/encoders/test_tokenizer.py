import sys
from pathlib import Path

import numpy as np
import pytest

from clipsieve.encoders.tokenizer import TextTokenizer, canonicalize
from clipsieve.errors import ModelFileError

sys.path.insert(0, str(Path(__file__).parent))
from tiny_folders import tokenizer


def test_rows_are_padded_and_a_cut_row_keeps_its_end():
    tokens = TextTokenizer(tokenizer(), 5, "<pad>")
    rows = tokens(["dog", "", "a red dog cat house"])
    assert rows.dtype == np.int32
    assert rows.tolist() == [[1, 6, 2, 0, 0], [1, 2, 0, 0, 0], [1, 4, 5, 6, 2]]


def test_no_texts_give_no_rows():
    assert TextTokenizer(tokenizer(), 5, "<pad>")([]).shape == (0, 5)


def test_a_lone_surrogate_is_no_crash():
    assert TextTokenizer(tokenizer(), 5, "<pad>")(["dog \udcff"]).shape == (1, 5)


def test_a_pad_token_that_is_not_there_is_refused():
    with pytest.raises(ModelFileError, match="pad token"):
        TextTokenizer(tokenizer(), 5, "<nothing>")


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelFileError, match=r"tokenizer\.json"):
        TextTokenizer.from_file(tmp_path / "tokenizer.json", 5, "<pad>")


def test_saving_keeps_the_ids(tmp_path):
    one = TextTokenizer(tokenizer(), 5, "<pad>")
    one.save(tmp_path / "tokenizer.json")
    other = TextTokenizer.from_file(tmp_path / "tokenizer.json", 5, "<pad>")
    assert np.array_equal(one(["a red dog cat house", "x"]), other(["a red dog cat house", "x"]))


@pytest.mark.parametrize(("text", "clean"), [("", ""), ("A-B c!", "ab c"), ("  Ünder_score\t", "ünderscore")])
def test_canonicalize(text, clean):
    assert canonicalize(text) == clean
