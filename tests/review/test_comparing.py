"""What is claimed of two classifiers: no more than so many groups can show, on images that neither has seen."""

from pathlib import Path

import numpy as np
import pytest

from clipsieve.classifiers import ZeroShot
from clipsieve.engines import load_classifier_for, score
from clipsieve.engines.rated_images import RatedImages, join_ratings
from clipsieve.review.comparing import Comparison, Held, compare
from clipsieve.review.flows import labels_of
from clipsieve.review.related import Related
from clipsieve.store import Run
from model_folders import WIDTH, make_onnx_folder
from rated_runs import TWO, write_run

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

N = 240


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """Return a run of noise."""
    root: Path = tmp_path_factory.mktemp("comparing")
    (root / "two.toml").write_text(TWO)
    rows = np.random.default_rng(0).standard_normal((N, WIDTH))
    embeddings = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    made = write_run(root / "run", make_onnx_folder(root / "model"), embeddings)
    score(made, load_classifier_for(made, str(root / "two.toml")).classifier, name="two")
    return made


def rated_of(run: Run, labels) -> RatedImages:
    return join_ratings(run, labels_of({f"{i:04d}.png": int(label) for i, label in enumerate(labels)}, sha256=""))


def related(group) -> Related:
    return Related(np.asarray(group, dtype=np.int64), np.ones(len(group), dtype=bool))


def along(run: Run, direction: np.ndarray) -> ZeroShot:
    """Return a classifier that looks along one direction."""
    identity = run.manifest.encoder
    vector = (direction / np.linalg.norm(direction)).astype(np.float32)
    return ZeroShot(
        class_embeddings=np.stack([-vector, vector]),
        class_names=("good", "bad"),
        unwanted=(False, True),
        encoder_name=identity.name,
        encoder_weights_sha256=identity.weights_sha256,
        logit_scale=1.0,  # no two probabilities are rounded to 1
    )


def compared(run: Run, labels, group, direction, *, tuned_on=(), seen=None) -> Comparison:
    """Compare with a classifier that learns nothing and looks along a direction."""

    def fit(used: RatedImages) -> ZeroShot:
        if seen is not None:
            seen.append(set(used.image_ids))
        return along(run, direction)

    return compare(run, "two", Held(rated_of(run, labels), related(group), tuned_on), fit)


def width(found: Comparison) -> float:
    assert found.accuracy_gain is not None
    return found.accuracy_gain[2] - found.accuracy_gain[1]


def first_direction(run: Run):
    """Return a direction, and labels that it tells, half of them unwanted."""
    values = rated_of(run, np.zeros(N)).embeddings[:, 0]
    return np.eye(WIDTH)[0], (values > np.median(values)).astype(np.int64)


def sorted_groups(labels, n_each: int) -> np.ndarray:
    """Return groups of one label, so many of either."""
    group = np.empty(N, dtype=np.int64)
    for label in (0, 1):
        members = np.flatnonzero(labels == label)
        group[members] = label * n_each + np.arange(len(members)) % n_each
    return group


def test_the_interval_knows_how_few_decisions_there_were(run):
    direction, truth = first_direction(run)
    group = sorted_groups(truth, 12)
    labels = np.where(np.isin(group, [0, 1, 2, 12, 13, 14]), 1 - truth, truth)  # whole groups are wrong
    alone, together = compared(run, labels, np.arange(N), direction), compared(run, labels, group, direction)
    assert width(together) > 1.25 * width(alone)


def test_what_is_clear_is_claimed_and_of_few_groups_nothing_is(run):
    direction, labels = first_direction(run)
    assert compared(run, labels, np.arange(N), direction).sentence.endswith("after learning: better")
    assert compared(run, 1 - labels, np.arange(N), direction).sentence.endswith("after learning: worse")
    assert compared(run, labels, sorted_groups(labels, 10), direction).sentence.endswith("after learning: better")
    few = compared(run, labels, sorted_groups(labels, 9), direction)
    assert few.accuracy_gain[1] > 0
    assert few.sentence.endswith("no clear difference yet")


def test_both_flag_as_many_as_people_removed(run):
    direction, _ = first_direction(run)
    values = rated_of(run, np.zeros(N)).embeddings[:, 0]
    labels = (values >= np.sort(values)[-24]).astype(np.int64)
    found = compared(run, labels, np.arange(N), direction)
    # One that ranks rightly decides rightly, though it gives half of all images more than a half.
    assert found.after.accuracy.value > 0.95
    assert found.after.roc_auc.value == 1
    # Luck alone: 10 % flagged of which 10 % are unwanted.
    assert 0.75 < found.before.accuracy.value < 0.9


def test_what_is_linked_with_images_that_the_present_classifier_knows_is_not_tested(run):
    direction, labels = first_direction(run)
    rated, group = rated_of(run, labels), sorted_groups(labels, 20)
    known = np.flatnonzero(np.isin(group, [0, 20]))
    seen: list[set[str]] = []
    found = compared(run, labels, group, direction, tuned_on={rated.digests[i] for i in known[::2]}, seen=seen)
    assert found.n == N - len(known)
    assert found.notes == (
        "the present classifier was tuned on 6 of these verdicts; the comparison leaves them, and 6 like them, out",
    )
    assert len(seen) == 5
    for trained in seen:
        for name in np.unique(group):
            members = {rated.image_ids[i] for i in np.flatnonzero(group == name)}
            assert members <= trained or not members & trained


def test_nothing_is_called_worse_than_a_classifier_that_knows_the_answers(run):
    direction, labels = first_direction(run)
    everything = set(rated_of(run, labels).digests)
    found = compared(run, 1 - labels, np.arange(N), direction, tuned_on=everything)
    assert found.n == N
    assert found.accuracy_gain[2] < 0
    assert found.sentence.endswith("no clear difference yet")
    assert compared(run, labels, np.arange(N), direction, tuned_on=everything).sentence.endswith("better")


def test_groups_of_both_labels_leave_both_to_learn_from(run):
    rng = np.random.default_rng(0)
    direction, _ = first_direction(run)
    labels = np.zeros(N, dtype=np.int64)
    group = np.arange(N) // 4
    labels[np.arange(0, 12, 4) + rng.integers(1, 4)] = (
        1  # three groups have one unwanted image each, and it is not the first
    )
    seen: list[set[str]] = []
    found = compared(run, labels, group, direction, seen=seen)
    assert found.n == N
    unwanted = {f"{i:04d}.png" for i in np.flatnonzero(labels)}
    assert len(seen) == 3
    assert all(unwanted & trained for trained in seen)
