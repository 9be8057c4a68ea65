"""What any encoder must do, held over every kind of graph, the embedded model, every runtime, and torch."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from clipsieve.encoders import Encoder, load_encoder
from clipsieve.errors import EmbeddingError, UsageError
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
OPENVINO = {
    "float, OpenVINO": {"backend": "openvino"},
    "uint8, OpenVINO": {"backend": "openvino"},
    "float, in bf16 by OpenVINO": {"precision": "bf16"},
    "float, OpenVINO, batches of 4": {"backend": "openvino"},
}


def make(kind: str, path: Path, **options: object) -> str:
    if kind == "pictogram":
        return kind
    maker = make_torch_folder if kind == "torch" else lambda path, **options: make_onnx_folder(path, kind, **options)
    return str(maker(path, **options))


def load(kind: str, model: str, threads: int = 1) -> Encoder:
    if kind in OPENVINO:
        pytest.importorskip("openvino")
    try:
        return load_encoder(model, threads=threads, **OPENVINO.get(kind, {}))
    except UsageError as error:
        if "instructions for bf16" in error.what:
            pytest.skip(error.what)
        raise


@pytest.fixture(params=[*KINDS, "pictogram", *OPENVINO, TORCH])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def encoder(kind: str, tmp_path: Path) -> Iterator[Encoder]:
    with load(kind, make(kind, tmp_path / "model")) as loaded:
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


def test_the_identity_is_stable(encoder, kind):
    again = load(kind, encoder.location, threads=2)
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


@pytest.mark.parametrize("kind", [*KINDS, *OPENVINO])
def test_an_image_without_a_direction_is_a_row_of_nan_and_its_neighbours_are_not(kind, tmp_path):
    with load(kind, make(kind, tmp_path / "model", mean=(0.0, 0.0, 0.0))) as encoder:
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


@pytest.fixture
def parallel(kind: str, tmp_path: Path) -> Iterator[Encoder]:
    """Give an encoder that is called by three threads at once, if it is of that kind; more threads than cores do no harm."""
    with load(kind, make(kind, tmp_path / "parallel"), threads=3) as loaded:
        yield loaded


def at_once(encoder: Encoder, batches: list[np.ndarray]) -> list[np.ndarray]:
    """Encode batches in as many threads, all of which begin together."""
    together = Barrier(len(batches))

    def encode(pixels: np.ndarray) -> np.ndarray:
        together.wait(timeout=10)
        return encoder.encode_images(pixels)

    with ThreadPoolExecutor(len(batches)) as threads:
        return list(threads.map(encode, batches))


def test_calls_at_once_give_exactly_what_one_gives(encoder, parallel):
    assert encoder.n_parallel == 1
    for n in (1, 4, 20):  # the first calls of all load the graph, the last are of more than one batch
        batches = np.split(draw(encoder, 3 * n), 3)
        alone = [encoder.encode_images(batch) for batch in batches]
        for one, other in zip(at_once(parallel, batches), alone, strict=True):
            np.testing.assert_array_equal(one, other)


def test_more_calls_at_once_than_cores_are_answered(parallel):
    batches = np.split(draw(parallel, 12), 12)
    for one, batch in zip(at_once(parallel, batches), batches, strict=True):
        np.testing.assert_array_equal(one, parallel.encode_images(batch))


def test_a_long_call_is_the_same_as_its_batches(parallel):
    pixels = draw(parallel, 3 * parallel.best_batch_size + 1)
    whole = parallel.encode_images(pixels)
    steps = range(0, len(pixels), parallel.best_batch_size)
    parts = [parallel.encode_images(pixels[start : start + parallel.best_batch_size]) for start in steps]
    np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-5)


def test_closed_while_idle_and_used_again_by_threads(parallel):
    batches = np.split(draw(parallel, 6), 3)
    before = at_once(parallel, batches)
    for _ in range(2):
        parallel.close()
        parallel.close()
        np.testing.assert_array_equal(np.concatenate(at_once(parallel, batches)), np.concatenate(before))
