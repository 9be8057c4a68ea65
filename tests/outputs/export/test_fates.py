"""Where inputs go: joined with those they cannot be parted from, and never kept in silence."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clipsieve.engines.decisions import Decider, Decision, Policy, Reason
from clipsieve.engines.verdict_files import ImageVerdict, ImageVerdicts
from clipsieve.errors import UsageError
from clipsieve.outputs.export.base import Unit
from clipsieve.outputs.export.fates import Counts, Stretch, resolve, settle
from clipsieve.outputs.export.options import ExportOptions
from clipsieve.types import Shard
from scored_runs import write_scored_run

KEEP, REVIEW, REMOVE = Decision.KEEP, Decision.REVIEW, Decision.REMOVE
PROBABILITY = [
    0.1,
    0.6,
    0.2,
    0.3,
    0.95,
    0.4,
    None,
]  # in parts of three; keep, review, keep | keep, remove, keep | not seen


def stretches(run, *sizes):
    starts = np.cumsum([0, *sizes])
    shards = [Shard(i, (), "", 3) for i in range(run.manifest.n_parts)]
    return [Stretch(str(i), int(a), tuple(shards[a:b])) for i, (a, b) in enumerate(itertools.pairwise(starts))]


def alone(unit: Unit) -> np.ndarray:
    return np.arange(len(unit.codes))


@pytest.fixture
def run(tmp_path):
    return write_scored_run(tmp_path / "run", PROBABILITY, threshold=0.5, remove_threshold=0.9, part_size=3)


def test_each_by_itself(run):
    settled = list(settle(Decider(run), stretches(run, 1, 1, 1), alone))
    assert [fate.codes.tolist() for fate, _ in settled] == [[KEEP, REVIEW, KEEP], [KEEP, REMOVE, KEEP], [REVIEW]]
    assert [fate.decided_by for fate, _ in settled] == [
        ["machine", None, "machine"],
        ["machine", "machine", "machine"],
        [None],
    ]
    assert [images.num_rows for _, images in settled] == [3, 3, 1]


def test_what_cannot_be_parted_goes_by_the_strictest_decision_also_over_parts(run):
    seen = []

    def groups(unit: Unit) -> np.ndarray:
        seen.append((unit.name, list(unit.image_ids), [len(digest or "") for digest in unit.sha256]))
        # 0 and 1 belong together, and so do 2 (of the first part) and 4 (of the second).
        return np.array([0, 0, 1, 2, 1, 3]) if len(unit.codes) == 6 else np.array([0])

    settled = list(settle(Decider(run), stretches(run, 2, 1), groups))
    assert [fate.codes.tolist() for fate, _ in settled] == [[REVIEW, REVIEW, REMOVE], [KEEP, REMOVE, KEEP], [REVIEW]]
    assert settled[0][0].decided_by == [None, None, "companion"]
    assert seen[0] == ("0", [f"{i:04d}.png" for i in range(6)], [64] * 6)


@pytest.mark.parametrize(("undecided", "code", "who"), [("keep", KEEP, "option"), ("remove", REMOVE, "option")])
def test_an_option_decides_and_the_record_says_so(run, undecided, code, who):
    fates = [
        resolve(fate, undecided, has_review_place=False) for fate, _ in settle(Decider(run), stretches(run, 3), alone)
    ]
    assert fates[0].codes.tolist() == [KEEP, code, KEEP]
    assert fates[0].decided_by[1] == who
    assert fates[2].codes.tolist() == [code]


def test_with_a_place_or_without_an_option_nothing_is_decided(run):
    for fate, _ in settle(Decider(run), stretches(run, 3), alone):
        assert resolve(fate, "fail", has_review_place=False) is fate
        assert resolve(fate, "fail", has_review_place=True) is fate
    with pytest.raises(UsageError, match="exclude each other"):
        ExportOptions(undecided="keep", review_to="doubtful")


def test_counts(run):
    said = ImageVerdicts(Path("v"), "0" * 64, {"0001.png": ImageVerdict(True, ("Ann", "Bea"), 2)})
    counts = Counts()
    settled = list(settle(Decider(run, Policy.VERDICTS, verdicts=said), stretches(run, 3), alone))
    for fate, images in settled:
        counts.add(fate, images)
    assert {decision: counts.n(decision) for decision in Decision} == {KEEP: 4, REVIEW: 2, REMOVE: 1}
    assert counts.n_open == 2
    assert counts.images[REMOVE, Reason.VERDICT, False] == 1
    assert counts.n_bytes == {KEEP: 100 + 102 + 103 + 105, REVIEW: 104 + 106, REMOVE: 101}
    assert settled[0][0].annotators == {1: "Ann, Bea"}


def test_verdicts_on_images_that_are_not_there_are_noticed(run):
    said = ImageVerdicts(Path("v"), "0" * 64, {"other.png": ImageVerdict(True, (), 1)})
    with pytest.raises(UsageError, match="not in the run"):
        list(settle(Decider(run, verdicts=said), stretches(run, 3), alone))


def test_the_manifest_tells_what_the_machine_went_by(run):
    (first, _), *_ = settle(Decider(run), stretches(run, 3), alone)
    assert first.probability.to_pylist() == [np.float32(p) for p in PROBABILITY[:3]]


def test_options_that_mean_nothing_are_refused():
    """In a process of its own, where types are not checked at run time."""
    code = """
from clipsieve import ExportOptions
from clipsieve.errors import UsageError
for name, word in {"policy": "all", "undecided": "Keep", "how": "hard-link", "form": "json"}.items():
    try:
        ExportOptions(**{name: word})
    except UsageError as error:
        print(error.what)
print(repr(ExportOptions(policy="flagged").policy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "there is no policy `all`",
        "there is no undecided `Keep`",
        "there is no how `hard-link`",
        "there is no form `json`",
        "<Policy.FLAGGED: 'flagged'>",
    ]
