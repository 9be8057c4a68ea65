"""Arrays, cuts and lines that make no sense are refused in words, and no picture is drawn."""

import numpy as np
import pytest

from clipsieve.errors import UsageError
from clipsieve.outputs.pictures import Curve, Series, draw_data_efficiency, draw_ratings, draw_reliability

SERIES = Series("method", np.array([0, 1]), np.array([0.1, 0.9]))
CURVE = Curve("method", np.array([1, 10]), np.array([0.5, 0.8]), np.array([0.1, 0.1]))


@pytest.mark.parametrize(
    ("labels", "probability"),
    [([], []), ([0, 2], [0.1, 0.2]), ([0, 1], [0.1, 1.2]), ([0, 1], [0.1, np.nan]), ([0, -1], [0.1, 0.2])],
)
def test_results_that_make_no_sense_are_refused(labels, probability):
    with pytest.raises(UsageError, match="`odd`"):
        Series("odd", np.array(labels, dtype=np.int64), np.array(probability, dtype=np.float64))


@pytest.mark.parametrize(
    ("size", "mean", "sd"), [(0, 0.5, 0.1), (1, np.nan, 0.1), (1, 85.0, 0.1), (1, 0.5, -0.1), (1, 0.5, np.inf)]
)
def test_curves_that_make_no_sense_are_refused(size, mean, sd):
    with pytest.raises(UsageError, match="`odd`"):
        Curve("odd", np.array([size]), np.array([mean]), np.array([sd]))


@pytest.mark.parametrize(
    "references", [[("a", np.nan)], [("a", 85.0)], [("method", 0.5)], [(str(n), 0.5) for n in range(5)]]
)
def test_lines_that_make_no_sense_are_refused(references, tmp_path):
    with pytest.raises(UsageError):
        draw_data_efficiency(tmp_path / "picture.png", [CURVE], metric="accuracy", references=references)


@pytest.mark.parametrize(
    ("ratings", "low", "high", "labels"),
    [([], 1, 2, []), ([np.inf], 1, 2, [0]), ([1e300], 1, 2, [0]), ([1.0], 2, 1, [0]), ([1.0], 1, np.nan, [0]),
     ([1.0], 1, 2, [7])],
)  # fmt: skip
def test_ratings_that_make_no_sense_are_refused(ratings, low, high, labels, tmp_path):
    with pytest.raises(UsageError):
        draw_ratings(tmp_path / "p.png", np.array(ratings, dtype=float), low, high, np.array(labels, dtype=np.int64))


def test_no_bins_are_refused(tmp_path):
    with pytest.raises(UsageError, match="reliability"):
        draw_reliability(tmp_path / "picture.png", [SERIES], n_bins=0)
