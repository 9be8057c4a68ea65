"""What any encoder must do, held over every kind of graph, and the embedded model."""

import sys
from pathlib import Path

import numpy as np
import pytest

from clipsieve.encoders import Encoder, load_encoder
from clipsieve.errors import EmbeddingError

sys.path.insert(0, str(Path(__file__).parents[1] / "encoders"))
from model_folders import KINDS, write_folder

TEXTS = ["a red dog", "a cat", "", "house house house house house house", "a red cat", "dog", "unknown words"]


@pytest.fixture(params=[*KINDS, "pictogram"])
def encoder(request, tmp_path):
    model = request.param
    if model != "pictogram":
        model = str(write_folder(tmp_path / "model", model))
    with load_encoder(model, threads=1) as loaded:
        yield loaded


def draw(encoder: Encoder, n: int) -> np.ndarray:
    side = encoder.identity.preprocessing.size_px
    return np.random.default_rng(3).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def test_rows_are_unit_norm_float32(encoder):
    for rows in (encoder.encode_images(draw(encoder, 7)), encoder.encode_texts(TEXTS)):
        assert rows.dtype == np.float32
        assert rows.shape == (7, encoder.identity.embedding_dim)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_nothing_in_nothing_out(encoder):
    assert encoder.encode_images(draw(encoder, 0)).shape == (0, encoder.identity.embedding_dim)
    assert encoder.encode_texts([]).shape == (0, encoder.identity.embedding_dim)


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_the_batch_edge_does_not_change_a_row(encoder, batch):
    pixels = draw(encoder, 33)
    whole = encoder.encode_images(pixels)
    parts = [encoder.encode_images(pixels[start : start + batch]) for start in range(0, 33, batch)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_the_batch_edge_does_not_change_a_text(encoder):
    many = TEXTS * 12  # more than one text batch
    one_by_one = np.concatenate([encoder.encode_texts([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode_texts(many), np.tile(one_by_one, (12, 1)), atol=1e-5)


def test_different_inputs_have_different_embeddings(encoder):
    rows = encoder.encode_texts(["a red dog", "house"])
    assert rows[0] @ rows[1] < 0.99


def test_the_identity_is_stable(encoder):
    again = load_encoder(encoder.location, threads=2)
    assert again.identity == encoder.identity
    assert again.identity.fingerprint == encoder.identity.fingerprint


def test_a_wrong_side_is_refused(encoder):
    side = encoder.identity.preprocessing.size_px + 1
    with pytest.raises(EmbeddingError, match="another size"):
        encoder.encode_images(np.zeros((2, side, side, 3), dtype=np.uint8))
