"""A classifier belongs to an encoder's weights: by their hash, or, where none is known, by one name for them."""

import numpy as np
import pytest

from clipsieve.classifiers import SoftPrompts, canonical_name, check_encoder
from clipsieve.errors import EncoderMismatchError
from clipsieve.types import EncoderIdentity, Preprocessing

RECIPE = Preprocessing(224, "shortest", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def identity(name="ViT-B-32__openai", sha256="a" * 64, width=4):
    return EncoderIdentity(name, sha256, RECIPE, "fp32", width)


def head(name="ViT-B-32__openai", sha256=None, width=4):
    return SoftPrompts(np.eye(2, width, dtype=np.float32), ("good", "bad"), (False, True), name, sha256)


@pytest.mark.parametrize(
    ("made_for", "scanned_with"),
    [
        (head(), identity()),
        (head("openai/clip-vit-base-patch32"), identity("immich-app/ViT-B-32__openai")),
        (head("immich-app/ViT-L-14__openai"), identity("openai/clip-vit-large-patch14")),
        (head("any", "a" * 64), identity("other")),
        (head("mine"), identity("mine")),
    ],
)
def test_the_same_weights_fit_whatever_they_are_called(made_for, scanned_with):
    check_encoder(made_for, scanned_with)


@pytest.mark.parametrize(
    ("made_for", "scanned_with"),
    [
        (head(), identity("ViT-B-16__openai")),
        (head("openai/clip-vit-base-patch16"), identity()),
        (head(width=5), identity()),
        (head("any", "b" * 64), identity("any")),
        (head("any", "a" * 64, width=5), identity("any")),
        (head("other/ViT-B-32__openai"), identity()),
    ],
)
def test_other_weights_are_refused_even_at_the_same_width(made_for, scanned_with):
    with pytest.raises(EncoderMismatchError) as caught:
        check_encoder(made_for, scanned_with)
    error = caught.value
    assert error.what == "the classifier was made for another encoder"
    assert made_for.encoder_name in error.expected
    assert f"{made_for.embedding_dim} wide" in error.expected
    assert scanned_with.name in error.found
    assert error.state == "nothing was written"
    assert "import-head" in error.hint


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("openai/clip-vit-base-patch32", "ViT-B-32__openai"),
        ("openai/clip-vit-base-patch16", "ViT-B-16__openai"),
        ("openai/clip-vit-large-patch14", "ViT-L-14__openai"),
        ("immich-app/RN50__openai", "RN50__openai"),
        ("RN50__openai", "RN50__openai"),
        ("someone/immich-app", "someone/immich-app"),
        ("", ""),
    ],
)
def test_publishers_names_are_brought_to_one(name, canonical):
    assert canonical_name(name) == canonical
    assert canonical_name(canonical_name(name)) == canonical
