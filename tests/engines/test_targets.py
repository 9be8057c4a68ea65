"""From labels or class names to the classes of a prompt set."""

from dataclasses import replace

import numpy as np
import pytest

from clipsieve.classifiers import ZeroShot
from clipsieve.engines.rated_images import JoinReport, RatedImages
from clipsieve.engines.targets import build_targets, with_labels
from clipsieve.errors import UsageError

PRIOR = ZeroShot(
    class_embeddings=np.eye(3, dtype=np.float32),
    class_names=("weapons", "gore", "harmless"),
    unwanted=(True, True, False),
    encoder_name="tiny",
    encoder_weights_sha256=None,
)


def rated(labels: list[int], classes: tuple[str, ...] | None = None) -> RatedImages:
    n = len(labels)
    names = tuple(map(str, range(n)))
    report = JoinReport(n, n, {}, (), (), (), 0)
    rows = np.tile(np.array([[1, 0, 0]], np.float32), (n, 1))
    return RatedImages(names, names, names, rows, np.full(n, np.nan), np.array(labels), classes, None, report)


def test_a_label_allows_all_classes_of_its_side():
    targets = build_targets(np.array([1, 0, 1]), None, PRIOR)
    np.testing.assert_array_equal(targets, [[1, 1, 0], [0, 0, 1], [1, 1, 0]])


def test_a_class_name_allows_that_class_alone():
    targets = build_targets(np.array([1, 0]), ("gore", "harmless"), PRIOR)
    np.testing.assert_array_equal(targets, [[0, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize("classes", [None, ()])
def test_no_images_have_targets_for_every_class(classes):
    found = build_targets(np.zeros(0, np.int64), classes, PRIOR)
    assert (found.shape, found.dtype) == ((0, 3), bool)


def test_class_names_become_labels_by_what_the_classifier_says_of_them():
    found = with_labels(rated([-1] * 3, ("harmless", "weapons", "gore")), PRIOR)
    assert found.labels.tolist() == [0, 1, 1]
    other = replace(PRIOR, unwanted=(True, False, False))
    assert with_labels(rated([-1] * 3, ("harmless", "weapons", "gore")), other).labels.tolist() == [0, 1, 0]


def test_images_that_people_were_undecided_about_are_left_out():
    found = with_labels(rated([1, -1, 0, -1]), PRIOR)
    assert found.labels.tolist() == [1, 0]
    assert found.names == ("0", "2")


def test_unknown_classes_are_listed():
    with pytest.raises(UsageError, match="the prompts do not have") as caught:
        with_labels(rated([-1] * 3, ("gore", "harmless", "Gore")), PRIOR)
    assert "`Gore`" in caught.value.found
    assert "`gore`" not in caught.value.found
    assert "`weapons`" in caught.value.expected


@pytest.mark.parametrize(("labels", "classes"), [([1, 1, -1], None), ([-1, -1], ("gore", "weapons")), ([0], None)])
def test_one_label_alone_is_refused(labels, classes):
    with pytest.raises(UsageError, match="one label alone"):
        with_labels(rated(labels, classes), PRIOR)
