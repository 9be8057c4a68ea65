"""Where a learned context stands among the tokens of a sentence, for any tokenizer that frames a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from clipsieve.encoders.tokenizer import TextTokenizer
from clipsieve.errors import UsageError

__all__ = ["PromptFrame"]


@dataclass(frozen=True, slots=True, eq=False)
class PromptFrame:
    """The start, end and padding that a tokenizer puts around a text.

    Attributes
    ----------
    tokenizer : TextTokenizer
        Of the text tower.
    empty : int32 array of shape (context,)
        The empty text: start tokens, end token, padding.
    start : int
        How many tokens stand in front of a text: 1 for CLIP, 0 for SigLIP.
    """

    tokenizer: TextTokenizer
    empty: Int32[np.ndarray, "context"]
    start: int

    @classmethod
    def of(cls, tokenizer: TextTokenizer) -> PromptFrame:
        """Learn the frame from two texts."""
        empty, filled = tokenizer(["", "a"])
        return cls(tokenizer, empty, int(np.argmax(empty != filled)))

    def words(self, text: str) -> Int32[np.ndarray, "words"]:
        """Return a text's tokens without the frame; of a text that is too long, as many as the window takes.

        Raises
        ------
        UsageError
            If there are none.
        """
        row: np.ndarray = self.tokenizer([text])[0][self.start :]
        ends = np.flatnonzero(row == self.empty[self.start])
        words = row[: ends[0]] if len(ends) else row
        if len(words) == 0:
            raise UsageError(
                "a text without words can neither name a class nor stand in front of one", found=f"`{text}`"
            )
        return words

    def prompt_ids(self, class_names: Sequence[str], n_context: int) -> Int32[np.ndarray, "k context"]:
        """Return the rows of `[V]_1 ... [V]_M [CLASS].` (Zhou et al. 2022, arXiv:2109.01134, section 3.2).

        Parameters
        ----------
        class_names : sequence of str
            k names.
        n_context : int
            M. Their places, right behind the start, hold some token of the class's own name: any but an end token, by
            which CLIP finds what to read.

        Raises
        ------
        UsageError
            If a name has no words, or does not fit into the window behind the context.
        """
        names = [self.words(f" {name}.") for name in class_names]
        for name, words in zip(class_names, names, strict=True):
            self._check_fits(name, n_context, len(words))
        before, after, window = self.empty[: self.start], self.empty[self.start :], len(self.empty)
        rows = [np.concatenate([before, words[:1].repeat(n_context), words, after])[:window] for words in names]
        return np.stack(rows)

    def _check_fits(self, name: str, n_context: int, n_words: int) -> None:
        needed = self.start + n_context + n_words + 1
        if needed > len(self.empty):
            raise UsageError(
                f"the class `{name[:60]}` does not fit into the text tower behind {n_context} context vectors",
                expected=f"at most {len(self.empty)} tokens in all",
                found=f"{needed} or more",
                hint="take fewer context vectors, a shorter text to start from, or a shorter class name",
            )
