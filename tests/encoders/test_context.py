"""Learned context against transformers' own text tower and torch's own losses, on tiny towers with random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from clipsieve.encoders import Encoder, load_encoder
from clipsieve.errors import EmbeddingError, UsageError
from model_folders import CONTEXT, END, WIDTH, byte_tokenizer, make_onnx_folder, make_torch_folder, write_json

pytestmark = pytest.mark.torch

KINDS = ["clip", "clip, old end token", "clip, other padding", "siglip", "siglip, no start token"]
NAMES = ["dog", "cat", "hat"]


def learn(*arguments, **options):
    from clipsieve.encoders.context import learn_context

    return learn_context(*arguments, **options)


def make_folder(path: Path, kind: str) -> Path:
    make_torch_folder(path, siglip=kind.startswith("siglip"))
    weights = load_file(path / "model.safetensors")
    save_file(weights | {"logit_scale": np.full_like(weights["logit_scale"], np.log(50))}, path / "model.safetensors")
    config = json.loads((path / "config.json").read_text())
    if "old end" in kind:  # as OpenAI's own folders say it to this day
        config["text_config"]["eos_token_id"] = 2
        write_json(path / "config.json", config)
    if "padding" in kind:  # as LAION's do
        write_json(path / "tokenizer_config.json", {"pad_token": "!"})
    if "no start" in kind:
        from tokenizers import processors

        tokenizer = byte_tokenizer()
        end = (END, tokenizer.token_to_id(END))
        tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[end])
        tokenizer.save(str(path / "tokenizer.json"))
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    path = tmp_path_factory.mktemp("models")
    return {kind: make_folder(path / str(n), kind) for n, kind in enumerate(KINDS)}


@pytest.fixture(params=KINDS)
def any_encoder(request, folders) -> Encoder:
    return load_encoder(str(folders[request.param]), device="cpu", threads=1)


@pytest.fixture
def encoder(folders) -> Encoder:
    return load_encoder(str(folders["clip"]), device="cpu", threads=1)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def one_hot(labels: np.ndarray, k: int) -> np.ndarray:
    return np.eye(k, dtype=bool)[labels]


def noise(n: int, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(n, width)))


def around(centres: np.ndarray, n: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return n rows around each centre, and which centre it was."""
    labels = np.repeat(np.arange(len(centres)), n)
    directions = noise(len(labels), centres.shape[1], seed)
    return unit(centres[labels] + spread * directions), labels


def accuracy(images: np.ndarray, labels: np.ndarray, class_embeddings: np.ndarray) -> float:
    return float(np.mean((images @ class_embeddings.T).argmax(axis=1) == labels))


@pytest.mark.parametrize("class_specific", [False, True])
@pytest.mark.parametrize("names", [NAMES, ["a", "giant", "so-so"]], ids=["alike", "of other lengths"])
@pytest.mark.parametrize("init_text", ["an", "x"])
def test_words_as_the_start_are_the_text_itself(any_encoder, names, init_text, class_specific):
    images, targets = noise(3, any_encoder.identity.embedding_dim), one_hot(np.arange(3), 3)
    made = learn(any_encoder, images, targets, names, init_text=init_text, class_specific=class_specific, epochs=0)
    texts = any_encoder.encode_texts([f"{init_text} {name}." for name in names])
    np.testing.assert_allclose(made.class_embeddings, texts, atol=1e-5)
    assert (made.class_embeddings @ made.class_embeddings.T)[
        np.triu_indices(3, 1)
    ].max() < 0.999  # or the places would not matter
    assert made.context.shape == (3,) * class_specific + (len(init_text), 32)
    assert made.losses == ()


def test_one_step_is_that_of_transformers_own_gradient(folders, encoder):
    import torch
    from transformers import CLIPModel

    images, labels = noise(12), np.arange(12) % 3
    options = {"init_text": "xy", "lr": 0.1, "batch_size": 12}
    made = learn(encoder, images, one_hot(labels, 3), NAMES, epochs=1, **options)

    model = CLIPModel.from_pretrained(folders["clip"]).eval()
    ids = torch.tensor(encoder.folder.tokenizer([f"xy {name}." for name in NAMES])).long()
    features = model.get_text_features(ids).pooler_output
    logits = model.logit_scale.exp() * torch.tensor(images) @ torch.nn.functional.normalize(features).T
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    loss.backward()
    table = model.text_model.embeddings.token_embedding.weight
    start, gradient = table[ids[0, 1:3]], table.grad[ids[0, 1:3]]  # no name holds an x or a y
    expected = start - 0.1 * (gradient + 5e-4 * start)

    assert np.abs(gradient.numpy()).max() > 1e-3
    np.testing.assert_allclose(made.context, expected.detach().numpy(), atol=1e-5)
    assert made.losses == pytest.approx([loss.item()], rel=1e-5)


