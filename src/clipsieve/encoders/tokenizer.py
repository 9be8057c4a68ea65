"""From texts to token ids, exactly as the model was trained on them."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int32

from clipsieve.errors import ModelFileError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["TextTokenizer", "canonicalize"]

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def canonicalize(text: str) -> str:
    """Return a text in lower case without ASCII punctuation, as SigLIP's texts were (Zhai et al. 2023, arXiv:2303.15343).

    >>> canonicalize("  A dog's   life, in B&W ")
    'a dogs life in bw'
    """
    return " ".join(text.translate(_NO_PUNCTUATION).lower().split())


_CLEANERS: dict[str | None, Callable[[str], str]] = {
    None: str,
    "whitespace": str,  # every tokenizer here splits on it anyway
    "lower": str.lower,
    "canonicalize": canonicalize,
}


class TextTokenizer:
    """A tokenizer with the context length and padding of one text tower.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
        Adds the start and end tokens itself; a text that is too long keeps its end token.
    context_length : int
        Tokens in a row.
    pad_token : str
        What fills a row.
    clean : {None, "lower", "canonicalize"}
        What is done to a text first: nothing, lower case, or :func:`canonicalize`.
    """

    def __init__(self, tokenizer: Tokenizer, context_length: int, pad_token: str, *, clean: str | None = None) -> None:
        pad_id = tokenizer.token_to_id(pad_token)
        if pad_id is None:
            raise ModelFileError(
                "the tokenizer does not know its own pad token", expected=f"{pad_token!r} in its vocabulary"
            )
        tokenizer.enable_truncation(max_length=context_length)
        tokenizer.enable_padding(length=context_length, pad_id=pad_id, pad_token=pad_token)
        self._tokenizer = tokenizer
        self.clean = clean
        self.context_length = context_length

    @classmethod
    def from_file(cls, path: Path, context_length: int, pad_token: str, *, clean: str | None = None) -> TextTokenizer:
        """Read `tokenizer.json`; ModelFileError if it cannot be."""
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises Exception itself
            raise ModelFileError(f"cannot read the tokenizer `{path}`", found=str(error)[:200]) from error
        return cls(tokenizer, context_length, pad_token, clean=clean)

    def __call__(self, texts: Sequence[str]) -> Int32[np.ndarray, "n context"]:
        """Return the ids of each text, cut and padded to the context length."""
        # Lone surrogates, as in names of files that are not UTF-8, are no text; any tokenizer would choke on them.
        safe = [text.encode("utf-8", "replace").decode() for text in texts]
        cleaned = [_CLEANERS[self.clean](text) for text in safe]
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(cleaned)]
        return np.array(rows, dtype=np.int32).reshape(len(rows), self.context_length)

    def save(self, path: Path) -> None:
        """Write `tokenizer.json`, without the cutting and padding that `tokenizer_config.json` asks for."""
        from tokenizers import Tokenizer

        plain = Tokenizer.from_str(self._tokenizer.to_str())
        plain.no_truncation()
        plain.no_padding()
        plain.save(str(path))
