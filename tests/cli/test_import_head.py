"""`clipsieve import-head` as a person types it, on small files in the forms of the published ones."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from scipy.special import expit

from clipsieve.classifiers import load_classifier
from clipsieve.classifiers.published import KINDS as READABLE
from clipsieve.classifiers.similarity import normalize
from clipsieve.cli.entry import run
from clipsieve.cli.import_head import CAVEATS, KINDS
from clipsieve.store import Run, RunManifest, image_table
from clipsieve.types import EmbeddedImage, EncoderIdentity, FileFacts, ImageRef, Preprocessing
from tf_bundles import keras_by_hand, keras_variables, saved_model
from torch_files import archive, tensor, text

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

L14 = "ViT-L-14__openai"
VARIABLES = keras_variables((12, 6, 16, 8, 1))
rng = np.random.default_rng(0)


def checkpoint(**arrays):
    """Return a file in torch's form that holds these arrays; `_` in a name stands for a dot."""
    items, storages = b"", []
    for name, values in arrays.items():
        stride = tuple(step // 4 for step in values.strides)
        items += text(name.replace("_", ".", 1))
        items += tensor(size=values.shape, stride=stride, n=values.size, key=str(len(storages)))
        storages.append(values.astype("<f4").tobytes())
    return archive(b"\x80\x02}(" + items + b"u.", storages)


def normal(*shape):
    return rng.normal(size=shape).astype(np.float32)


LINEAR = {"weight": normal(1, 12), "bias": normal(1)}
HEAD = {
    "0_weight": normal(6, 12),
    "0_bias": normal(6),
    "3_weight": normal(6),
    "3_bias": normal(6),
    "3_running_mean": normal(6),
    "3_running_var": np.abs(normal(6)),
    "4_weight": normal(1, 6),
    "4_bias": normal(1),
}
FILES = {
    "prompts.p": pickle.dumps(normal(2, 12), 3),
    "nsfw.zip": saved_model(VARIABLES),
    "linear.pth": checkpoint(**LINEAR),
    "violent.pt": checkpoint(**HEAD),
}


@pytest.fixture
def type_in(tmp_path, monkeypatch, capsys):
    """Return a function that types a command in a folder with the files, and gives its status, stdout and stderr."""
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def typed(*args):
        status = run(args)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return typed


def import_head(type_in, file, *options, status=0, model=L14):
    found, out, err = type_in("import-head", file, "head.safetensors", "-m", model, *options)
    assert found == status, err
    return out, err


@pytest.mark.parametrize(
    ("file", "options", "said"),
    [
        ("prompts.p", (), "2 soft prompts of width 12"),
        ("nsfw.zip", (), "laion-nsfw, 4 layers, width 12"),
        ("linear.pth", (), "aesthetic, 1 layer, width 12"),
        ("violent.pt", ("--embedding-norm", "10"), "unsafe-diffusion, 2 layers, width 12"),
    ],
)
def test_every_kind_is_told_by_its_content_and_by_its_name(type_in, tmp_path, file, options, said):
    out, _ = import_head(type_in, file, *options)
    assert out == f"wrote head.safetensors: {said} for {L14}\n"
    content = (tmp_path / "head.safetensors").read_bytes()
    kind = {"prompts.p": "q16", "nsfw.zip": "laion-nsfw", "linear.pth": "aesthetic"}.get(file, "unsafe-diffusion")
    assert import_head(type_in, file, *options, "--kind", kind)[0] == out
    assert (tmp_path / "head.safetensors").read_bytes() == content
    for other in set(KINDS) - {"auto", kind}:
        _, err = import_head(type_in, file, "--kind", other, status=1)
        assert err.startswith(f"error: `{file}` ")


@pytest.mark.parametrize(
    ("file", "options", "facts"),
    [
        ("prompts.p", (), {"kind": "q16", "layers": None}),
        ("nsfw.zip", (), {"kind": "laion-nsfw", "layers": 4}),
        ("linear.pth", (), {"kind": "aesthetic", "layers": 1}),
        ("violent.pt", ("--embedding-norm", "10"), {"kind": "unsafe-diffusion", "layers": 2}),
    ],
)
def test_machines_are_told_the_same_under_the_same_names(type_in, file, options, facts):
    out, _ = import_head(type_in, file, *options, "--json")
    always = {"file": "head.safetensors", "classes": 2, "embedding_dim": 12, "encoder": L14}
    assert json.loads(out) == always | facts


@pytest.mark.parametrize("machine", [(), ("--json",)])
def test_a_score_and_an_approximation_are_called_so_on_stderr(type_in, machine):
    assert import_head(type_in, "prompts.p", *machine)[1] == ""
    assert import_head(type_in, "nsfw.zip", *machine)[1] == ""
    _, err = import_head(type_in, "linear.pth", *machine)
    assert err.startswith("warning: a score of beauty, not a probability")
    _, err = import_head(type_in, "violent.pt", "--embedding-norm", "10.5", *machine)
    assert err.startswith("warning: an approximation")
    assert "10.5" in err
    assert err.count("\n") == 1


def test_what_is_written_gives_the_published_numbers(type_in, tmp_path):
    rows = normalize(np.random.default_rng(1).normal(size=(20, 12)))
    import_head(type_in, "nsfw.zip")
    found = load_classifier(tmp_path / "head.safetensors").predict_proba(rows)[:, 1]
    np.testing.assert_allclose(found, keras_by_hand(VARIABLES, rows), atol=1e-6)
    import_head(type_in, "linear.pth")
    logits = load_classifier(tmp_path / "head.safetensors").logits(rows)
    np.testing.assert_allclose(5 - logits[:, 1], rows @ LINEAR["weight"][0] + LINEAR["bias"], atol=1e-5)
    import_head(type_in, "violent.pt", "--embedding-norm", "10")
    found = load_classifier(tmp_path / "head.safetensors").predict_proba(rows)[:, 1]
    hidden = np.maximum(10 * rows.astype(np.float64) @ HEAD["0_weight"].T + HEAD["0_bias"], 0)
    hidden = (hidden - HEAD["3_running_mean"]) / np.sqrt(HEAD["3_running_var"] + 1e-5)
    hidden = hidden * HEAD["3_weight"] + HEAD["3_bias"]
    np.testing.assert_allclose(found, expit(hidden @ HEAD["4_weight"][0] + HEAD["4_bias"]), atol=1e-6)


def make_run(path, rows):
    """Write a run whose encoder is called as its folder is."""
    n, name = len(rows), path.name
    identity = EncoderIdentity(name, "a" * 64, Preprocessing(8, "squash", "bicubic", (0,) * 3, (1,) * 3), "fp32", 12)
    made = Run.create(path, RunManifest("folder", "/p", n, n, 1, 0, identity, name, {}, "0"))
    refs = [ImageRef(f"{i}.png", f"file:///{i}.png", None, None, b"") for i in range(n)]
    facts = FileFacts("0" * 64, 1, 1, 1, "PNG")
    images = [EmbeddedImage(ref, facts, row) for ref, row in zip(refs, rows, strict=True)]
    inputs = {"encoder": identity.fingerprint, "options": made.manifest.options_fingerprint, "inputs": "i"}
    made.write_part(made.image_part(0), image_table(images, 12, **inputs))


def test_a_head_scores_a_run_of_its_encoder_and_no_other(type_in, tmp_path):
    rows = normalize(np.random.default_rng(1).normal(size=(30, 12)))
    for name in ("ViT-B-16__openai", "RN50__openai"):
        make_run(tmp_path / name, rows)
    import_head(type_in, "nsfw.zip", model="ViT-B-16__openai")
    status, out, err = type_in("score", "ViT-B-16__openai", "-c", "head.safetensors", "--json")
    assert (status, err) == (0, "")
    found = [json.loads(line)["probability"] for line in out.splitlines()]
    np.testing.assert_allclose(found, keras_by_hand(VARIABLES, rows), atol=0.02)  # embeddings are stored as float16
    status, out, err = type_in("score", "RN50__openai", "-c", "head.safetensors")
    assert (status, out) == (1, "")
    assert "made for another encoder" in err


def test_unsafe_diffusion_wants_the_norm_and_the_others_do_not(type_in, tmp_path):
    _, err = import_head(type_in, "violent.pt", status=1)
    assert "embeddings that are not unit norm" in err
    assert "embedding norm" in err
    for file in ("prompts.p", "nsfw.zip", "linear.pth"):
        _, err = import_head(type_in, file, "--embedding-norm", "10", status=2)
        assert "unit-norm embeddings, and no embedding norm" in err
    for norm in ("0", "-1", "nan", "inf", "ten"):
        _, err = import_head(type_in, "violent.pt", "--embedding-norm", norm, status=2)
        assert err.startswith("error: ")
    assert not (tmp_path / "head.safetensors").exists()


def test_an_unknown_kind_is_bad_usage(type_in):
    _, err = import_head(type_in, "nsfw.zip", "--kind", "nudity", status=2)
    assert "'nudity' is not one of" in err
    assert all(kind in err for kind in KINDS)


def test_the_kinds_are_those_that_can_be_read():
    assert ("auto", *READABLE) == KINDS
    assert set(CAVEATS) <= set(READABLE)


def hostile(canary):
    code = f"open({str(canary)!r}, 'w').close()"
    call = b"cbuiltins\nexec\n(V" + code.encode() + b"\ntR."
    return {
        "a pickle": call,
        "a checkpoint": archive(b"\x80\x02" + call),
        "a checkpoint with a call beside tensors": archive(
            b"\x80\x02}(" + text("weight") + tensor() + text("bias") + call[:-1] + b"u."
        ),
    }


@pytest.mark.parametrize("name", sorted(hostile("x")))
@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_head_is_refused_in_words_and_nothing_in_it_runs(type_in, tmp_path, name, kind):
    (tmp_path / "bad").write_bytes(hostile(tmp_path / "canary")[name])
    before = sorted(path.name for path in tmp_path.iterdir())
    out, err = import_head(type_in, "bad", "--kind", kind, status=1)
    assert out == ""
    assert err.startswith("error: `bad` ")
    assert "Traceback" not in err
    if kind == "auto":
        assert "found:    the name builtins.exec at byte" in err
        assert "nothing in the file was run" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", FILES["nsfw.zip"][:-30], FILES["linear.pth"][:200], archive(b"\x80\x02}."), b"\x00" * 100],
    ids=["empty", "a zip's first bytes", "a cut zip", "a cut checkpoint", "no tensors", "zeros"],
)
def test_a_file_that_is_no_head_is_refused_in_words(type_in, tmp_path, content):
    (tmp_path / "bad").write_bytes(content)
    out, err = import_head(type_in, "bad", status=1)
    assert out == ""
    assert err.startswith("error: `bad` ")
    assert "clipsieve itself failed" not in err
    assert not (tmp_path / "head.safetensors").exists()


def test_a_refusal_leaves_the_old_file_as_it_was(type_in, tmp_path):
    import_head(type_in, "nsfw.zip")
    before = (tmp_path / "head.safetensors").read_bytes()
    import_head(type_in, "missing.zip", status=1)
    import_head(type_in, "violent.pt", status=1)
    assert (tmp_path / "head.safetensors").read_bytes() == before


def test_help_fits_a_terminal_and_names_every_kind(type_in):
    status, out, _ = type_in("import-head", "-h")
    assert status == 0
    assert all(len(line) <= 80 for line in out.splitlines()), out
    assert all(f"\n    {kind} " in out for kind in READABLE)


@pytest.mark.slow
def test_a_hostile_head_ends_a_process_in_words(tmp_path):
    (tmp_path / "bad").write_bytes(hostile(tmp_path / "canary")["a checkpoint"])
    command = [sys.executable, "-m", "clipsieve", "import-head", "bad", "x.safetensors", "-m", L14]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: `bad` is not a checkpoint of plain tensors\n")
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]
