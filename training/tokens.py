"""The tokenizer: byte-level BPE of 2,048 tokens learned from the captions, in the file format of `tokenizers`."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

__all__ = ["CONTEXT", "END", "PAD", "START", "encode_tokens", "learn_tokenizer"]

CONTEXT = 32
PAD, START, END = "<|pad|>", "<|startoftext|>", "<|endoftext|>"


def learn_tokenizer(texts: Iterable[str], n_tokens: int = 2048) -> Tokenizer:
    """Return a tokenizer that lower-cases, strips, and puts its own start and end around every text; 0 is padding."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace("\u0000", " "), normalizers.Lowercase(), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=n_tokens, special_tokens=[PAD, START, END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    ends = [(START, tokenizer.token_to_id(START)), (END, tokenizer.token_to_id(END))]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ends)
    return tokenizer


def encode_tokens(tokenizer: Tokenizer, texts: list[str]) -> torch.Tensor:
    """Return int32 token ids (n, longest), padded with 0; a text beyond the context is cut, but keeps its end."""
    rows = [_cut(row.ids) for row in tokenizer.encode_batch(texts)]
    out = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int32)
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.tensor(row, dtype=torch.int32)
    return out


def _cut(ids: list[int]) -> list[int]:
    return ids[: CONTEXT - 1] + ids[-1:] if len(ids) > CONTEXT else ids
