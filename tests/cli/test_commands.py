"""The commands as a person types them: real processes on a small drawn data set, what they print and how they end."""

import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from clipsieve.classifiers import SoftPrompts, ZeroShot, save_classifier
from clipsieve.store import Run

pytestmark = pytest.mark.slow

N_IMAGES, N_BROKEN = 60, 3
MESSAGE = re.compile(
    r"error: [^\n]*[^\n.]\n"
    r"(  expected: [^\n]+\n)?"
    r"(  found:    [^\n]+\n)?"
    r"(  (?!expected|found)[^\n]+[^\n.]\n)?"
    r"(\nhint: [^\n]+[^\n.]\n)?"
)
MINE = """
templates = ["A picture of something {}"]

[[classes]]
name = "calm"
prompts = ["calm", "friendly"]

[[classes]]
name = "rude"
prompts = ["rude"]
unwanted = true

[[classes]]
name = "violent"
prompts = ["violent"]
unwanted = true
"""


class Done(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


class Workplace(NamedTuple):
    """A folder to type commands in."""

    path: Path

    def type(self, *args: str, **environment: str) -> Done:
        env = os.environ | {"COLUMNS": "80", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | environment
        done = subprocess.run(
            [sys.executable, "-m", "clipsieve", *args],
            cwd=self.path,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def succeed(self, *args: str) -> str:
        done = self.type(*args)
        assert done.status == 0, done.err
        assert done.err == ""
        return done.out

    def fail(self, *args: str, status: int = 1) -> str:
        """Type a command that must fail, and change nothing; return what it says."""
        before = self.listing()
        done = self.type(*args)
        assert done.status == status, done
        assert done.out == ""
        assert MESSAGE.fullmatch(done.err), done.err
        assert self.listing() == before
        return done.err

    def listing(self) -> dict[str, str]:
        """Return every file and folder with its content's hash and time."""
        return {str(path.relative_to(self.path)): fingerprint(path) for path in sorted(self.path.rglob("*"))}


def fingerprint(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        return "no file"
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """Draw, scan and score once; tests only look."""
    work = Workplace(tmp_path_factory.mktemp("scanned"))
    work.succeed("demo-data", "photos", "-n", str(N_IMAGES))
    work.succeed("scan", "photos", "-o", "run")
    work.succeed("score", "run", "-c", "positive-negative")
    return work


@pytest.fixture
def work(scanned, tmp_path):
    """Copy the scanned data set, for tests that write."""
    copy = tmp_path / "work"
    shutil.copytree(scanned.path, copy)
    manifest = copy / "run/run.json"
    manifest.write_text(manifest.read_text().replace(str(scanned.path), str(copy)))
    return Workplace(copy)


@pytest.fixture
def empty(tmp_path):
    return Workplace(tmp_path)


def fits(text: str, width: int = 80) -> bool:
    return all(len(line) <= width and line == line.rstrip() for line in text.splitlines())


# The way through


def test_demo_data_says_what_it_drew(empty):
    assert re.fullmatch(
        r"drew 20 images in \d+ classes and 3 broken files into a/b\n", empty.succeed("demo-data", "a/b", "-n", "20")
    )
    facts = json.loads(empty.succeed("demo-data", "c", "-n", "20", "--json"))
    assert (facts["images"], facts["broken"]) == (20, 3)
    same = {name[2:]: mark.split()[0] for name, mark in empty.listing().items() if name.startswith("c/")}
    assert same == {name[4:]: mark.split()[0] for name, mark in empty.listing().items() if name.startswith("a/b/")}


def test_scan_counts_and_a_second_scan_does_nothing(work):
    before = work.listing()
    out = work.succeed("scan", "photos", "-o", "run")
    kind, scanned, caution = out.splitlines()
    assert kind == "read as folder, 1 other file ignored"
    assert scanned == f"scanned {N_IMAGES} of {N_IMAGES + N_BROKEN} images into run: {N_BROKEN} failed, nothing new"
    assert "knows emoji alone" in caution  # nobody chose the encoder, and it is not for photographs
    after = work.listing()
    parts = [name for name in before if name.endswith(".parquet") or name.startswith("photos")]
    assert {name: after[name] for name in parts} == {name: before[name] for name in parts}
    assert set(after) == set(before)


def test_a_scan_tells_machines_the_same(empty, scanned):
    facts = json.loads(empty.succeed("scan", str(scanned.path / "photos"), "-o", "run", "--json", "--workers", "1"))
    assert facts["n_scanned"] + facts["n_failed"] == facts["n_listed"] == facts["n_new"] == N_IMAGES + N_BROKEN
    assert facts["n_ignored"] == 1


def test_the_data_set_is_never_changed(scanned, empty):
    before = scanned.listing()
    empty.succeed("scan", str(scanned.path / "photos"), "-o", "run")
    empty.succeed("score", "run", "-c", "offensive")
    assert scanned.listing() == before


@pytest.mark.parametrize("name", ["positive-negative", "offensive", "pleasant-unpleasant", "praiseworthy-blameworthy"])
def test_every_built_in_set_scores(work, name):
    out = work.succeed("score", "run", "-c", name)
    counts, calibration = out.splitlines()
    assert re.fullmatch(
        rf"scored {N_IMAGES} images with `{name}` in [\d.]+ s: \d+ \([\d.]+ %\) at or above 0.5", counts
    )
    assert calibration == "probabilities are not calibrated"
    assert name in Run.open(work.path / "run").score_names()


def test_scores_in_json_are_one_line_for_each_image(work):
    (work.path / "mine.toml").write_text(MINE)
    lines = [json.loads(line) for line in work.succeed("score", "run", "-c", "mine.toml", "--json").splitlines()]
    assert len(lines) == N_IMAGES + N_BROKEN
    failed = [line for line in lines if line["probability"] is None]
    assert len(failed) == N_BROKEN
    for line in lines:
        assert set(line) == {"image_id", "label", "probability", "logits"}
        if line not in failed:
            assert len(line["logits"]) == 3
            shares = np.exp(np.array(line["logits"]) - max(line["logits"]))
            assert line["probability"] == pytest.approx((shares / shares.sum())[1:].sum(), abs=1e-4)
    assert "mine" in Run.open(work.path / "run").score_names()


def test_a_saved_classifier_scores_as_the_words_that_it_was_made_of(work):
    run = Run.open(work.path / "run")
    made = run.manifest.encoder
    from clipsieve.classifiers import build_zero_shot, builtin_prompt_set
    from clipsieve.encoders import load_encoder

    with load_encoder() as encoder:
        words: ZeroShot = build_zero_shot(
            builtin_prompt_set("positive-negative"),
            encoder.encode_texts,
            identity=made,
            logit_scale=encoder.logit_scale,
        )
    save_classifier(words, work.path / "saved.safetensors")
    assert "`saved`" in work.succeed("score", "run", "-c", "saved.safetensors")
    by_words, by_file = (
        [scores.column("probability").to_pylist() for _, scores in run.iter_scores(name, ["image_id"])]
        for name in ("positive-negative", "saved")
    )
    assert by_words == by_file


def test_scores_of_the_same_name_are_replaced_and_others_are_kept(work):
    work.succeed("score", "run", "-c", "offensive", "--name", "mine")
    assert Run.open(work.path / "run").score_names() == ["mine", "positive-negative"]
    before = work.listing()["run/scores/positive-negative/part-00000.parquet"]
    work.succeed("score", "run", "-c", "pleasant-unpleasant", "--name", "mine")
    assert work.listing()["run/scores/positive-negative/part-00000.parquet"] == before


def test_the_summary_fits_a_terminal_and_says_what_a_person_asks(scanned):
    out = scanned.succeed("summary", "run")
    for words in (
        f"scanned   {N_IMAGES} of {N_IMAGES + N_BROKEN} images in",
        "images/s",
        f"failed    {N_BROKEN} (empty_file 1, not_an_image 1, truncated 1)",
        "ignored   1 other file",
        "flagged   ",
        "by `positive-negative`: probability of unwanted >= 0.5",
        "most flagged classes",
        "results   run/images/*.parquet, run/scores/positive-negative/*.parquet",
        "clipsieve score run -c offensive",
    ):
        assert words in out
    assert fits(out), out


def test_the_summary_tells_machines_the_same(scanned):
    facts = json.loads(scanned.succeed("summary", "run", "--json"))
    assert facts["failures"] == {"empty_file": 1, "not_an_image": 1, "truncated": 1}
    assert facts["classifier"] == "positive-negative"
    assert 0 < sum(c["n_flagged"] for c in facts["classes"]) == facts["n_flagged"] < N_IMAGES


def test_the_summary_asks_which_of_several_scores(work):
    work.succeed("score", "run", "-c", "offensive")
    message = work.fail("summary", "run", status=2)
    assert "found:    `offensive`, `positive-negative`" in message
    out = work.succeed("summary", "run", "-c", "offensive", "--top", "1")
    assert "by `offensive`" in out
    assert "clipsieve score run -c positive-negative" in out


def test_a_run_without_scores_has_a_summary_that_says_what_to_do_next(work):
    shutil.rmtree(work.path / "run/scores")
    (work.path / "run").rename(work.path / "my run")
    out = work.succeed("summary", "my run")
    assert "flagged" not in out
    assert "next      clipsieve score 'my run' -c positive-negative\n" in out


def test_prompts_are_listed_and_shown(empty):
    listed = json.loads(empty.succeed("prompts", "list", "--json"))
    table = empty.succeed("prompts", "list")
    assert fits(table), table
    for entry in listed:
        assert set(entry) == {"name", "description", "source"}
        assert entry["name"] in table
        shown = empty.succeed("prompts", "show", entry["name"])
        assert shown.encode() == (resources.files("clipsieve") / "prompts" / f"{entry['name']}.toml").read_bytes()


def test_models_are_listed_and_described(empty):
    listed = json.loads(empty.succeed("models", "list", "--json"))
    assert next(entry for entry in listed if entry["name"] == "pictogram")["is_local"] is True
    table = empty.succeed("models", "list")
    assert fits(table), table
    assert all(entry["name"] in table for entry in listed)
    facts = json.loads(empty.succeed("models", "info", "pictogram", "--json"))
    assert set(facts["files"]) >= {"visual/model.onnx", "textual/model.onnx", "config.json"}
    assert facts["identity"]["embedding_dim"] == 128
    shown = empty.succeed("models", "info", "pictogram")
    assert facts["identity"]["weights_sha256"] in shown


@pytest.fixture
def published(work):
    rows = np.random.default_rng(0).normal(size=(2, 128)).astype(np.float32)
    (work.path / "prompts.p").write_bytes(pickle.dumps(rows, protocol=3))
    return work


def test_a_published_head_is_imported_for_the_encoder_that_is_named(published):
    out = published.succeed("import-head", "prompts.p", "head.safetensors", "--model", "pictogram")
    assert out == "wrote head.safetensors: 2 soft prompts of width 128 for pictogram\n"
    assert "at or above 0.9" in published.succeed("score", "run", "-c", "head.safetensors")
    facts = json.loads(
        published.succeed("import-head", "prompts.p", "other.safetensors", "--model", "ViT-B-32__openai", "--json")
    )
    assert facts == {
        "file": "other.safetensors",
        "kind": "q16",
        "classes": 2,
        "layers": None,
        "embedding_dim": 128,
        "encoder": "ViT-B-32__openai",
    }
    message = published.fail("score", "run", "-c", "other.safetensors")
    assert "the classifier was made for another encoder" in message
    assert "nothing was written" in message


def test_progress_goes_to_stderr_and_only_where_somebody_looks(empty, scanned):
    """On a terminal there is a bar; it is gone at the end, and stdout holds the result alone."""
    import pty

    ours, theirs = pty.openpty()
    env = os.environ | {"COLUMNS": "80", "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "clipsieve", "scan", str(scanned.path / "photos"), "-o", "run", "--json"]
    with subprocess.Popen(command, cwd=empty.path, env=env, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:
            pass  # the other side was closed
        out = process.stdout.read()
    os.close(ours)
    assert process.returncode == 0
    assert json.loads(out)["n_scanned"] == N_IMAGES
    assert b"scanning" in shown
    assert b"/63" in shown
    assert b"images/s" in shown or b"--:--" in shown


# How it ends


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["scor", "run"], "did you mean `score`?"),
        (["scan", "photos"], "missing option '-o'"),
        (["score", "run"], "missing option '-c'"),
        (["score", "run", "-c", "positiv-negative"], "there is no classifier `positiv-negative`"),
        (["score", "run", "-c", "offensive", "--name", "../up"], "cannot be the name of scores"),
        (["scan", "photos", "-o", "new", "--max-failures", "some"], "cannot read the number of allowed failures"),
        (["scan", "photos", "-o", "new", "--max-failures", "101%"], "cannot read the number of allowed failures"),
        (["scan", "photos", "-o", "new", "--batch-size", "0"], "batch-size"),
        (["scan", "photos", "-o", "new", "--precision", "fp16", "--backend", "onnx"], "no fp16"),
        (["import-head", "prompts.p", "head.p", "-m", "pictogram"], "ends in .safetensors"),
    ],
)
def test_bad_usage_is_status_2(work, args, words):
    assert words in work.fail(*args, status=2)


@pytest.mark.parametrize("args", [[], ["models"], ["prompts"]])
def test_a_group_without_a_command_shows_its_help(empty, args):
    done = empty.type(*args)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"Usage: clipsieve {' '.join(args)}".rstrip())
    assert "error" not in done.err


def test_too_many_failures_are_status_3_and_finished_parts_are_kept(work):
    done = work.type("scan", "photos", "-o", "new", "--max-failures", "2", "--part-size", "30")
    assert (done.status, done.out) == (3, "")
    assert MESSAGE.fullmatch(done.err), done.err
    assert "3 of the " in done.err
    assert "expected: at most 2" in done.err
    assert "kept in `new`" in done.err
    kept = work.listing()
    again = work.succeed("scan", "photos", "-o", "new", "--max-failures", "5%", "--part-size", "30")
    assert f"{N_BROKEN} failed" in again
    parts = [name for name in kept if name.startswith("new/images/part")]
    assert parts
    assert {name: work.listing()[name] for name in parts} == {name: kept[name] for name in parts}


def test_as_many_failures_as_allowed_are_fine(work):
    work.succeed("scan", "photos", "-o", "new", "--max-failures", "3")


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1", "FORCE_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_no_colour_where_none_is_wanted(scanned, environment):
    for args in (["summary", "run"], ["models", "list"], ["summary", "nothing"]):
        done = scanned.type(*args, **environment)
        assert "\x1b[3" not in done.out + done.err


def test_ctrl_c_ends_a_scan_in_words_and_the_same_command_goes_on(empty):
    (empty.path / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(empty.path / "photos/0.jpg")
    for i in range(1, 60):
        os.link(empty.path / "photos/0.jpg", empty.path / f"photos/{i}.jpg")
    scan = ["scan", "photos", "-o", "run", "--part-size", "2", "--workers", "2"]
    with subprocess.Popen(
        [sys.executable, "-m", "clipsieve", *scan],
        cwd=empty.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while not (empty.path / "run/images/part-00001.parquet").exists():
            assert process.poll() is None
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err.lstrip("\n") == "error: interrupted\n\nhint: the same command again goes on where this one stopped\n"
    kept = {name: mark for name, mark in empty.listing().items() if name.startswith("run/images/part-")}
    assert 2 <= len(kept) < 30
    assert "scanned 60 of 60 images" in empty.succeed(*scan)
    after = empty.listing()
    assert {name: after[name] for name in kept} == kept
    assert not [name for name in after if name.endswith(".tmp")]


# Bad input


@pytest.fixture
def clutter(empty):
    """Make a folder of every kind that cannot be scanned, and a good one."""
    (empty.path / "good").mkdir()
    Image.new("RGB", (40, 30), "teal").save(empty.path / "good/one.png")
    (empty.path / "empty").mkdir()
    (empty.path / "texts/deep").mkdir(parents=True)
    (empty.path / "texts/deep/notes.txt").write_text("no image")
    (empty.path / "other").mkdir()
    (empty.path / "other/diary.txt").write_text("not yours")
    (empty.path / "file").write_text("a file")
    return empty


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("missing", "there is nothing at `missing`"),
        ("empty", "is empty"),
        ("texts", "holds no images"),
        ("file", "`file` is not a folder"),
        ("good/one.png", "`good/one.png` is not a folder"),
        ("", "there is nothing at ``"),
    ],
)
def test_a_source_that_is_none_is_named_and_no_run_begins(clutter, source, words):
    assert words in clutter.fail("scan", source, "-o", "run")


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("other", "the folder `other` holds other files"),
        ("file", "`file` is a file"),
        ("file/run", "file/run"),
        ("good", "the folder `good` holds other files"),
    ],
)
def test_an_output_that_is_something_else_is_refused_and_kept(clutter, output, words):
    assert words in clutter.fail("scan", "good", "-o", output)


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["scan", "others", "-o", "run"], "source"),
        (["scan", "photos", "-o", "run", "--part-size", "7"], "--part-size"),
        (["scan", "photos", "-o", "run", "--max-pixels", "7"], "--max-pixels"),
        (["scan", "photos", "-o", "run", "--model", "./model"], "encoder"),
    ],
)
def test_the_folder_of_another_run_is_refused_and_kept(work, args, what):
    shutil.copytree(work.path / "photos", work.path / "others")
    model = copy_of_the_model(work)
    with (model / "visual/extra.data").open("wb") as file:
        file.write(b"weights beside the graph")
    message = work.fail(*args)
    assert f"holds a run with another {what}" in message
    assert "nothing was written" in message


