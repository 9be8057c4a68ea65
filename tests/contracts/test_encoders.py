"""What any encoder must do, held over every kind of graph, the embedded model, and torch."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clipsieve.encoders import Encoder, load_encoder
from clipsieve.errors import EmbeddingError
from model_folders import KINDS, make_onnx_folder, make_torch_folder

TEXTS = [
    "a red dog",
    "a cat",
    "",
    "house house house house",
    "a" * 10_000,
    "\U0001f600\U0001f468\u200d\U0001f469",
    "犬と猫",
]
TORCH = pytest.param("torch", marks=pytest.mark.torch)


def make(kind: str, path: Path, **options: object) -> str:
    if kind == "pictogram":
        return kind
    maker = make_torch_folder if kind == "torch" else lambda path, **options: make_onnx_folder(path, kind, **options)
    return str(maker(path, **options))


@pytest.fixture(params=[*KINDS, "pictogram", TORCH])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def encoder(kind: str, tmp_path: Path) -> Iterator[Encoder]:
    with load_encoder(make(kind, tmp_path / "model"), threads=1) as loaded:
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
    for rows in (encoder.encode_images(draw(encoder, 0)), encoder.encode_texts([])):
        assert rows.dtype == np.float32
        assert rows.shape == (0, encoder.identity.embedding_dim)


@pytest.mark.parametrize("batch", [1, 3, 7, 32])
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
    for rows in (encoder.encode_texts(["a red dog", "house"]), encoder.encode_images(draw(encoder, 2))):
        assert rows[0] @ rows[1] < 0.99


def test_views_and_slices_are_encoded_as_their_copies(encoder):
    pixels = draw(encoder, 6)
    np.testing.assert_array_equal(
        encoder.encode_images(pixels[::2, ::-1]), encoder.encode_images(pixels[::2, ::-1].copy())
    )
    frozen = draw(encoder, 2)
    frozen.setflags(write=False)
    assert encoder.encode_images(frozen).shape[0] == 2


@pytest.mark.parametrize(
    "text",
    [
        "\udcff\ud800",
        "\x00",
        "\r\n\t",
        " ",
        "\ufeff",
        "\U0010ffff",
        "e\u0301" * 50,
        "שלום עולם",
        "&lt;b&gt;",
        "<|endoftext|>",
    ],
    ids=ascii,
)
def test_no_text_is_too_odd(encoder, text):
    rows = encoder.encode_texts([text, "dog"])
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(encoder.encode_texts(["dog"])[0], rows[1], atol=1e-5)


def test_a_text_is_cut_where_the_context_ends(encoder):
    rows = encoder.encode_texts(["word " * 2_000, "word " * 2_001, "word"])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)
    assert rows[0] @ rows[2] < 0.999


def test_the_identity_is_stable(encoder):
    again = load_encoder(encoder.location, threads=2)
    assert again.identity == encoder.identity
    assert again.identity.fingerprint == encoder.identity.fingerprint
    assert again.location == encoder.location
    assert again.logit_scale == encoder.logit_scale > 1


@pytest.mark.parametrize("kind", [*KINDS, TORCH])
def test_other_weights_are_another_encoder(kind, tmp_path):
    one, other = (load_encoder(make(kind, tmp_path / str(seed), seed=seed)).identity for seed in (0, 1))
    assert one.weights_sha256 != other.weights_sha256
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize("kind", [*KINDS, TORCH])
def test_the_name_and_the_place_do_not_count(kind, tmp_path):
    make(kind, tmp_path / "one")
    before = load_encoder(str(tmp_path / "one")).identity
    (tmp_path / "one").rename(tmp_path / "two")
    after = load_encoder(str(tmp_path / "two")).identity
    assert (before.name, after.name) == ("one", "two")
    assert before.fingerprint == after.fingerprint


def test_a_wrong_side_is_refused(encoder):
    side = encoder.identity.preprocessing.size_px + 1
    with pytest.raises(EmbeddingError, match="another size"):
        encoder.encode_images(np.zeros((2, side, side, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_without_a_direction_is_a_row_of_nan_and_its_neighbours_are_not(kind, tmp_path):
    with load_encoder(make(kind, tmp_path / "model", mean=(0.0, 0.0, 0.0)), threads=1) as encoder:
        pixels = draw(encoder, 3)
        before = encoder.encode_images(pixels)
        pixels[1] = 0
        rows = encoder.encode_images(pixels)
    assert np.isnan(rows[1]).all()
    np.testing.assert_allclose(rows[[0, 2]], before[[0, 2]], atol=1e-5)


def test_an_encoder_can_be_used_again_after_it_was_closed(encoder):
    before = encoder.encode_images(draw(encoder, 2))
    encoder.close()
    np.testing.assert_allclose(encoder.encode_images(draw(encoder, 2)), before, atol=1e-6)
