import xml.etree.ElementTree as ET

import numpy as np
import pytest

from clipsieve.outputs.report.charts import Segment, draw_bar, draw_interval, draw_strip, element, nice_limit
from clipsieve.outputs.report.histogram import Sheet, choose_scale, draw_histogram
from clipsieve.outputs.report.records import HistogramBin

HOSTILE = "</svg><script>\"&'"


def rects(svg: str, css: str) -> list[dict[str, float]]:
    found = [each for each in ET.fromstring(svg).iter("rect") if each.get("class") == css]  # noqa: S314 - our own
    return [{name: float(each.get(name)) for name in ("x", "y", "width", "height")} for each in found]


def bins(counts) -> list[HistogramBin]:
    return [HistogramBin(i / len(counts), (i + 1) / len(counts), int(n)) for i, n in enumerate(counts)]


def test_text_and_values_are_escaped():
    made = element("g", HOSTILE, element("b", HOSTILE), class_=HOSTILE, x=1.0, y=None)
    tree = ET.fromstring(made)  # noqa: S314
    assert (tree.text, tree[0].text, tree.attrib) == (HOSTILE, HOSTILE, {"class": HOSTILE, "x": "1"})


def test_the_length_of_a_bar_is_its_share_and_the_whisker_its_interval():
    svg = draw_bar(0.2, "flagged", limit=0.5, interval=(0.1, 0.3), mark=0.25)
    assert rects(svg, "flagged")[0]["width"] == pytest.approx(40)
    lines = [each for each in ET.fromstring(svg).iter("line")]  # noqa: C416, S314
    whisker, mark = lines[0], lines[-1]
    assert (whisker.get("x1"), whisker.get("x2"), mark.get("x1"), mark.get("class")) == ("20", "60", "50", "mark")


def test_an_interval_lies_where_it_should_even_at_the_ends():
    assert rects(draw_interval(0.5, 0.25, 0.75), "band")[0] == {"x": 25, "y": 6, "width": 50, "height": 8}
    point = rects(draw_interval(1.0, 0.9, 1.0), "point")[0]
    assert point["x"] + point["width"] == pytest.approx(100)


def test_a_strip_is_cut_in_proportion_and_its_smallest_part_can_be_seen():
    svg = draw_strip([Segment("a", 600, "one"), Segment("b", 400, "two"), Segment("c", 0, "three")])
    assert rects(svg, "one")[0]["width"] == pytest.approx(60, abs=0.3)
    assert rects(svg, "two")[0]["width"] == pytest.approx(40, abs=0.3)
    assert not rects(svg, "three")
    svg = draw_strip([Segment("a", 10**6, "one"), Segment("b", 1, "two")])
    (last,) = rects(svg, "two")
    assert last["width"] >= 0.1
    assert last["x"] + last["width"] <= 100.01
    assert "rect" not in draw_strip([])


def test_axes_end_at_round_shares():
    for value in np.random.default_rng(0).uniform(0, 1, 200):
        assert value <= nice_limit(value) <= max(2.5 * value, 0.0001)
    assert nice_limit(1.0) == 1.0


@pytest.mark.parametrize(
    ("counts", "scale"),
    [([5, 100, 0], "linear"), ([1, 1000], "square root"), ([3, 900_000], "logarithm"), ([0, 0], "linear")],
)
def test_the_scale_is_the_plainest_that_shows_the_smallest_count(counts, scale):
    assert choose_scale(bins(counts)) == scale
    assert ET.fromstring(draw_histogram(bins(counts), 0.5, None, key="k", width=800)) is not None  # noqa: S314


@pytest.mark.parametrize("highest", [1, 3, 40, 999, 1_000_000])
@pytest.mark.parametrize("scale", ["linear", "square root", "logarithm"])
def test_ticks_lie_on_the_axis_apart_from_each_other(highest, scale):
    sheet = Sheet("k", 800, 300, scale, highest)
    places = sorted(sheet.y(n) for n in sheet.ticks())
    assert sheet.ticks().count(0) == 1
    assert all(sheet.top - 1e-6 <= place <= sheet.bottom for place in places)
    assert np.diff(places).min(initial=99) >= 20
    assert sheet.y(highest) == pytest.approx(sheet.top)


def test_bars_rise_with_their_counts_and_change_colour_at_the_thresholds():
    counts = [400, 100, 0, 25, 4, 1]
    svg = draw_histogram(bins(counts), 0.25, 0.75, key="k", width=800)
    sheet = Sheet("k", 800, 300, choose_scale(bins(counts)), 400)
    for css, low, high in (("unflagged", 0, 0.25), ("flagged", 0.25, 0.75), ("removed", 0.75, 1)):
        for each in rects(svg, css):
            assert sheet.x(low) - 1e-2 <= each["x"]
            assert each["x"] + each["width"] <= sheet.x(high) + 1e-2
    heights = {round(each["height"], 1) for css in ("unflagged", "flagged", "removed") for each in rects(svg, css)}
    assert heights == {round(sheet.bottom - sheet.y(n), 1) for n in counts if n}
    assert "flagged from 0.25" in svg
    assert "removed from 0.75" in svg


@pytest.mark.parametrize(("threshold", "remove"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5), (0.999, None)])
@pytest.mark.parametrize("width", [320, 820])
def test_names_of_thresholds_stay_inside_and_apart(threshold, remove, width):
    svg = ET.fromstring(draw_histogram(bins([1, 2]), threshold, remove, key="k", width=width))  # noqa: S314
    names = [each for each in svg.iter("text") if each.get("class") == "threshold-name"]
    for each in names:
        length, x = 7 * len(each.text), float(each.get("x"))
        left = x if each.get("text-anchor") == "start" else x - length
        assert left >= 0
        assert left + length <= width
    assert len({each.get("y") for each in names}) == len(names) == 1 + (remove is not None)


def test_it_is_described_for_those_who_do_not_see_it():
    svg = ET.fromstring(draw_histogram(bins([4, 1000, 6]), 0.5, 0.9, key="k", width=800))  # noqa: S314
    ids = svg.get("aria-labelledby").split()
    words = {each.get("id"): each.text for each in svg if each.get("id")}
    assert set(ids) == set(words)
    assert "1,010 images in 3 bins" in words[ids[1]]
    assert "holds 1,000" in words[ids[1]]
    assert draw_histogram([], 0.5, None, key="k", width=800) == ""
