"""The training losses: contrastive with the known false negatives masked, which pictogram, and told affect."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["affect_loss", "contrastive_loss", "which_loss"]


def contrastive_loss(logits: Tensor, matches: Tensor) -> Tensor:
    """Return the symmetric InfoNCE loss (van den Oord et al. 2018, arXiv:1807.03748) without known false negatives.

    Parameters
    ----------
    logits : float tensor of shape (n, n)
        Scaled similarity of every picture (row) with every caption.
    matches : bool tensor of shape (n, n)
        True where a caption (column) is true of a picture; the diagonal is the pair itself.
    """
    hidden = matches.clone().fill_diagonal_(fill_value=False)
    masked = logits.masked_fill(hidden, -1e4)
    target = torch.arange(len(logits))
    return (functional.cross_entropy(masked, target) + functional.cross_entropy(masked.T, target)) / 2


def which_loss(logits: Tensor, members: Tensor) -> Tensor:
    """Return the cross-entropy of which pictograms are shown or named: each present one against all absent ones."""
    absent = logits.masked_fill(members > 0, -1e4).logsumexp(1, keepdim=True)
    each = torch.logaddexp(logits, absent) - logits
    return (each * members).sum() / members.sum().clamp(min=1)


def affect_loss(images: Tensor, unwanted: Tensor, wanted: Tensor, sign: Tensor, scale: Tensor) -> Tensor:
    """Return the cross-entropy of told affect: pictures of sign -1 or 1 against sampled phrases of either sign.

    Parameters
    ----------
    images : unit-norm rows (n, d)
    unwanted, wanted : unit-norm rows (m, d)
        Embeddings of m paraphrases for either sign; each pair is one binary choice.
    sign : int tensor of shape (n,)
        -1, 0, 1, or 2 where it may not be told; the rows with 0 and 2 do not count.
    scale : scalar tensor
        Inverse temperature.
    """
    told = sign.abs() == 1
    if not bool(told.any()):
        return images.new_zeros(())
    margin = scale * (images[told] @ (wanted - unwanted).T) * sign[told, None]
    return functional.softplus(-margin).mean()
