"""Orders of review: which image comes when, and which never."""

import numpy as np
import pytest

from clipsieve.engines.verdicts import SampledImage
from clipsieve.review import queues
from clipsieve.review.catalog import Catalog
from scored_runs import write_scored_run

PROBABILITY = [0.99, 0.81, None, 0.9, "blocked", 0.0, 1.0, 0.81, 0.5]
LABELS = ["cat", "dog", "cat", "dog", "dog", "cat", "dog", "dog", None]


@pytest.fixture
def catalog(tmp_path) -> Catalog:
    return Catalog.open(write_scored_run(tmp_path / "run", PROBABILITY, threshold=0.9, part_size=4, labels=LABELS))


def test_the_highest_come_first_and_equal_ones_in_the_order_of_the_run(catalog):
    assert queues.highest(catalog).tolist() == [6, 0, 3, 1, 7, 8, 5]


def test_the_most_uncertain_come_first_by_their_odds(catalog):
    # 0.81 is as far from 0.9 as 0.99 is in probability, and nearer in odds.
    assert queues.uncertain(catalog).tolist()[:5] == [3, 1, 7, 8, 0]
    assert sorted(queues.uncertain(catalog).tolist()) == [0, 1, 3, 5, 6, 7, 8]


@pytest.mark.parametrize(("threshold", "first"), [(0.0, 1), (1.0, 3)])
def test_a_threshold_at_an_end_has_an_order_too(tmp_path, threshold, first):
    probability = [0.5, 0.0, 1e-30, 1.0, 1 - 2.0**-24]
    found = queues.uncertain(Catalog.open(write_scored_run(tmp_path / "run", probability, threshold=threshold)))
    assert found[0] == first
    assert found[1] == {1: 2, 3: 4}[first]


def test_classes_and_concepts(catalog):
    cat, dog = catalog.labels.index("cat"), catalog.labels.index("dog")
    assert queues.of_class(catalog, cat).tolist() == [0, 5]
    assert queues.of_class(catalog, dog).tolist() == [6, 3, 1, 7]
    assert queues.of_class(catalog, -1).tolist() == []
    assert queues.of_class(catalog, 2).tolist() == []
    codes = np.array([0, 1, 1, -1, 1, 1, -1, 0, 1], dtype=np.int16)
    assert queues.of_concept(catalog, codes, 1).tolist() == [1, 8, 5]
    assert queues.of_concept(catalog, codes, -1).tolist() == []


def test_a_sample_keeps_its_own_order(catalog):
    names = ["0005.png", "0002.png", "0004.png", "gone.png", "0000.png"]
    sample = [SampledImage(name, f"file:///{name}", 1, 5, False) for name in names]
    assert queues.audit(catalog, sample).tolist() == [5, 0]
    assert queues.audit(catalog, []).tolist() == []
