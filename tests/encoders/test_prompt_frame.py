"""Places for a learned context among the tokens of CLIP's, SigLIP's and other tokenizers."""

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from clipsieve.encoders.prompt_frame import PromptFrame
from clipsieve.encoders.tokenizer import TextTokenizer
from clipsieve.errors import UsageError
from model_folders import END, START, byte_tokenizer, clip_tokenizer

TEXTS = ["a photo of a red dog.", "an image about something offensive.", "the kind giant, and so on; 42 hats."]
KINDS = ["clip", "clip, other padding", "bytes", "unigram pieces", "pairs without words"]
WINDOW = 40


def unigram_tokenizer() -> Tokenizer:
    """Return one in the form of SigLIP's: pieces that carry their space, and no start token."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=100, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 0)])
    return tokenizer


def pairs_tokenizer() -> Tokenizer:
    """Return one in the form of Gemma's: spaces are letters, no start token, padding apart from the end."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # so no pair learned here spans two words
    special = ["<pad>", "<eos>", "<unk>"]
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=80, special_tokens=special, show_progress=False)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return tokenizer


def framed_clip_tokenizer() -> Tokenizer:
    tokenizer = clip_tokenizer(TEXTS)
    special = [(token, tokenizer.token_to_id(token)) for token in (START, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=special)
    return tokenizer


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def frame(kind) -> PromptFrame:
    make, pad, clean = {
        "clip": (framed_clip_tokenizer, END, None),
        "clip, other padding": (framed_clip_tokenizer, "!", None),
        "bytes": (byte_tokenizer, END, None),
        "unigram pieces": (unigram_tokenizer, "</s>", "canonicalize"),
        "pairs without words": (pairs_tokenizer, "<pad>", "lower"),
    }[kind]
    return PromptFrame.of(TextTokenizer(make(), WINDOW, pad, clean=clean))


def test_the_frame_is_found(frame, kind):
    assert frame.start == (0 if kind in ("unigram pieces", "pairs without words") else 1)


def test_words_in_the_places_of_the_context_make_the_sentence(frame):
    names = ["dog", "offensive hat", "kind"]
    context = frame.words("a photo of a")
    rows = frame.prompt_ids(names, len(context))
    rows[:, frame.start : frame.start + len(context)] = context
    np.testing.assert_array_equal(rows, frame.tokenizer([f"a photo of a {name}." for name in names]))


def test_no_place_holds_an_end_token(frame):
    rows = frame.prompt_ids(["dog", "kind"], 16)
    assert rows.shape == (2, WINDOW)
    assert not np.isin(rows[:, frame.start : frame.start + 16], frame.empty).any()


def test_the_window_is_used_to_the_last_token(frame):
    n_words = len(frame.words(" kind."))
    most = WINDOW - frame.start - n_words - 1
    assert frame.prompt_ids(["kind"], most)[0, -1] == frame.empty[frame.start]
    with pytest.raises(UsageError, match="`kind` does not fit") as caught:
        frame.prompt_ids(["kind"], most + 1)
    assert (caught.value.expected, caught.value.found) == ("at most 40 tokens in all", "41 or more")


@pytest.mark.parametrize("name", ["red " * 100, "kind\n" * 50])
def test_a_cut_name_does_not_fit(frame, name):
    with pytest.raises(UsageError, match="does not fit"):
        frame.prompt_ids([name], 1)


def test_a_text_without_words_is_refused(frame):
    with pytest.raises(UsageError, match="without words"):
        frame.words("")
