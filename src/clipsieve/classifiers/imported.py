"""Heads that others have published, as classifiers of ours."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from clipsieve.classifiers.class_vectors import SoftPrompts
from clipsieve.classifiers.plain_pickle import MAX_BYTES, read_array
from clipsieve.classifiers.similarity import normalize
from clipsieve.errors import ClassifierFileError

__all__ = ["import_q16_prompts"]


def import_q16_prompts(
    path: str | Path, *, encoder_name: str, encoder_weights_sha256: str | None = None
) -> SoftPrompts:
    """Read the soft prompts that were published with Q16 (Schramowski et al. 2022, arXiv:2202.06675).

    Parameters
    ----------
    path : str or Path
        `prompts.p`: a pickle of an array of shape (2, d), row 1 for unwanted images. It is read without unpickling.
    encoder_name : str
        The encoder that they were trained on; the width alone does not tell (512 is ViT-B/32 and ViT-B/16).
    encoder_weights_sha256 : str, optional
        Of that encoder's weights, where known.

    Returns
    -------
    SoftPrompts
        Unit norm, logit scale 100. The authors flag an image at a probability of 0.90 and above.

    Raises
    ------
    UnsafeFileError
        If the pickle holds anything but one array of numbers; nothing in it was run.
    ClassifierFileError
        If it cannot be read, or the array is not two finite rows other than 0.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ClassifierFileError(f"cannot read `{path}`: {error.strerror}") from error
    rows = read_array(content, where=str(path))
    if rows.ndim != 2 or len(rows) != 2 or rows.shape[1] < 2 or not _are_directions(rows):
        raise ClassifierFileError(
            f"`{path}` does not hold Q16's soft prompts",
            expected="2 finite rows other than 0",
            found=f"an array of shape {rows.shape}",
        )
    return SoftPrompts(
        class_embeddings=normalize(rows.astype(np.float64)),
        class_names=("positive", "negative"),
        unwanted=(False, True),
        encoder_name=encoder_name,
        encoder_weights_sha256=encoder_weights_sha256,
        threshold=0.9,
        provenance={"imported_from": "Q16, arXiv:2202.06675", "file_sha256": hashlib.sha256(content).hexdigest()},
    )


def _are_directions(rows: np.ndarray) -> bool:
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    return bool((np.isfinite(norms) & (norms > 0)).all())
