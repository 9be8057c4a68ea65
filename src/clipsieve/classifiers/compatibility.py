"""Whether a classifier and embeddings belong together: by the encoder's weights, never by the width alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from clipsieve.classifiers.base import Classifier
from clipsieve.errors import EncoderMismatchError
from clipsieve.types import EncoderIdentity

__all__ = ["canonical_name", "check_encoder", "check_large_dimensions"]

# The same weights under the names of different publishers.
_OPENAI = {
    "openai/clip-vit-base-patch32": "ViT-B-32__openai",
    "openai/clip-vit-base-patch16": "ViT-B-16__openai",
    "openai/clip-vit-large-patch14": "ViT-L-14__openai",
    "openai/clip-vit-large-patch14-336": "ViT-L-14-336__openai",
}


def canonical_name(name: str) -> str:
    """Return one name for the weights that several publishers name differently.

    >>> canonical_name("immich-app/ViT-B-32__openai"), canonical_name("openai/clip-vit-base-patch32")
    ('ViT-B-32__openai', 'ViT-B-32__openai')
    """
    return _OPENAI.get(name, name.removeprefix("immich-app/"))


def check_encoder(classifier: Classifier, identity: EncoderIdentity) -> None:
    """Refuse a classifier that was made for other weights than the embeddings.

    Raises
    ------
    EncoderMismatchError
        If the widths differ; or the hashes of the weights; or, where either side knows no hash, the names.
    """
    made_for, known = classifier.encoder_weights_sha256, classifier.embedding_dim == identity.embedding_dim
    if made_for is not None and identity.weights_sha256 is not None:
        known = known and made_for == identity.weights_sha256
    else:
        known = known and canonical_name(classifier.encoder_name) == canonical_name(identity.name)
    if not known:
        raise EncoderMismatchError(
            "the classifier was made for another encoder",
            expected=_describe(classifier.encoder_name, classifier.embedding_dim, made_for),
            found=_describe(identity.name, identity.embedding_dim, identity.weights_sha256),
            state="nothing was written",
            hint="scan with the encoder that it was made for; if both are the same weights, import the head again with "
            "`clipsieve import-head ... --model` and the folder that the scan used",
        )


def _describe(name: str, width: int, sha256: str | None) -> str:
    return f"{name}, {width} wide" + (f" (sha256 {sha256[:12]}…)" if sha256 else "")


# In OpenAI's weights a few dimensions of the joint space are large for nearly every image and text, whatever they show; other
# weights of the same width have them elsewhere, if at all.
_LARGE_DIMENSIONS = {"ViT-B-32__openai": (92, 133, 312), "ViT-L-14__openai": (180, 316, 413, 440, 644)}
_WIDTHS = {"ViT-B-32__openai": 512, "ViT-L-14__openai": 768}
_LARGE = 3.0  # times the median; in directions without such dimensions, no three or five given ones come near
MIN_SAMPLE = 8


def check_large_dimensions(embeddings: Float32[np.ndarray, "n d"], name: str) -> str | None:
    """Return why embeddings are not what their name says, or None if nothing speaks against it.

    Parameters
    ----------
    embeddings : float32 array of shape (n, d)
        A sample of unit-norm rows; fewer than 8 tell nothing.
    name : str
        The encoder that is said to have made them, under any publisher's name.

    Returns
    -------
    str or None
        A sentence for people. None is no proof: only OpenAI's ViT-B/32 and ViT-L/14 have known large dimensions.
    """
    if len(embeddings) < MIN_SAMPLE:
        return None
    magnitudes = np.abs(embeddings).mean(axis=0)
    ratios = magnitudes / max(float(np.median(magnitudes)), np.finfo(np.float32).tiny)
    claimed, looks_like = canonical_name(name), None
    for known, dimensions in _LARGE_DIMENSIONS.items():
        if _WIDTHS[known] == embeddings.shape[1] and all(ratios[i] >= _LARGE for i in dimensions):
            looks_like = known
    listed = ", ".join(map(str, _LARGE_DIMENSIONS.get(claimed, ())))
    if claimed in _LARGE_DIMENSIONS and looks_like != claimed:
        return f"these embeddings are not those of {claimed}: their dimensions {listed} are not large, as they are in its weights"
    if looks_like and not claimed.endswith("__openai"):
        return f"these embeddings look like those of {looks_like}, not of {claimed}: the same few dimensions are large"
    return None