def copy_of_the_model(work: Workplace) -> Path:
    folder = work.path / "model"
    with resources.as_file(resources.files("clipsieve.encoders") / "pictogram") as original:
        shutil.copytree(original, folder)
    return folder


def test_a_copied_model_folder_is_the_same_model(work):
    copy_of_the_model(work)
    assert "nothing new" in work.succeed("scan", "photos", "-o", "run", "--model", "./model")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (Path.unlink, "visual/model.onnx"),
        (Path.unlink, "textual/model.onnx"),
        (Path.unlink, "textual/tokenizer.json"),
        (Path.unlink, "visual/preprocess_cfg.json"),
        (Path.unlink, "config.json"),
        (cut, "visual/model.onnx"),
        (cut, "visual/preprocess_cfg.json"),
        (cut, "config.json"),
        (lambda path: path.write_text("{}"), "config.json"),
        (lambda path: path.write_text("[]"), "visual/preprocess_cfg.json"),
        (lambda path: path.write_bytes(b""), "visual/model.onnx"),
    ],
)
def test_a_broken_model_folder_is_named(clutter, spoil, name):
    model = copy_of_the_model(clutter)
    spoil(model / name)
    message = clutter.fail("scan", "good", "-o", "run", "--model", "./model")
    assert "model" in message.splitlines()[0]
    assert Path(name).name in message or "settings" in message


