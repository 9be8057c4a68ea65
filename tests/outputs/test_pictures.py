"""Pictures are valid, the same for the same input, say what scikit-learn says, and need no more than one file."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from threading import Thread

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, roc_auc_score

from clipsieve.errors import MissingExtraError, UsageError
from clipsieve.outputs import canvas as canvas_module
from clipsieve.outputs.lettering import clean, fit
from clipsieve.outputs.pictures import (
    Curve,
    Series,
    draw_data_efficiency,
    draw_precision_recall,
    draw_ratings,
    draw_reliability,
    draw_roc,
)
from clipsieve.outputs.ratings_picture import _edges
from clipsieve.outputs.reliability_picture import _equal_mass_bins

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

SIZES = np.array([1, 10, 100, 1000])
ODD_NAMES = ["_hidden", "$x_1$ & <b>", "a" * 500, "Пример", "two\nlines\0", "50 % off", "图像", "k"]


def series(name="method", n=300, separation=1.5, seed=0):
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 5 == 0).astype(np.int64)
    return Series(name, labels, 1 / (1 + np.exp(1 - separation * labels - rng.normal(size=n))))


def curve(name="method", sizes=SIZES):
    return Curve(name, sizes, 0.9 - 0.3 * sizes**-0.5, 0.05 * sizes**-0.5)


def ratings_with_labels():
    ratings = np.clip(np.random.default_rng(0).normal(3, 0.8, 500), 1, 5)
    return ratings, np.where(ratings < 2.5, 1, np.where(ratings > 3.5, 0, -1))


def draw_curves(path):
    return draw_data_efficiency(path, [curve()], metric="balanced accuracy", references=[("zero-shot", 0.7)])


def draw_cuts(path):
    ratings, labels = ratings_with_labels()
    return draw_ratings(path, ratings, 2.5, 3.5, labels)


DRAWN = {
    "roc": lambda path: draw_roc(path, [series("a"), series("b", separation=3)]),
    "precision-recall": lambda path: draw_precision_recall(path, [series("a"), series("b", separation=3)]),
    "reliability": lambda path: draw_reliability(path, [series("a"), series("b", separation=3)]),
    "efficiency": draw_curves,
    "ratings": draw_cuts,
}
OF_METHODS = [draw_roc, draw_precision_recall, draw_reliability]
every_picture = pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)


def words(path):
    """Return all texts of an SVG file, in the order in which they are drawn."""
    root = ET.parse(path).getroot()  # noqa: S314 - our own file
    return [" ".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


@every_picture
def test_a_png_is_valid_white_at_its_corners_and_described(draw, tmp_path):
    path = draw(tmp_path / "picture.png")
    with Image.open(path) as image:
        image.load()
        assert image.width == 1280
        assert 600 < image.height < 1300
        assert len(image.info["Description"]) > 30
        assert "Software" not in image.info
        corners = [(0, 0), (1279, 0), (0, image.height - 1), (1279, image.height - 1)]
        assert {image.convert("RGB").getpixel(corner) for corner in corners} == {(255, 255, 255)}
    assert list(tmp_path.iterdir()) == [path]


@every_picture
def test_an_svg_is_valid_and_described_and_has_no_date(draw, tmp_path):
    text = draw(str(tmp_path / "picture.svg")).read_text()
    assert words(tmp_path / "picture.svg")
    assert "<dc:description>" in text
    assert "dc:date" not in text
    assert mpl.__version__ not in text


@every_picture
@pytest.mark.parametrize("suffix", [".png", ".SVG"])
def test_the_same_input_gives_the_same_bytes(draw, suffix, tmp_path, monkeypatch):
    first = draw(tmp_path / f"first{suffix}").read_bytes()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):  # a person's own settings
        assert draw(tmp_path / f"second{suffix}").read_bytes() == first
        assert mpl.rcParams["font.size"] == 30


def test_several_threads_draw_the_same_as_one(tmp_path):
    alone = DRAWN["roc"](tmp_path / "alone.svg").read_bytes()
    paths = [tmp_path / f"{number}.svg" for number in range(4)]
    threads = [Thread(target=DRAWN["roc"], args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() for path in paths] == [alone] * 4


@pytest.mark.parametrize(
    ("draw", "label", "reference"),
    [(draw_roc, "AUC", roc_auc_score), (draw_precision_recall, "AP", average_precision_score)],
)
def test_the_legend_gives_each_method_the_value_of_scikit_learn(draw, label, reference, tmp_path):
    methods = [series("zero-shot", separation=0.8), series("linear probe", separation=2.5, seed=1)]
    found = " ".join(words(draw(tmp_path / "picture.svg", methods)))
    for method in methods:
        value = reference(method.labels, method.probability)
        assert f"{method.name} {label} {value:.3f}" in found


def test_the_chance_level_of_precision_is_the_share_of_unwanted_images(tmp_path):
    assert "precision 20.0 %" in words(draw_precision_recall(tmp_path / "picture.svg", [series()]))
    mixed = [series("a"), Series("b", np.array([0, 1]), np.array([0.1, 0.9]))]
    assert "precision 20.0 % to 50.0 %" in words(draw_precision_recall(tmp_path / "picture.svg", mixed))


@pytest.mark.parametrize("draw", OF_METHODS)
@pytest.mark.parametrize("label", [0, 1])
def test_images_of_one_class_get_words(draw, label, tmp_path):
    one_class = Series("lonely", np.full(3, label), np.array([0.1, 0.5, 0.5]))
    found = words(draw(tmp_path / "picture.svg", [one_class]))
    assert "lonely" in found
    if draw is not draw_reliability:
        assert f"no curve: all {'unwanted' if label else 'wanted'}" in found
        assert "No curve can be drawn:" in found
        assert "No curve can be drawn:" not in words(draw(tmp_path / "picture.svg", [one_class, series()]))


@pytest.mark.parametrize("n_bins", [1, 2, 10, 1000])
@pytest.mark.parametrize("digits", [1, 8])
def test_bins_are_those_of_scikit_learn(n_bins, digits):
    method = series(seed=3)
    method = Series("rounded", method.labels, np.round(method.probability, digits))
    predicted, observed = _equal_mass_bins(method, n_bins)
    true, mean = calibration_curve(method.labels, method.probability, n_bins=n_bins, strategy="quantile")
    np.testing.assert_allclose(observed, true)
    np.testing.assert_allclose(predicted, mean)


@pytest.mark.slow
@pytest.mark.parametrize("draw", OF_METHODS)
def test_eight_methods_with_odd_names_are_drawn_and_described_in_full(draw, tmp_path):
    methods = [series(name, seed=number) for number, name in enumerate(ODD_NAMES)]
    with Image.open(draw(tmp_path / "picture.png", methods)) as image:
        assert image.width == 1280
        assert all(clean(name) in image.info["Description"] for name in ODD_NAMES)
    found = words(draw(tmp_path / "picture.svg", methods))
    assert {"_hidden", "$x_1$ & <b>", "two lines"} <= set(found)


def test_a_legend_that_is_longer_than_the_axes_makes_the_picture_higher(tmp_path):
    names = [f"{number} {'a long name of a method ' * 3}{number}" for number in range(12)]
    references = [(name, 0.5) for name in names[8:]]
    few = draw_data_efficiency(tmp_path / "few.png", [curve()], metric="accuracy")
    many = draw_data_efficiency(
        tmp_path / "many.png", [curve(name) for name in names[:8]], metric="accuracy", references=references
    )
    with Image.open(few) as low, Image.open(many) as high:
        assert high.height > low.height + 100
        last_rows = np.asarray(high.convert("L"))[-15:]
        assert (last_rows == 255).all()


@pytest.mark.filterwarnings("ignore:Glyph")  # as on a canvas: letters that the font lacks
@given(st.text(max_size=400))
def test_a_name_fits_into_two_lines_and_keeps_its_ends(name):
    fitted = fit(name)
    assert fitted.count("\n") <= 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", fitted)
    letters = clean(name).replace(" ", "")
    shown = re.sub(r"\s", "", fitted)
    if shown != letters:
        start, _, end = shown.rpartition("…") if "…" not in letters else (shown[:1], "", shown[-1:])
        assert letters.startswith(start)
        assert letters.endswith(end)


def test_data_efficiency_has_ticks_at_sizes_that_were_measured(tmp_path):
    found = words(draw_curves(tmp_path / "picture.svg"))
    assert {"1", "10", "100", "1,000", "balanced accuracy", "zero-shot", "70.0 %", "over splits"} <= set(found)
    crowded = curve(sizes=np.arange(1000, 1100))
    ticks = [w for w in words(draw_data_efficiency(tmp_path / "p.svg", [crowded], metric="F1")) if w.startswith("1,0")]
    assert 3 <= len(ticks) <= 10


def test_one_training_size_without_a_deviation_is_a_point(tmp_path):
    point = Curve("point", np.array([7]), np.array([1.0]), np.array([np.nan]))
    found = words(draw_data_efficiency(tmp_path / "picture.svg", [point], metric="accuracy"))
    assert "7" in found
    assert "over splits" not in found


def test_the_order_of_training_sizes_does_not_matter(tmp_path):
    forth, back = curve(), Curve("method", SIZES[::-1].copy(), curve().mean[::-1].copy(), curve().sd[::-1].copy())
    files = [draw_data_efficiency(tmp_path / f"{n}.svg", [c], metric="m") for n, c in enumerate((forth, back))]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_ratings_are_counted_by_class_and_cut(tmp_path):
    _, labels = ratings_with_labels()
    found = [word.strip() for word in words(draw_cuts(tmp_path / "picture.svg"))]
    assert {"low cut 2.5", "high cut 3.5"} <= set(found)
    for label, name in ((1, "unwanted"), (0, "wanted"), (-1, "left out")):
        assert f"{name} ({(labels == label).sum()})" in found


@given(
    st.lists(st.floats(-1e6, 1e6, width=32) | st.integers(1, 7), min_size=1, max_size=50),
    st.floats(-1e6, 1e6),
    st.floats(0, 10),
)
def test_bars_hold_every_rating(ratings, low, gap):
    values = np.array(ratings, dtype=np.float64)
    edges = _edges(values, low, low + gap)
    assert 2 <= len(edges) <= 70
    assert np.histogram(values, edges)[0].sum() == len(values)


def test_cuts_lie_between_bars_and_whole_marks_amid_them():
    ratings, _ = ratings_with_labels()
    edges = _edges(ratings, 2.5, 3.5)
    assert np.isclose(edges, 2.5).any()
    assert np.isclose(edges, 3.5).any()
    np.testing.assert_allclose(_edges(np.array([1.0, 2, 3, 5]), 2, 4), [0.5, 1.5, 2.5, 3.5, 4.5, 5.5])


@pytest.mark.parametrize("draw", [DRAWN["roc"], draw_cuts])
@pytest.mark.parametrize("name", ["picture.jpg", "picture", "missing/picture.png", "folder.png", "null\0.svg"])
def test_a_path_that_cannot_be_written_is_refused_in_words(draw, name, tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match=r"cannot (draw|write)"):
        draw(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


@pytest.mark.parametrize("draw", [*OF_METHODS, lambda path, curves: draw_data_efficiency(path, curves, metric="F1")])
def test_none_too_many_or_doubled_methods_are_refused(draw, tmp_path):
    make = series if draw in OF_METHODS else curve
    for names in ([], [str(number) for number in range(9)], ["a", " a"], [" "]):
        with pytest.raises(UsageError, match="methods"):
            draw(tmp_path / "picture.png", [make(name) for name in names])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("draw", [DRAWN["roc"], draw_cuts])
def test_a_missing_library_is_named(draw, tmp_path, monkeypatch):
    def fail(name):
        raise ImportError(name)

    monkeypatch.setattr(canvas_module, "import_module", fail)
    with pytest.raises(MissingExtraError, match=r"matplotlib|sklearn"):
        draw(tmp_path / "picture.png")


def test_nothing_heavy_is_imported_before_a_picture_and_never_pyplot(tmp_path):
    code = f"""
import sys
import numpy as np
from clipsieve.outputs.pictures import draw_ratings
assert not {{"matplotlib", "sklearn", "scipy"}} & set(sys.modules)
draw_ratings({str(tmp_path / "picture.png")!r}, np.ones(3), 1.0, 2.0, np.ones(3, dtype=np.int64))
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
