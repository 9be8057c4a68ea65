"""From texts to ids: cutting, padding, cleaning, and tokenizers that cannot be used."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from clipsieve.encoders.tokenizer import TextTokenizer, canonicalize
from clipsieve.errors import ModelFileError
from model_folders import CONTEXT, END, START, byte_tokenizer

WORDS = ["<pad>", "<start>", "<end>", "<unk>", "a", "red", "dog", "cat", "house"]


def word_tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    return made


def test_rows_are_padded_and_a_cut_row_keeps_its_end():
    tokens = TextTokenizer(word_tokenizer(), 5, "<pad>")
    rows = tokens(["dog", "", "a red dog cat house"])
    assert rows.dtype == np.int32
    assert rows.tolist() == [[1, 6, 2, 0, 0], [1, 2, 0, 0, 0], [1, 4, 5, 6, 2]]


def test_no_texts_give_no_rows():
    assert TextTokenizer(word_tokenizer(), 5, "<pad>")([]).shape == (0, 5)


@pytest.mark.parametrize("text", ["dog \udcff", "\ud800", "a" * 10_000, "\U0001f600", "", "\x00"], ids=ascii)
def test_every_text_is_one_row_with_a_start_and_an_end(text):
    tokenizer = byte_tokenizer()
    row = TextTokenizer(tokenizer, CONTEXT, END)([text])[0].tolist()
    assert row[0] == tokenizer.token_to_id(START)
    assert row[-1] == tokenizer.token_to_id(END)
    assert len(row) == CONTEXT


def test_a_lone_surrogate_is_read_as_a_question_mark():
    tokens = TextTokenizer(byte_tokenizer(), CONTEXT, END)
    assert np.array_equal(tokens(["dog \udcff"]), tokens(["dog ?"]))


@pytest.mark.parametrize("clean", [None, "whitespace", "lower", "canonicalize"])
def test_cleaning_is_done_before_tokenizing(clean):
    tokens = TextTokenizer(byte_tokenizer(), CONTEXT, END, clean=clean)
    expected = {"lower": "a dog's", "canonicalize": "a dogs"}.get(clean or "", "A Dog's")
    assert np.array_equal(tokens(["A Dog's"]), TextTokenizer(byte_tokenizer(), CONTEXT, END)([expected]))


def test_a_pad_token_that_is_not_there_is_refused():
    with pytest.raises(ModelFileError, match="pad token") as caught:
        TextTokenizer(word_tokenizer(), 5, "<nothing>")
    assert "'<nothing>'" in str(caught.value)


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"model": {"type": "Nothing"}}'])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelFileError, match=r"tokenizer\.json"):
        TextTokenizer.from_file(tmp_path / "tokenizer.json", 5, "<pad>")


def test_a_truncated_file_is_named(tmp_path):
    whole = byte_tokenizer().to_str()
    (tmp_path / "tokenizer.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError, match=r"tokenizer\.json"):
        TextTokenizer.from_file(tmp_path / "tokenizer.json", 5, "<pad>")


def test_cutting_and_padding_stored_in_the_file_do_not_count(tmp_path):
    stored = word_tokenizer()
    stored.enable_truncation(max_length=3)
    stored.enable_padding(length=9, pad_id=7, pad_token="cat")
    stored.save(str(tmp_path / "tokenizer.json"))
    tokens = TextTokenizer.from_file(tmp_path / "tokenizer.json", 5, "<pad>")
    assert tokens(["a red dog cat", "dog"]).tolist() == [[1, 4, 5, 6, 2], [1, 6, 2, 0, 0]]


def test_saving_keeps_the_ids(tmp_path):
    one = TextTokenizer(word_tokenizer(), 5, "<pad>")
    one.save(tmp_path / "tokenizer.json")
    other = TextTokenizer.from_file(tmp_path / "tokenizer.json", 5, "<pad>")
    assert np.array_equal(one(["a red dog cat house", "x"]), other(["a red dog cat house", "x"]))


@pytest.mark.parametrize(("text", "clean"), [("", ""), ("A-B c!", "ab c"), ("  Ünder_score\t", "ünderscore")])
def test_canonicalize(text, clean):
    assert canonicalize(text) == clean
