"""Whether a classifier and embeddings belong together: by the encoder's weights, never by the width alone."""

from __future__ import annotations

from clipsieve.classifiers.base import Classifier
from clipsieve.errors import EncoderMismatchError
from clipsieve.types import EncoderIdentity

__all__ = ["canonical_name", "check_encoder"]

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
        If the widths differ; or the hashes of the weights; or, where the classifier knows no hash, the names.
    """
    made_for, known = classifier.encoder_weights_sha256, classifier.embedding_dim == identity.embedding_dim
    if made_for is not None:
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