def first_loss(encoder: Encoder, images: np.ndarray, targets: np.ndarray, **options) -> tuple[float, np.ndarray]:
    """Return the loss before the first step, and the logits that it is of."""
    start = learn(encoder, images, targets, NAMES, n_context=3, epochs=0, **options)
    made = learn(encoder, images, targets, NAMES, n_context=3, epochs=1, batch_size=len(images), **options)
    return made.losses[0], encoder.logit_scale * images @ start.class_embeddings.T


def test_several_allowed_classes_share_their_probability(encoder):
    from scipy.special import logsumexp

    images = noise(6)
    targets = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=bool)
    loss, logits = first_loss(encoder, images, targets)
    expected = logsumexp(logits, axis=1) - logsumexp(logits, axis=1, b=targets)
    assert loss == pytest.approx(expected.mean(), rel=1e-5)


def test_balanced_weights_are_those_of_scikit_learn(encoder):
    import torch
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0] * 9 + [1] * 2 + [2])
    loss, logits = first_loss(encoder, noise(12), one_hot(labels, 3), balanced=True)
    weights = torch.tensor(compute_class_weight("balanced", classes=np.arange(3), y=labels), dtype=torch.float32)
    expected = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels), weight=weights)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert loss != pytest.approx(first_loss(encoder, noise(12), one_hot(labels, 3))[0], rel=1e-3)


def test_the_learning_rate_is_annealed_as_torch_does_it():
    import torch

    from clipsieve.encoders.context import _Schedule

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.002)
    annealed = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        annealed.step()
    ours = [_Schedule(50, 0.002, 32).rate(epoch) for epoch in range(50)]
    assert ours[0] == 1e-5
    assert ours[1:] == pytest.approx(rates[1:])
    assert _Schedule(1, 0.002, 32).rate(0) == 0.002


@pytest.mark.parametrize("class_specific", [False, True])
def test_training_separates_what_words_did_not(any_encoder, class_specific):
    centres = any_encoder.encode_texts([f"qu {name}." for name in NAMES])
    images, labels = around(centres, 12, 0.2)
    unseen, their_labels = around(centres, 12, 0.2, seed=1)
    options = {"init_text": "no", "class_specific": class_specific}
    start = learn(any_encoder, images, one_hot(labels, 3), NAMES, epochs=0, **options)
    made = learn(any_encoder, images, one_hot(labels, 3), NAMES, epochs=60, lr=1.0, **options)
    before, after = (accuracy(unseen, their_labels, found.class_embeddings) for found in (start, made))
    assert made.losses[-1] < 0.8 * made.losses[0]
    assert after > 0.8
    assert after > before + 0.1
    np.testing.assert_allclose(np.linalg.norm(made.class_embeddings, axis=1), 1, atol=1e-5)


def test_the_towers_stay_as_they_are(any_encoder):
    texts = any_encoder.encode_texts(["a red dog"])  # which also loads the weights without recording
    before = {name: tensor.clone() for name, tensor in any_encoder.model.state_dict().items()}
    images = noise(9, any_encoder.identity.embedding_dim)
    learn(any_encoder, images, one_hot(np.arange(9) % 3, 3), NAMES, n_context=2, epochs=3, lr=1.0)
    after = any_encoder.model.state_dict()
    assert before.keys() == after.keys()
    assert all(bool((tensor == after[name]).all()) for name, tensor in before.items())
    assert all(weight.grad is None and not weight.requires_grad for weight in any_encoder.model.parameters())
    np.testing.assert_array_equal(any_encoder.encode_texts(["a red dog"]), texts)


@pytest.mark.parametrize("init_text", [None, "an"])
def test_a_seed_decides_everything(encoder, init_text):
    images, targets = noise(30), one_hot(np.arange(30) % 3, 3)
    options = {"n_context": 3, "init_text": init_text, "epochs": 4, "lr": 0.05, "batch_size": 7}
    first, again, other = (learn(encoder, images, targets, NAMES, seed=seed, **options) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.context, again.context)
    np.testing.assert_array_equal(first.class_embeddings, again.class_embeddings)
    assert first.losses == again.losses
    assert np.abs(first.context - other.context).max() > 1e-4


