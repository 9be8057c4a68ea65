"""One decision for each input: the machine's, unless people or the block list say otherwise."""

from pathlib import Path

import numpy as np
import pytest

from clipsieve.engines.decisions import Decider, Decision, Policy, Reason
from clipsieve.engines.verdict_files import ImageVerdict, ImageVerdicts
from clipsieve.errors import RunNotFoundError, UsageError
from clipsieve.store import Run
from scored_runs import write_scored_run

KEEP, REVIEW, REMOVE = Decision.KEEP, Decision.REVIEW, Decision.REMOVE
PROBABILITY = [0.1, 0.5, 0.7, 0.9, 0.95, None, "blocked", 0.4999]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return write_scored_run(tmp_path / "run", PROBABILITY, threshold=0.5, remove_threshold=0.9, part_size=3)


def verdicts(**said: bool | None) -> ImageVerdicts:
    by_image = {name.replace("_", "") + ".png": ImageVerdict(word, ("Ann",), 1) for name, word in said.items()}
    return ImageVerdicts(Path("v.csv"), "0" * 64, by_image)


def decided(decider: Decider) -> tuple[list[int], list[Reason]]:
    parts = list(decider)
    return np.concatenate([p.codes for p in parts]).tolist(), [reason for p in parts for reason in p.reasons]


def test_thresholds(run):
    codes, reasons = decided(Decider(run))
    assert codes == [KEEP, REVIEW, REVIEW, REMOVE, REMOVE, REVIEW, REMOVE, KEEP]
    assert reasons == [
        Reason.NOT_FLAGGED,
        Reason.FLAGGED,
        Reason.FLAGGED,
        Reason.ABOVE_REMOVAL,
        Reason.ABOVE_REMOVAL,
        Reason.NOT_SEEN,
        Reason.BLOCKED,
        Reason.NOT_FLAGGED,
    ]


def test_flagged(run):
    codes, reasons = decided(Decider(run, Policy.FLAGGED))
    assert codes == [KEEP, REMOVE, REMOVE, REMOVE, REMOVE, REVIEW, REMOVE, KEEP]
    assert reasons[1:5] == [Reason.FLAGGED] * 4


def test_verdicts_outdo_the_machine_and_the_block_list_outdoes_them(run):
    said = verdicts(_0000=True, _0003=False, _0005=False, _0006=False, _0002=None)
    for policy in Policy:
        codes, reasons = decided(Decider(run, policy, verdicts=said))
        assert [codes[i] for i in (0, 3, 5, 6, 2)] == [REMOVE, KEEP, KEEP, REMOVE, REVIEW]
        assert [reasons[i] for i in (0, 3, 5)] == [Reason.VERDICT] * 3
        assert (reasons[6], reasons[2]) == (Reason.BLOCKED, Reason.VERDICTS_DIFFER)
    codes, _ = decided(Decider(run, Policy.VERDICTS, verdicts=said))
    assert codes == [REMOVE, REVIEW, REVIEW, KEEP, REVIEW, KEEP, REMOVE, KEEP]  # the machine alone removes nothing


def test_without_a_removal_threshold_the_machine_removes_nothing(tmp_path):
    run = write_scored_run(tmp_path / "run", [0.2, 0.99], threshold=0.5)
    assert decided(Decider(run))[0] == [KEEP, REVIEW]


def test_a_threshold_is_compared_as_float32(tmp_path):
    edge = np.float32(0.7)
    assert float(edge) < 0.7
    run = write_scored_run(tmp_path / "run", [float(edge), float(np.nextafter(edge, np.float32(0)))], threshold=0.7)
    assert decided(Decider(run, Policy.FLAGGED))[0] == [REMOVE, KEEP]


def test_verdicts_on_images_that_are_not_there(run):
    with pytest.raises(UsageError, match="not in the run"):
        list(Decider(run, verdicts=verdicts(_0001=True, _0099=True)))


def test_what_cannot_decide(run):
    with pytest.raises(UsageError, match="needs verdicts"):
        Decider(run, Policy.VERDICTS)
    with pytest.raises(RunNotFoundError):
        Decider(run, scores_name="other")


def test_a_verdict_to_remove_holds_for_every_copy_that_has_none_of_its_own(tmp_path):
    contents = ["one", "two", "one", "one", "two", "two"]
    run = write_scored_run(tmp_path / "run", [0.1] * 6, threshold=0.5, contents=contents, part_size=2)
    said = verdicts(_0000=True, _0003=False, _0004=False)
    codes, reasons = decided(Decider(run, verdicts=said))
    assert codes == [REMOVE, KEEP, REMOVE, KEEP, KEEP, KEEP]
    assert (reasons[2], reasons[3], reasons[5]) == (Reason.TWIN, Reason.VERDICT, Reason.NOT_FLAGGED)


def test_what_a_block_list_could_not_be_compared_with_is_not_kept(tmp_path):
    contents = ["one", None, "three"]
    for options, code in (({"hash_list": "ab" * 32}, REMOVE), ({}, REVIEW)):
        name = f"run-{len(options)}"
        run = write_scored_run(tmp_path / name, [0.1, None, None], threshold=0.5, contents=contents, options=options)
        said = verdicts(_0001=False) if options else None
        codes, reasons = decided(Decider(run, verdicts=said))
        assert codes == [KEEP, code, REVIEW]
        assert reasons[1] == (Reason.NOT_COMPARED if options else Reason.NOT_SEEN)