def test_a_broken_tokenizer_is_named_when_words_are_asked_for(work):
    model = copy_of_the_model(work)
    cut(model / "textual/tokenizer.json")
    message = work.fail("score", "run", "-c", "offensive", "--model", "./model")
    assert "tokenizer.json" in message
    assert work.type("summary", "run").status == 0


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("./missing", "there is no model folder"),
        ("file", "no model"),
        ("empty/", "holds no model"),
        ("pictogran", "pictogram"),
    ],
)
def test_a_model_that_is_not_there_is_named(clutter, model, words):
    assert words in clutter.fail("scan", "good", "-o", "run", "--model", model)


def test_a_missing_network_names_a_way_out(clutter):
    message = clutter.fail("scan", "good", "-o", "run", "--model", "someone/some-clip")
    assert "pictogram" in message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("templates", "tempaltes", "did you mean `templates`?"),
        ("prompts", "promts", "did you mean `prompts`?"),
        ("unwanted = true", "unwanted = 1", "true or false"),
        ("[[classes]]", "[classes]", "TOML"),
        ("A picture of something {}", "A picture", "exactly one `{}`"),
    ],
)
def test_a_prompt_file_with_a_slip_is_answered_with_what_was_meant(work, old, new, words):
    (work.path / "mine.toml").write_text(MINE.replace(old, new))
    message = work.fail("score", "run", "-c", "mine.toml")
    assert "mine.toml" in message
    assert words in message


