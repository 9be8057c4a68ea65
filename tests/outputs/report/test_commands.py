"""The commands of a report, given again by somebody else in another place."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from clipsieve import write_demo_data
from clipsieve.classifiers import builtin_prompt_set, builtin_taxonomy
from clipsieve.engines.decisions import Decider
from clipsieve.engines.verdict_files import ImageVerdicts
from clipsieve.evaluation.operating_points import OperatingPoint
from clipsieve.outputs.report.commands import build_commands
from clipsieve.outputs.report.counts import RunCounts
from clipsieve.store import Run
from scored_runs import write_scored_run

PROMPTS = """
name = "multi"
templates = ["{}"]
[[classes]]
name = "good"
prompts = ["flower"]
[[classes]]
name = "bad"
prompts = ["anger"]
unwanted = true
"""
TAXONOMY = """
name = "mine"
templates = ["{}"]
[[concepts]]
name = "a"
title = "A"
prompts = ["anger"]
[[concepts]]
name = "rest"
title = "Rest"
prompts = ["flower"]
other = true
"""


@pytest.fixture
def run(tmp_path) -> Run:
    return write_scored_run(tmp_path / "a run", [0.9, 0.1], threshold=0.5)


def commands(run, taxonomy=None, title=None, verdicts=None, **facts):
    run.write_score_facts("test", run.score_facts("test") | facts)
    counts = RunCounts(Decider(run, verdicts=verdicts))
    return build_commands(run, counts, taxonomy, title)


def test_what_was_told_is_told_again(run):
    said = ImageVerdicts(Path("/home/ann/v 1.csv"), "0" * 64, {})
    found = commands(run, builtin_taxonomy(), "My data", said)
    assert found[-1] == ("clipsieve report 'a run' -c test -o report.html --verdicts 'v 1.csv' --title 'My data'")
    mine = replace(builtin_taxonomy(), name="mine", sha256="1" * 64)
    assert commands(run, mine)[-1].endswith("--taxonomy mine.toml")
    assert commands(run)[-1].endswith("--taxonomy none")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"provenance": {"prompt_set": "multi"}}, "-c multi.toml --name test"),
        ({"provenance": {"prompt_set": "test"}}, "-c test.toml"),
        ({"method": "soft-prompts"}, "-c test.safetensors"),
        ({"provenance": {"prompt_set": "test", "operating_points": []}}, "-c test.safetensors"),
    ],
)
def test_a_classifier_is_named_as_its_file_is(run, facts, words):
    assert commands(run, **facts)[1] == f"clipsieve score 'a run' {words}"


@pytest.mark.parametrize(("prompts", "words"), [({}, ""), ({"negative": ["evil"]}, ".toml")])
def test_built_in_prompts_need_no_file_unless_a_file_is_called_like_them(run, prompts, words):
    found = builtin_prompt_set("positive-negative")
    own = {each.name: list(each.prompts) for each in found.classes} | prompts
    facts = {
        "class_names": [each.name for each in found.classes],
        "unwanted": [each.unwanted for each in found.classes],
        "provenance": {"prompt_set": found.name, "templates": list(found.templates), "prompts": own},
    }
    assert commands(run, **facts)[1] == f"clipsieve score 'a run' -c positive-negative{words} --name test"


def test_thresholds_that_keep_a_promise_name_the_ratings_by_their_hash(run):
    told = {"kind": "recall", "target": 0.9, "confidence": 0.95, "threshold": 0.5}
    record = {field.name: told.get(field.name, 9) for field in fields(OperatingPoint)}
    record |= {"ratings_sha256": "5" * 64, "made": "", "clipsieve_version": ""}
    found = commands(run, operating_points=[record])
    assert found[2] == (
        f"clipsieve threshold 'a run' -c test --ratings RATINGS --recall 0.9 --confidence 0.95  # RATINGS: {'5' * 64}"
    )


def test_the_options_of_the_scan_are_told(run):
    options = {"max_pixels": 1000, "max_bytes": 512 * 1024**2, "image_column": "url", "hash_list": "ab"}
    manifest = replace(run.manifest, source_kind="table", source_location="t 1.parquet", options=options, part_size=7)
    found = commands(Run(run.path, manifest))[0]
    assert found == (
        "clipsieve scan 't 1.parquet' -o 'a run' --source table --image-column url --model tiny --part-size 7 "
        "--max-pixels 1000 --hash-list HASHES  # HASHES: ab"
    )
    theirs = replace(run.manifest, source_kind="embeddings", part_size=20_000, options={})
    theirs = replace(theirs, encoder=replace(theirs.encoder, name="pictogram"))
    assert (
        commands(Run(run.path, theirs))[0] == "clipsieve scan /photos -o 'a run' --source embeddings --model pictogram"
    )


@pytest.mark.slow
def test_they_give_the_same_numbers_in_another_place(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "prompts.toml").write_text(PROMPTS)
        (folder / "multi.toml").write_text(PROMPTS)
        (folder / "mine.toml").write_text(TAXONOMY)
    write_demo_data(first / "photos", n_images=40)
    give(first, "clipsieve scan photos -o run --part-size 16 -q")
    give(first, "clipsieve score run -c prompts.toml --name own -q")
    give(first, "clipsieve report run -o report.html --taxonomy mine.toml --title 'My photos' --no-thumbnails -q")
    before = json.loads((first / "report" / "report.json").read_text())
    for command in before["method"]["commands"]:
        give(second, command)
    after = json.loads((second / "report" / "report.json").read_text())
    for name in ("figures", "title", "histogram", "classes", "taxonomy"):
        assert after[name] == before[name]
    assert next(each["value"] for each in after["figures"] if each["id"] == "n_flagged") > 3
    assert after["method"]["commands"] == before["method"]["commands"]
    assert after["method"]["run"]["scores_sha256"] == before["method"]["run"]["scores_sha256"]


def give(folder, command):
    words = shlex.split(command, comments=True)
    assert words[0] == "clipsieve"
    done = subprocess.run(
        [sys.executable, "-m", "clipsieve", *words[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
