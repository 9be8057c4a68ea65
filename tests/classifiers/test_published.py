"""Published heads are told apart by their content, and give the numbers of the networks that they were."""

import contextlib
import io
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.classifiers.published import read_head
from clipsieve.classifiers.similarity import normalize
from clipsieve.errors import ClassifierFileError, UnsafeFileError, UsageError
from tf_bundles import VALUE, keras_by_hand, keras_variables, saved_model

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute


def embeddings(n=40, d=12):
    return normalize(np.random.default_rng(1).normal(size=(n, d)))


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="head.bin"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write_file


def saved(value):
    import torch

    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def refused(path, kind="auto", error=ClassifierFileError, **options):
    with pytest.raises(error) as caught:
        read_head(path, kind=kind, encoder_name="x", **options)
    assert len(str(caught.value)) < 1500
    return caught.value


@pytest.mark.torch
@pytest.mark.parametrize("widths", [(12, 6, 16, 8, 1), (12, 5, 5, 1)])
def test_laions_own_conversion_to_torch_gives_the_same(write, widths):
    import torch

    variables = keras_variables(widths)
    variables["layer_with_weights-0/variance" + VALUE][3] = 0.5
    of = {name.removesuffix(VALUE): torch.from_numpy(np.array(v)) for name, v in variables.items()}
    state = OrderedDict({f"norm.{part}": of[f"layer_with_weights-0/{part}"] for part in ("mean", "variance")})
    for n in range(1, len(widths)):
        state[f"linear_{n}.weight"] = of[f"layer_with_weights-{n}/kernel"].T
        state[f"linear_{n}.bias"] = of[f"layer_with_weights-{n}/bias"]
    head = read_head(write(saved(state)), encoder_name="x")
    assert head.provenance["kind"] == "laion-nsfw"
    np.testing.assert_allclose(
        head.predict_proba(embeddings())[:, 1], keras_by_hand(variables, embeddings()), atol=1e-6
    )
    for change in ({"linear_9.weight": torch.zeros(1, 1)}, {"extra": torch.zeros(1)}, {"norm.mean": torch.zeros(3)}):
        refused(write(saved(state | change)))


@pytest.mark.torch
@pytest.mark.parametrize("prefix", ["", "linear."])
@pytest.mark.parametrize("half", [False, True])
def test_the_aesthetic_score_is_that_of_torch(write, prefix, half):
    import torch

    torch.manual_seed(0)
    linear = torch.nn.Linear(12, 1)
    linear = linear.half() if half else linear
    head = read_head(write(saved({prefix + name: v for name, v in linear.state_dict().items()})), encoder_name="x")
    rows = embeddings()
    scores = linear.float()(torch.from_numpy(rows)).detach().numpy()[:, 0]
    logits = head.logits(rows)
    np.testing.assert_allclose(5 - logits[:, 1], scores, atol=1e-5)
    assert (logits[:, 0] == 0).all()
    flagged = head.predict_proba(rows)[:, 1] >= head.threshold
    assert (flagged == (scores <= 5)).all()
    assert "not a probability" in head.provenance["score"]


def unsafe_diffusion(d=12, hidden=6):
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(d, hidden),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.5),
        torch.nn.BatchNorm1d(hidden),
        torch.nn.Linear(hidden, 1),
    )
    for _ in range(20):
        module(torch.randn(64, d) * 3)
    torch.nn.init.normal_(module[3].weight)
    torch.nn.init.normal_(module[3].bias)
    return module.eval()


@pytest.mark.torch
@pytest.mark.parametrize("name", ["violent.pt", "violent_head.pt"])
def test_unsafe_diffusions_heads_give_torchs_probabilities_at_the_norm_given(write, name):
    import torch

    module = unsafe_diffusion()
    head = read_head(write(saved(module.state_dict()), name), encoder_name="x", embedding_norm=10.5)
    rows = embeddings()
    exact = torch.sigmoid(module(torch.from_numpy(rows) * 10.5)).detach().numpy()[:, 0]
    np.testing.assert_allclose(head.predict_proba(rows)[:, 1], exact, atol=1e-6)
    assert head.provenance["category"] == "violent"
    assert head.provenance["embedding_norm"] == 10.5
    assert "approximation" in head.provenance["note"]


