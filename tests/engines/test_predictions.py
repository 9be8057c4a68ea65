"""Reading anyone's predictions: the published figures come out, and what makes no sense is refused by its line."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.engines import rating_tables
from clipsieve.engines.predictions import read_predictions
from clipsieve.errors import UsageError
from clipsieve.evaluation.bootstrap import summarize_splits
from clipsieve.evaluation.comparison import compare_methods
from clipsieve.evaluation.metrics import check_splits

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

REPOSITORY = Path(__file__).parents[2]
PUBLISHED = REPOSITORY / "../shared/data/q16/smid_predictions_ViT-B-32.csv"

SMALL = """\
method,fraction,fold,image,rating,label,probability
soft,1.00,a,x.jpg,1.2,1,0.9
soft,1.00,a,y.jpg,4.1,0,0.2
soft,1.00,b,z.jpg,2.0,1,0.4
soft,1.00,b,x.jpg,1.2,1,0.8
soft,1.00,b,w.jpg,4.5,0,0.5
probe,0.10,a,y.jpg,4.1,0,0.6
probe,0.10,a,x.jpg,1.2,1,0.7
probe,0.10,b,w.jpg,4.5,0,0.1
probe,0.10,b,x.jpg,1.2,1,0.3
probe,0.10,b,z.jpg,2.0,1,1.0
"""


@pytest.fixture
def read(tmp_path):
    def read_text(text, **given):
        path = tmp_path / "predictions.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_predictions(path, **given)

    return read_text


def without(text, name):
    """Return a CSV without one column."""
    lines = [line.split(",") for line in text.splitlines()]
    place = lines[0].index(name)
    return "\n".join(",".join(line[:place] + line[place + 1 :]) for line in lines) + "\n"


@pytest.mark.skipif(
    not PUBLISHED.is_file(), reason=f"put the published predictions of ViT-B/32 at {PUBLISHED} to compare with them"
)
def test_the_published_predictions_give_the_published_figures():
    found = read_predictions(PUBLISHED)
    assert (found.n_left_out, found.has_images, found.notes) == (0, False, ())
    figures = {}
    for group in found.groups:
        assert [len(split.labels) for split in group.splits] == [168] * 10
        summary = summarize_splits(group.splits, n_bootstrap=100)
        accuracy = f"{100 * summary['accuracy'].mean:.2f} ± {100 * summary['accuracy'].sd:.2f}"
        rest = [f"{summary[name].mean:.3f}" for name in ("precision", "recall", "f1", "roc_auc")]
        figures[group.fraction] = (accuracy, *rest)
    assert figures[1.0] == ("94.52 ± 2.15", "0.941", "0.931", "0.936", "0.989")
    assert (figures[0.1][0], figures[0.1][-1]) == ("90.77 ± 2.51", "0.970")
    assert (figures[0.01][0], figures[0.01][-1]) == ("81.79 ± 3.44", "0.908")
    # Four probabilities are exactly 0.5; with them flagged, the accuracy would be another.
    whole = next(group for group in read_predictions(PUBLISHED, at_threshold=True).groups if group.fraction == 1)
    assert round(100 * summarize_splits(whole.splits, n_bootstrap=2)["accuracy"].mean, 2) == 94.58


def test_rows_are_divided_by_method_and_fraction_and_fold(read):
    found = read(SMALL)
    soft, probe = found.groups
    assert (soft.method, soft.fraction, soft.folds, soft.name) == ("soft", 1.0, ("a", "b"), "soft, fraction 1")
    assert (probe.method, probe.fraction, probe.folds, probe.name) == ("probe", 0.1, ("a", "b"), "probe, fraction 0.1")
    split = probe.splits[1]
    assert split.probability.tolist() == [0.3, 1.0, 0.1]
    assert split.labels.tolist() == [1, 1, 0]
    assert split.rating.tolist() == [1.2, 2.0, 4.5]
    assert split.flagged.tolist() == [False, True, False]
    assert split.n_train == 0
    assert (found.has_images, found.n_left_out, found.notes) == (True, 0, ())
    check_splits([*soft.splits, *probe.splits])


def test_named_images_stand_in_the_same_order_so_that_methods_can_be_compared(read):
    soft, probe = read(SMALL).groups
    for one, other in zip(soft.splits, probe.splits, strict=True):
        assert one.image.tolist() == other.image.tolist()
    assert soft.splits[0].image[0] == soft.splits[1].image[0]
    assert compare_methods(soft.splits, probe.splits, n_bootstrap=10).n_images == 4


def test_rows_without_names_are_images_of_their_own_and_no_methods_are_compared(read):
    found = read(without(SMALL, "image"))
    images = np.concatenate([split.image for group in found.groups for split in group.splits])
    assert len(np.unique(images)) == 10
    assert not found.has_images
    with pytest.raises(UsageError, match="same images"):
        compare_methods(*(group.splits for group in found.groups))


def test_two_columns_are_enough(read):
    found = read("probability,label\n0.5,unwanted\n0.4,wanted\n0.1,False\n1,TRUE\n1e-3, 1 \n.5,0.0\n")
    (group,) = found.groups
    assert (group.method, group.fraction, group.folds, group.name) == (None, None, ("",), "")
    (split,) = group.splits
    assert split.labels.tolist() == [1, 0, 0, 1, 1, 0]
    assert split.probability.tolist() == [0.5, 0.4, 0.1, 1.0, 0.001, 0.5]
    assert split.rating is None


def test_the_threshold_is_the_one_that_was_asked_for(read):
    text = "probability,label\n0.5,1\n0.4,0\n0.9,1\n"
    flags = lambda **given: read(text, **given).groups[0].splits[0].flagged.tolist()  # noqa: E731
    assert flags() == [False, False, True]
    assert flags(at_threshold=True) == [True, False, True]
    assert flags(threshold=0.4) == [True, False, True]
    assert flags(threshold=0.4, at_threshold=True) == [True, True, True]
    assert flags(threshold=0.95) == [False, False, False]


def test_ratings_alone_become_labels_and_those_between_the_cuts_are_left_out_and_counted(read):
    text = "fold,rating,probability\n" + "".join(f"{i % 2},{1 + i / 4},0.{i % 10}\n" for i in range(17))
    found = read(text)
    rating = np.concatenate([split.rating for split in found.groups[0].splits])
    labels = np.concatenate([split.labels for split in found.groups[0].splits])
    assert found.n_left_out == 5  # 2.5 to 3.5 by quarters, both cuts included
    assert sorted(rating[labels == 1].tolist()) == [1, 1.25, 1.5, 1.75, 2, 2.25]
    assert sorted(rating[labels == 0].tolist()) == [3.75, 4, 4.25, 4.5, 4.75, 5]
    assert read(text, low=2.0, high=4.0).n_left_out == 9
    swapped = read(text, reverse=True).groups[0].splits
    assert max(split.rating[split.labels == 0].max() for split in swapped) == 2.25


def test_a_label_counts_more_than_a_rating(read):
    found = read("rating,label,probability\n3.0,1,0.9\n1.0,0,0.2\n")
    assert found.groups[0].splits[0].labels.tolist() == [1, 0]
    assert found.n_left_out == 0


def test_parquet_with_numbers_and_truth_values_says_the_same(read, tmp_path):
    table = {
        "fold": pa.array([0, 0, 1, 1]),
        "label": pa.array([True, False, True, False]),
        "probability": pa.array([0.75, 0.25, 0.5, 1.0], pa.float32()),
        "image": pa.array(["a", "b", "a", "c"]).dictionary_encode(),
        "vector": pa.array([[1.0]] * 4),
    }
    pq.write_table(pa.table(table), tmp_path / "predictions.parquet")
    found = read_predictions(tmp_path / "predictions.parquet").groups[0]
    expected = read("fold;label;probability;image\n0;1;0.75;a\n0;0;0.25;b\n1;1;0.5;a\n1;0;1;c\n").groups[0]
    assert found.folds == expected.folds == ("0", "1")
    for one, other in zip(found.splits, expected.splits, strict=True):
        for name in ("image", "labels", "probability", "flagged"):
            assert getattr(one, name).tolist() == getattr(other, name).tolist()


def test_parquet_counts_rows(tmp_path):
    pq.write_table(pa.table({"label": [1, 0], "probability": [0.5, None]}), tmp_path / "p.parquet")
    with pytest.raises(UsageError, match=r"row 2: `probability` is no number"):
        read_predictions(tmp_path / "p.parquet")


def test_one_class_alone_is_said_in_words(read):
    found = read("method,fold,label,probability\nm,1,1,0.5\nm,2,0,0.5\nm,3,0,0.5\nm,4,0,1\nm,4,1,0\n")
    assert found.notes == (
        "fold `1` of m: unwanted images alone, so ROC AUC is undefined there",
        "folds `2`, `3` of m: wanted images alone, so recall, F1, ROC AUC and average precision are undefined there",
    )
    assert summarize_splits(found.groups[0].splits, n_bootstrap=10)["roc_auc"].n_undefined == 3
    assert read("label,probability\n1,0.5\n").notes[0].startswith("all rows: unwanted images alone")


def test_a_fold_without_a_row_is_said_in_words(read):
    found = read("fold,rating,probability\n1,1,0.5\n1,5,0.5\n2,3,0.5\n")
    assert found.groups[0].folds == ("1",)
    assert found.notes == ("fold `2`: no row is left, since all ratings lie between the cuts",)
    assert found.n_left_out == 1


REFUSED = {
    "no probability": ("label,fold\n1,1\n", "lacks the column `probability`"),
    "no label": ("probability\n1\n", "lacks the column `label` or `rating`"),
    "neither": ("a,b\n1,1\n", "lacks the columns `probability`, and `label` or `rating`"),
    "a column twice": ("label,probability,label\n1,1,1\n", "there are 2 columns `label`"),
    "no row": ("label,probability\n", "has no rows"),
    "nothing": ("", "is empty"),
    "not UTF-8": ("label,probability,image\n1,0.5,caf\xe9\n".encode("latin-1"), "no text in UTF-8"),
    "a short row": ("label,probability\n1,0.5\n1\n", "line 3: the number of cells"),
    "NaN": ("label,probability\n1,0.5\n0,nan\n", "line 3: `probability` is no number"),
    "an empty cell": ("label,probability\n1,\n0,0.5\n", "line 2: `probability` is no number"),
    "text": ("label,probability\n1,0.5\n\n0,high\n", "line 4: `probability` is no number"),
    "above 1": ("label,probability\n1,0.5\n0,1.01\n", "line 3: `probability` is out of range"),
    "below 0": ("label,probability\n1,-0.1\n", "line 2: `probability` is out of range"),
    "an underscore": ("label,probability\n1,1_0\n", "is no number"),
    "percent": ("fraction,label,probability\n10,1,0.5\n", "`fraction` is out of range"),
    "too large a number": ("rating,probability\n1e999,0.5\n", "`rating` is out of range"),
    "an infinite rating": ("rating,probability\ninf,0.5\n", "`rating` is no number"),
    "an unknown label": ("label,probability\n1,0.5\nmaybe,0.5\n", "line 3: `label` is none of the known words"),
    "no label in a row": ("label,probability\n1,0.5\n,0.5\n", "line 3: `label` is none of the known words"),
    "no fold in a row": ("fold,label,probability\n,1,0.5\n", "line 2: `fold` is empty"),
    "no image in a row": ("image,label,probability\nx,1,0.5\n ,1,0.5\n", "line 3: `image` is empty"),
    "undecided people": ("rating,probability\n3,0.5\n2.5,0.5\n", "no rating in .* makes an image unwanted or wanted"),
    "an image twice": (
        "image,label,probability\nx,1,0.5\ny,1,0.5\nx,0,0.5\n",
        "lines 2, 4: the image `x` is there twice",
    ),
    "an image twice in a fold": (
        SMALL.replace("soft,1.00,b,z.jpg", "soft,1.00,b,w.jpg"),
        "lines 4, 6: the image `w.jpg`",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused_by_its_line(read, name):
    text, words = REFUSED[name]
    with pytest.raises(UsageError, match=words):
        read(text)


def test_a_decimal_comma_is_explained(read):
    with pytest.raises(UsageError) as caught:
        read("label;probability\n1;0,5\n")
    assert "decimals with a point" in str(caught.value)


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path, read, monkeypatch):
    with pytest.raises(UsageError, match="there is no file"):
        read_predictions(tmp_path / "none.csv")
    monkeypatch.setattr(rating_tables, "MAX_BYTES", 10)
    with pytest.raises(UsageError, match="too large"):
        read(SMALL)


def test_as_many_folds_as_rows_take_no_time(read):
    rows = "".join(f"{i},{i % 2},0.{i % 10}\n" for i in range(20_000))
    assert len(read("fold,label,probability\n" + rows).groups[0].splits) == 20_000


def test_decisions_that_were_made_and_test_sets_and_empty_fractions_are_read(tmp_path):
    (tmp_path / "p.csv").write_text(
        "method,fraction,test,label,probability,flagged\n"
        "words,,new,1,0.2,1\nwords,,new,0,0.1,0\nwords,,old,1,0.9,0\nwords,,old,0,0.1,1\n"
    )
    found = read_predictions(tmp_path / "p.csv")
    assert [(group.method, group.fraction, group.test_name) for group in found.groups] == [
        ("words", None, "new"),
        ("words", None, "old"),
    ]
    assert [group.splits[0].flagged.tolist() for group in found.groups] == [[True, False], [False, True]]


def test_a_decision_that_is_no_decision_is_refused(tmp_path):
    (tmp_path / "p.csv").write_text("label,probability,flagged\n1,0.2,1\n0,0.1,perhaps\n")
    with pytest.raises(UsageError, match="line 3"):
        read_predictions(tmp_path / "p.csv")