def test_a_classifier_file_that_is_none_is_refused(work):
    (work.path / "c.safetensors").write_bytes(b"\xff" * 100)
    assert "is no classifier" in work.fail("score", "run", "-c", "c.safetensors")
    assert "No such file" in work.fail("score", "run", "-c", "missing.safetensors")


def test_a_classifier_of_other_weights_is_refused(work):
    head = SoftPrompts(np.eye(2, 128, dtype=np.float32), ("good", "bad"), (False, True), "pictogram", "0" * 64)
    save_classifier(head, work.path / "c.safetensors")
    assert "made for another encoder" in work.fail("score", "run", "-c", "c.safetensors")


def test_a_hostile_head_is_refused_and_nothing_in_it_runs(work):
    canary = work.path / "canary"
    code = f"open({str(canary)!r}, 'w').close()"
    (work.path / "prompts.p").write_bytes(b"cbuiltins\nexec\n(V" + code.encode() + b"\ntR.")
    message = work.fail("import-head", "prompts.p", "head.safetensors", "-m", "pictogram")
    assert "found:    the name builtins.exec at byte 0" in message
    assert "nothing in the file was run" in message
    assert not canary.exists()


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("run.json", b"{", "`run/run.json` is damaged"),
        ("run.json", b'{"format_version": 99}', "another format version"),
        ("images/part-00000.parquet", b"PAR1", "part-00000.parquet` is damaged"),
        ("images/part-00000.parquet", None, "part-00000.parquet` is missing"),
    ],
)
@pytest.mark.parametrize("args", [["summary", "run"], ["score", "run", "-c", "offensive"]])
def test_a_damaged_run_is_named(work, file, content, words, args):
    if content is None:
        (work.path / "run" / file).unlink()
    else:
        (work.path / "run" / file).write_bytes(content)
    assert words in work.fail(*args)


@pytest.mark.parametrize(
    "args", [["summary", "photos"], ["summary", "nothing"], ["score", "photos", "-c", "offensive"]]
)
def test_a_folder_without_a_run_is_named(scanned, args):
    message = scanned.fail(*args)
    assert f"there is no run in `{args[1]}`" in message
    assert "clipsieve scan" in message


def test_scores_that_are_not_there_are_named_with_those_that_are(scanned):
    message = scanned.fail("summary", "run", "-c", "offensive")
    assert "found:    `positive-negative`" in message


def test_a_full_folder_is_not_drawn_into(scanned):
    assert "not empty" in scanned.fail("demo-data", "photos")
    assert "found:    a file" in scanned.fail("demo-data", "photos/ratings.csv")
