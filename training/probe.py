"""Figures during training: name retrieval and zero-shot valence on reserved compositions."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from batches import Batches
from captions import Captioner
from clipsieve.demo.split import is_reserved
from clipsieve.demo.sprites import STYLES, drawn_in
from clipsieve.demo.table import UNWANTED_BELOW, WANTED_ABOVE, load_pictograms, mean_rating

__all__ = ["Probe", "auc"]


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the ROC curve from ranks (ties are not expected)."""
    rank = np.argsort(np.argsort(score)) + 1.0
    n_pos, n_neg = positive.sum(), (~positive).sum()
    return float((rank[positive].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


class Probe:
    """A fixed small sample: every pictogram alone in every style, and 400 reserved compositions of A and of B."""

    def __init__(self, side_px: int) -> None:
        rng = np.random.default_rng(99)
        self.maker = Batches(rng, Captioner(), side_px)
        self.single = [(i, s) for s in STYLES for i in sorted(drawn_in(s))]
        self.single_pixels = np.stack([self.maker._draw((i,), s) for i, s in self.single])  # noqa: SLF001
        self.groups = {group: self._sample(group, 400) for group in "AB"}

    def _sample(self, group: str, n: int) -> tuple[np.ndarray, np.ndarray]:
        rng, pixels, wanted = self.maker.rng, [], []
        while len(pixels) < n:
            style = STYLES[int(rng.integers(len(STYLES)))]
            pool = self.maker.pools[style, group]
            members = tuple(dict.fromkeys(int(i) for i in rng.choice(pool, int(rng.integers(1, 4)))))
            rating = mean_rating(members)
            if is_reserved(members, style) and not UNWANTED_BELOW <= rating <= WANTED_ABOVE:
                pixels.append(self.maker._draw(members, style))  # noqa: SLF001
                wanted.append(rating > WANTED_ABOVE)
        return np.stack(pixels), np.array(wanted)

    @torch.no_grad()
    def measure(self, encode_images: nn.Module, encode_texts: nn.Module) -> dict[str, float]:
        """Return the figures; both encoders take plain data and return unit-norm rows."""
        names = encode_texts([f"a picture of {p.name}" for p in load_pictograms()])
        similarity = (encode_images(self.single_pixels) @ names.T).numpy()
        truth = np.array([i for i, _ in self.single])
        rank = (similarity > similarity[np.arange(len(truth)), truth][:, None]).sum(1)
        new = np.array([is_reserved((i,), s) for i, s in self.single])
        figures = {"r1": (rank < 1).mean(), "r5": (rank < 5).mean(), "r1_new": (rank[new] < 1).mean()}
        prompts = encode_texts([f"This image is about something {w}" for w in ("negative", "positive")])
        for group, (pixels, wanted) in self.groups.items():
            s = (encode_images(pixels) @ prompts.T).numpy()
            margin = s[:, 1] - s[:, 0]
            figures |= {f"acc_{group}": ((margin > 0) == wanted).mean(), f"auc_{group}": auc(margin, wanted)}
        return {key: round(float(value), 4) for key, value in figures.items()}