def test_a_random_start_is_small_and_classes_part_if_they_may(encoder):
    images, targets = noise(9), one_hot(np.arange(9) % 3, 3)
    start = learn(encoder, images, targets, NAMES, n_context=4, class_specific=True, epochs=0)
    assert start.context.shape == (3, 4, 32)
    assert start.context.std() == pytest.approx(0.02, rel=0.15)
    worded = learn(encoder, images, targets, NAMES, init_text="an", class_specific=True, epochs=2, lr=0.1)
    assert np.abs(worded.context[0] - worded.context[1]).max() > 1e-3


def test_provenance_is_json_and_says_all(encoder):
    images, targets = noise(8), one_hot(np.arange(8) % 2, 2)
    made = learn(encoder, images, targets, ["dog", "cat"], init_text="an", epochs=2, seed=3)
    facts = json.loads(json.dumps(made.provenance))
    assert facts == made.provenance
    assert (facts["method"], facts["n_context"], facts["init_text"], facts["seed"]) == ("context", 2, "an", 3)
    assert (facts["epochs"], facts["lr"], facts["final_loss"]) == (2, 0.002, made.losses[-1])
    assert made.class_embeddings.dtype == made.context.dtype == np.float32


@pytest.mark.parametrize(("kind", "n_framed"), [("clip", 2), ("clip, other padding", 2), ("siglip, no start token", 1)])
def test_what_does_not_fit_into_the_window_is_refused(folders, kind, n_framed):
    most = CONTEXT - n_framed - len(" cat.")
    with load_encoder(str(folders[kind]), device="cpu", threads=1) as encoder:
        images, targets = noise(2, encoder.identity.embedding_dim), one_hot(np.arange(2), 2)
        made = learn(encoder, images, targets, ["cat", "a"], n_context=most, epochs=1)
        assert made.context.shape == (most, 32)
        with pytest.raises(UsageError, match="the class `cat` does not fit") as caught:
            learn(encoder, images, targets, ["a", "cat"], n_context=most + 1)
        assert (caught.value.expected, caught.value.found) == ("at most 12 tokens in all", "13 or more")
        with pytest.raises(UsageError, match="does not fit"):
            learn(encoder, images, targets, ["a", "c" * 100], n_context=4)
        with pytest.raises(UsageError, match="does not fit"):
            learn(encoder, images, targets, ["cat", "a"], init_text="a photo of a")


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"class_names": ["dog"]}, UsageError, "two or more distinct"),
        ({"class_names": ["dog", "dog", "cat"]}, UsageError, "two or more distinct"),
        ({"class_names": ["dog", "cat"]}, UsageError, "a flag for each class"),
        ({"image_embeddings": noise(0), "targets": np.zeros((0, 3), dtype=bool)}, UsageError, "must be an image"),
        ({"image_embeddings": 2 * noise(4)}, EmbeddingError, "unit norm"),
        ({"image_embeddings": np.full((4, WIDTH), np.nan, dtype=np.float32)}, EmbeddingError, "unit norm"),
        ({"image_embeddings": noise(4, WIDTH + 1)}, EmbeddingError, "wide|width"),
        ({"targets": np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=bool)}, UsageError, "row 1 "),
        ({"targets": np.array([[1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1]], dtype=bool)}, UsageError, "row 2 "),
        ({"n_context": 0}, UsageError, "options"),
        ({"epochs": -1}, UsageError, "options"),
        ({"lr": 0.0}, UsageError, "options"),
        ({"lr": float("nan")}, UsageError, "options"),
        ({"batch_size": 0}, UsageError, "options"),
        ({"init_text": ""}, UsageError, "without words"),
        ({"lr": 1e38, "epochs": 2, "n_context": 2}, UsageError, "no longer finite"),
    ],
)
def test_senseless_input_is_refused(encoder, change, error, match):
    options = {"image_embeddings": noise(4), "targets": one_hot(np.array([0, 1, 2, 0]), 3), "class_names": NAMES}
    with pytest.raises(error, match=match) as caught:
        learn(encoder, **options | change)
    assert caught.value.found or caught.value.hint


def test_an_encoder_without_a_tower_to_learn_through_is_refused(tmp_path, encoder):
    images, targets = noise(2), one_hot(np.arange(2), 2)
    with load_encoder(str(make_onnx_folder(tmp_path / "onnx"))) as other, pytest.raises(UsageError) as caught:
        learn(other, images, targets, ["dog", "cat"])
    assert caught.value.found == "OnnxEncoder"
    assert "torch backend" in caught.value.expected
    encoder.model.half()
    with pytest.raises(UsageError) as caught:
        learn(encoder, images, targets, ["dog", "cat"])
    assert caught.value.found == "float16"
