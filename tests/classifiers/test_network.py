"""Feed-forward heads give the published numbers, whatever the batch, and refuse parts that do not fit."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, log_softmax

from clipsieve.classifiers.network import CHUNK, Layer, Network
from clipsieve.classifiers.similarity import normalize
from clipsieve.errors import EmbeddingError, UsageError

rng = np.random.default_rng(0)
ONE = {"class_names": ("safe", "unsafe"), "unwanted": (False, True), "encoder_name": "x"}


def layer(n_out, n_in, activation="relu"):
    weight, bias = rng.normal(size=(n_out, n_in)) / np.sqrt(n_in) * 2, rng.normal(size=n_out)
    return Layer(weight.astype(np.float32), bias.astype(np.float32), activation)


def network(*widths, output="sigmoid", **fields):
    ends = ["relu"] * (len(widths) - 2) + [output]
    layers = tuple(layer(o, i, end) for i, o, end in zip(widths, widths[1:], ends, strict=False))
    return Network(layers=layers, **{**ONE, **fields})


def embeddings(n, d=12, seed=1):
    return normalize(np.random.default_rng(seed).normal(size=(n, d)))


def by_hand(head, rows):
    rows = rows.astype(np.float64)
    if head.input_mean is not None:
        rows = (rows - head.input_mean) / head.input_scale
    for each in head.layers:
        rows = np.einsum("oi,ni->no", each.weight.astype(np.float64), rows) + each.bias
        if each.activation == "relu":
            rows = np.where(rows > 0, rows, 0)
    return rows


def test_one_output_with_a_sigmoid_gives_the_published_probability():
    head = network(12, 8, 5, 1)
    rows = embeddings(50)
    logits = head.logits(rows)
    assert logits.dtype == np.float32
    assert (logits[:, 0] == 0).all()
    np.testing.assert_allclose(logits[:, 1], by_hand(head, rows)[:, 0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(head.predict_proba(rows)[:, 1], expit(by_hand(head, rows)[:, 0]), atol=1e-6)


def test_several_outputs_with_a_softmax_give_the_published_probabilities():
    head = network(12, 6, 3, output="softmax", class_names=("a", "b", "c"), unwanted=(True, False, True))
    rows = embeddings(20)
    exact = np.exp(log_softmax(by_hand(head, rows), axis=1))
    np.testing.assert_allclose(head.predict_proba(rows)[:, 1], exact[:, [0, 2]].sum(axis=1), atol=1e-6)


def test_a_low_score_is_unwanted_with_even_odds_at_the_midpoint():
    head = Network(layers=(Layer(np.eye(1, 12, dtype=np.float32) * 3, np.array([5], np.float32), "linear"),), **ONE)
    logits = head.logits(np.vstack([np.eye(12)[0], -np.eye(12)[0], np.eye(12)[1]]).astype(np.float32))
    assert logits.tolist() == [[0, -3], [0, 3], [0, 0]]
    assert replace(head, score_midpoint=8.0).logits(np.eye(1, 12, dtype=np.float32)).tolist() == [[0, 0]]


def test_the_input_is_normalized_element_by_element():
    mean, scale = rng.normal(size=12).astype(np.float32), rng.uniform(0.1, 3, 12).astype(np.float32)
    head = network(12, 4, 1, input_mean=mean, input_scale=scale)
    rows = embeddings(9)
    np.testing.assert_allclose(head.logits(rows)[:, 1], by_hand(head, rows)[:, 0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 2, 7, CHUNK + 1])
def test_a_row_does_not_depend_on_its_batch(n):
    head = network(12, 16, 1, input_mean=np.zeros(12, np.float32), input_scale=np.full(12, 0.01, np.float32))
    rows = embeddings(n)
    together = head.logits(rows)
    assert together.shape == (n, 2)
    assert head.predict_proba(rows).shape == (n, 2)
    for i in {0, n // 2, n - 1} if n else ():
        np.testing.assert_allclose(head.logits(rows[i : i + 1])[0], together[i], atol=1e-5)


def test_weights_that_are_huge_give_probabilities_still():
    big = Layer(np.full((3, 12), 1e9, np.float32), np.zeros(3, np.float32), "relu")
    last = Layer(np.full((1, 3), -1e9, np.float32), np.zeros(1, np.float32), "sigmoid")
    middle = tuple(Layer(np.full((3, 3), 1e9, np.float32), np.zeros(3, np.float32), "relu") for _ in range(14))
    head = Network(
        layers=(big, *middle, last),
        input_mean=np.full(12, -1e9, np.float32),
        input_scale=np.full(12, 1e-12, np.float32),
        **ONE,
    )
    assert head.predict_proba(embeddings(2)).tolist() == [[1, 0], [1, 0]]


def test_embeddings_of_another_width_or_norm_are_refused():
    head = network(12, 1)
    with pytest.raises(EmbeddingError, match="another width"):
        head.logits(embeddings(2, d=11))
    with pytest.raises(EmbeddingError, match="row 1"):
        head.logits(embeddings(2) * np.array([[1], [2]], np.float32))


def test_what_it_is_made_of_makes_the_same_again():
    head = network(
        12,
        6,
        1,
        input_mean=np.ones(12, np.float32),
        input_scale=np.ones(12, np.float32),
        threshold=0.3,
        remove_threshold=0.9,
        score_midpoint=6.0,
        provenance={"a": 1},
    )
    common = {
        **{
            name: getattr(head, name) for name in ("encoder_name", "encoder_weights_sha256", "logit_scale", "threshold")
        },
        "class_names": ["safe", "unsafe"],
        "unwanted": [False, True],
        "remove_threshold": 0.9,
        "provenance": {"a": 1},
    }
    again = Network.from_parts(head.arrays(), json.loads(json.dumps(head.parameters())), common)
    rows = embeddings(5)
    assert again.logits(rows).tobytes() == head.logits(rows).tobytes()
    assert again.method == "network"
    assert again.embedding_dim == 12
    assert (again.class_names, again.unwanted) == (head.class_names, head.unwanted)
    assert (again.threshold, again.remove_threshold, again.score_midpoint) == (0.3, 0.9, 6.0)
    assert again.calibration is None


def parts():
    head = network(12, 6, 1, input_mean=np.ones(12, np.float32), input_scale=np.ones(12, np.float32))
    return head.arrays(), head.parameters()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda a, p: a.pop("layer0.bias"),
        lambda a, p: a.pop("input_scale"),
        lambda a, p: a.update(other=np.zeros(1, np.float32)),
        lambda a, p: a.update({"layer0.weight": np.zeros((6, 11), np.float32)}),
        lambda a, p: a.update({"layer0.weight": np.zeros((6, 12), np.float64)}),
        lambda a, p: a.update({"layer0.weight": np.zeros(72, np.float32)}),
        lambda a, p: a.update({"layer0.weight": np.full((6, 12), np.nan, np.float32)}),
        lambda a, p: a.update({"layer0.weight": np.full((6, 12), np.inf, np.float32)}),
        lambda a, p: a.update({"layer0.weight": np.full((6, 12), 2e9, np.float32)}),
        lambda a, p: a.update({"layer0.weight": np.zeros((6, 0), np.float32)}),
        lambda a, p: a.update({"layer0.bias": np.zeros(5, np.float32)}),
        lambda a, p: a.update({"layer1.weight": np.zeros((1, 5), np.float32)}),
        lambda a, p: a.update({"layer1.weight": np.zeros((2, 6), np.float32), "layer1.bias": np.zeros(2, np.float32)}),
        lambda a, p: a.update(input_scale=np.zeros(12, np.float32)),
        lambda a, p: a.update(input_scale=np.full(12, -1, np.float32)),
        lambda a, p: a.update(input_scale=np.full(12, np.nan, np.float32)),
        lambda a, p: a.update(input_mean=np.zeros(11, np.float32)),
        lambda a, p: p.update(activations=["relu"]),
        lambda a, p: p.update(activations=["sigmoid", "sigmoid"]),
        lambda a, p: p.update(activations=["relu", "relu"]),
        lambda a, p: p.update(activations=["relu", "softmax"]),
        lambda a, p: p.update(activations=["tanh", "sigmoid"]),
        lambda a, p: p.update(activations=[1, 2]),
        lambda a, p: p.update(activations="relu"),
        lambda a, p: p.update(activations=[]),
        lambda a, p: p.pop("activations"),
        lambda a, p: p.update(score_midpoint="5"),
        lambda a, p: p.update(score_midpoint=True),
        lambda a, p: p.update(score_midpoint=float("nan")),
        lambda a, p: p.update(other=1),
    ],
)
def test_parts_that_do_not_fit_are_refused(spoil):
    arrays, parameters = parts()
    Network.from_parts(arrays, parameters, ONE)
    spoil(arrays, parameters)
    with pytest.raises(UsageError):
        Network.from_parts(arrays, parameters, ONE)


@pytest.mark.parametrize(
    "fields",
    [
        {"class_names": ("a",), "unwanted": (True,)},
        {"class_names": ("a", "a")},
        {"class_names": ("a", "b", "c"), "unwanted": (False, True, True)},
        {"unwanted": (True, False)},
        {"unwanted": (True, True)},
        {"unwanted": (False, True, True)},
        {"threshold": 1.1},
        {"threshold": float("nan")},
        {"remove_threshold": -0.1},
        {"logit_scale": 100.0},
    ],
)
def test_fields_that_do_not_fit_are_refused(fields):
    with pytest.raises(UsageError):
        Network.from_parts(*parts(), ONE | fields)


@pytest.mark.parametrize("common", [{}, ONE | {"layers": ()}, ONE | {"colour": "red"}])
def test_fields_that_are_missing_or_unknown_are_refused(common):
    with pytest.raises(ValueError, match="other fields"):
        Network.from_parts(*parts(), common)


def test_there_are_1_to_16_layers():
    with pytest.raises(UsageError, match="1 to 16"):
        network(*[3] * 17, 1)
    with pytest.raises(UsageError, match="1 to 16"):
        Network(layers=(), **ONE)


@pytest.mark.torch
def test_a_network_of_torch_gives_the_same():
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(12, 9), torch.nn.ReLU(), torch.nn.Linear(9, 1))
    layers = tuple(
        Layer(module[n].weight.detach().numpy(), module[n].bias.detach().numpy(), end)
        for n, end in ((0, "relu"), (2, "sigmoid"))
    )
    rows = embeddings(30)
    exact = torch.sigmoid(module(torch.from_numpy(rows))).detach().numpy()[:, 0]
    np.testing.assert_allclose(Network(layers=layers, **ONE).predict_proba(rows)[:, 1], exact, atol=1e-6)
