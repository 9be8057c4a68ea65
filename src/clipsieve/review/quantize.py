"""Embeddings in a byte per number, and how far a cosine computed from them can be off: pure arithmetic.

A row u of unit norm becomes s * c, with c whole numbers from -127 to 127. For a unit query q, by Cauchy and Schwarz,
|q.u - q.(s c)| <= ||u - s c||, which is known for each row once and for all. To it comes what float32 rounds away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int8

__all__ = ["Quantized", "approximate", "quantize"]

_LEVELS = 127
_BLOCK = 512  # rows whose float32 stays in the cache of a core: 1 MiB at a width of 512


@dataclass(frozen=True, slots=True)
class Quantized:
    """Some rows in a byte per number.

    Attributes
    ----------
    codes : int8 array of shape (n, d)
        Zeros for a row without a direction.
    scale : float32 array of shape (n,)
        Times the codes gives the row at unit norm, nearly.
    bound : float32 array of shape (n,)
        The most by which a cosine from `approximate` can be off.
    is_present : bool array of shape (n,)
        Which rows have a direction: finite, and not all zeros.
    unit : float32 array of shape (n, d)
        The rows at unit norm; zeros without a direction.
    """

    codes: Int8[np.ndarray, "n d"]
    scale: Float32[np.ndarray, "n"]
    bound: Float32[np.ndarray, "n"]
    is_present: Bool[np.ndarray, "n"]
    unit: Float32[np.ndarray, "n d"]


def quantize(rows: Float[np.ndarray, "n d"]) -> Quantized:
    """Return rows of any norm as codes, with the bound of each.

    Parameters
    ----------
    rows : float16 or float32 array of shape (n, d)
        As they are stored. n may be 0.
    """
    exact = rows.astype(np.float32)
    peak = np.abs(exact).max(axis=1, initial=0.0)
    is_present = np.isfinite(peak) & (peak > 0)
    exact[~is_present] = 0.0
    # First by the largest number, then by the norm: so not even the squares of tiny numbers vanish.
    exact /= np.where(is_present, peak, np.float32(1))[:, None]
    norms = np.where(is_present, np.sqrt(np.einsum("ij,ij->i", exact, exact)), np.float32(1)).astype(np.float32)
    codes = np.rint(exact * np.float32(_LEVELS))
    left = exact - codes / np.float32(_LEVELS)
    residual = np.sqrt(np.einsum("ij,ij->i", left, left)) / norms
    exact /= norms[:, None]
    scale = (1 / (_LEVELS * norms)).astype(np.float32)
    bound = residual * np.float32(1.001) + np.float32(rounding_error(rows.shape[1]))
    return Quantized(codes.astype(np.int8), scale, bound.astype(np.float32), is_present, exact)


def rounding_error(embedding_dim: int) -> float:
    """Return what float32 can round away of a cosine: of a sum of d products at most d units in the last place.

    As much again for the norm, the query, the scale and the residual; see Higham, Accuracy and Stability of Numerical
    Algorithms, section 3.1.
    """
    return 4 * (embedding_dim + 32) * 2.0**-24


def approximate(
    codes: Int8[np.ndarray, "n d"],
    scale: Float32[np.ndarray, "n"],
    query: Float32[np.ndarray, "d"],
    out: Float32[np.ndarray, "n"],
) -> None:
    """Write the cosine of each row with a unit-norm query, off by its bound at most.

    No library for linear algebra takes part: its threads are the whole process's, and searches run side by side.
    """
    floats = np.empty((min(_BLOCK, len(codes)), codes.shape[1]), dtype=np.float32)
    for start in range(0, len(codes), _BLOCK):
        block = codes[start : start + _BLOCK]
        floats[: len(block)] = block
        np.einsum("ij,j->i", floats[: len(block)], query, out=out[start : start + len(block)])
    out *= scale