@pytest.mark.torch
def test_unsafe_diffusions_heads_are_refused_without_a_norm(write):
    path = write(saved(unsafe_diffusion().state_dict()))
    for kind in ("auto", "unsafe-diffusion"):
        error = refused(path, kind)
        assert "not unit norm" in error.what
        assert "embedding norm" in error.hint
    for norm in (0, -1.0, float("nan"), float("inf")):
        refused(path, error=UsageError, embedding_norm=norm)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "shape"),
    [("3.weight", (5,)), ("3.running_mean", (1,)), ("3.bias", ()), ("0.bias", (5,)), ("0.weight", (5, 12)), ("4.weight", (1, 5)),
     ("4.weight", (2, 6)), ("4.bias", (2,)), ("4.bias", ()), ("3.running_var", None), ("extra", (1,))],
)  # fmt: skip
def test_unsafe_diffusions_layers_must_fit(write, name, shape):
    import torch

    state = unsafe_diffusion().state_dict()
    state[name] = torch.full((6,), -1.0) if shape is None else torch.zeros(shape)
    refused(write(saved(state)), embedding_norm=1.0)


@pytest.mark.torch
def test_tensors_of_another_model_are_refused(write):
    import torch

    assert "other names" in refused(write(saved({"a": torch.zeros(1), "b": torch.zeros(1)}))).found
    for weight, bias in [((2, 12), (2,)), ((12,), (1,)), ((1, 12), (2,)), ((1, 0), (1,)), ((1, 12), ())]:
        refused(write(saved({"weight": torch.zeros(weight), "bias": torch.zeros(bias)})))
    refused(write(saved({"weight": torch.zeros((1, 12), dtype=torch.int64), "bias": torch.zeros(1)})))
    refused(write(saved({"weight": torch.full((1, 12), torch.inf), "bias": torch.zeros(1)})))
    refused(write(saved({"weight": torch.full((1, 12), 1e300, dtype=torch.float64), "bias": torch.zeros(1)})))
    linear = write(saved(torch.nn.Linear(12, 1).state_dict()))
    assert refused(linear, "laion-nsfw").found == "a head of the kind aesthetic"
    assert refused(linear, "q16", UnsafeFileError)


# All


def test_q16_is_read_as_before(write):
    path = write(pickle.dumps(np.eye(2, 5), protocol=3))
    for kind in ("auto", "q16"):
        head = read_head(path, kind=kind, encoder_name="x")
        assert (head.method, head.threshold, head.embedding_dim) == ("soft-prompts", 0.9, 5)
    for kind in ("laion-nsfw", "aesthetic", "unsafe-diffusion"):
        assert refused(path, kind)


def test_an_unknown_kind_and_a_norm_without_need_are_refused(write):
    path = write(saved_model(keras_variables()))
    assert "unknown kind" in refused(path, "nudity", UsageError).what
    assert "unit-norm" in refused(path, error=UsageError, embedding_norm=1.0).what
    assert refused(write(pickle.dumps(np.eye(2, 5))), error=UsageError, embedding_norm=1.0)
    assert "laion-nsfw" in refused(write(saved_model(keras_variables())), "aesthetic").found


class Runs:
    def __reduce__(self):
        return (exec, ("open('canary', 'w').close()",))


def test_files_that_would_run_something_do_not(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({"weight": Runs()}, 2))
    for content in (pickle.dumps(Runs()), file.getvalue()):
        for kind in ("auto", "q16"):
            refused(write(content), kind, UnsafeFileError)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["missing.zip", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    assert "cannot read" in refused(tmp_path / name).what


@pytest.mark.slow
def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path):
    with (tmp_path / "head.zip").open("wb") as file:
        file.truncate(2**40)
    assert "too large" in refused(tmp_path / "head.zip").what


SEED = saved_model(keras_variables((12, 2, 1)))


@pytest.mark.slow
@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.integers(0, 255)), min_size=1, max_size=5),
    st.integers(0, len(SEED)),
    st.binary(max_size=50),
)
def test_any_file_is_a_head_or_refused(tmp_path_factory, changes, n, anything):
    changed = bytearray(SEED)
    for position, value in changes:
        changed[position] = value
    path = tmp_path_factory.getbasetemp() / "fuzzed.zip"
    for content in (bytes(changed), SEED[:n], anything, b"PK\x03\x04" + anything):
        path.write_bytes(content)
        with contextlib.suppress(ClassifierFileError):
            assert read_head(path, encoder_name="x").embedding_dim >= 1
