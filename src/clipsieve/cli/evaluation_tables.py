"""An evaluation as tables of a terminal, 80 columns wide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from clipsieve.cli import render
from clipsieve.engines.evaluation import at_largest_fraction

if TYPE_CHECKING:
    from clipsieve.engines import Evaluation, EvaluationRow, NamedComparison
    from clipsieve.evaluation.bootstrap import MetricSummary

__all__ = ["show_evaluation"]

WORDS = {
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "brier_score": "Brier score",
    "calibration_error": "calibration error",
}
NAME_WIDTH = 32  # of which a heading makes two lines


def show_evaluation(evaluation: Evaluation) -> None:
    """Print the figures: what was evaluated, a table, intervals, counts, comparisons, notes."""
    for line in _heading(evaluation):
        render.print_text(line)
    test_names = list(dict.fromkeys(row.test_name for row in evaluation.rows))
    for test_name in test_names:
        rows = [row for row in evaluation.rows if row.test_name == test_name]
        render.print_text()
        if test_name:
            render.print_text(
                f"on `{test_name}`: {render.count(rows[0].n_images, 'image')}, {_n_unwanted(rows[0]):,} unwanted"
            )
        _show_figures(rows)
        fractions = sorted({row.fraction for row in rows if row.fraction is not None})
        if len(fractions) > 1:
            render.print_text(f"\nwhat follows is with {100 * fractions[-1]:g} % of the training images")
        if len(test_names) == 1:  # of several, the JSON has these as well
            largest = at_largest_fraction(rows)
            _show_intervals(largest, evaluation)
            _show_counts(largest)
            _show_ratings(largest)
        _show_comparisons([one for one in evaluation.comparisons if one.test_name == test_name])
    for note in evaluation.notes:
        render.print_warning(note)


def _heading(evaluation: Evaluation) -> list[str]:
    facts = evaluation.facts
    if "predictions" in facts:
        rule = "at or above" if facts["at_threshold"] else "above"
        return [f"file      {facts['predictions']['file']}", f"unwanted  probability {rule} {facts['threshold']:g}"]
    protocol, ratings = facts["protocol"], facts["ratings"]
    names = {"kfold": "disjoint folds", "paper": "random splits, 10 % tested", "hold-out": "splits made beforehand"}
    times = "" if protocol["name"] == "hold-out" else f"{protocol['n_splits']} "
    lines = [
        f"images    {facts['n_images']:,} rated, {facts['n_unwanted']:,} of them unwanted ({_rule(ratings)})",
        f"protocol  {protocol['name']}: {times}{names[protocol['name']]}, seed {protocol['seed']}",
        f"prompts   {facts['prompts']}",
    ]
    if facts["n_left_out"]:
        lines.insert(1, f"left out  {facts['n_left_out']:,} between the cuts")
    return lines


def _rule(ratings: dict[str, object]) -> str:
    if ratings["kind"] != "rating":
        return f"`{ratings['column']}`"
    unwanted = f"above {ratings['high']:g}" if ratings["reverse"] else f"below {ratings['low']:g}"
    return f"`{ratings['column']}` {unwanted}"


def _n_unwanted(row: EvaluationRow) -> int:
    return round((row.confusion.tp + row.confusion.fn) * row.n_images / row.n_predictions)


def _show_figures(rows: list[EvaluationRow]) -> None:
    columns = [
        ("method", "left"),
        ("images", "right"),
        ("accuracy %", "right"),
        ("prec.", "right"),
        ("recall", "right"),
    ]
    columns += [("F1", "right"), ("AUC", "right"), ("AP", "right")]
    short = ("precision", "recall", "f1", "roc_auc", "average_precision")
    table = [
        (
            _name(row),
            "-" if row.n_train is None else f"{row.n_train:,}",
            _percent(row.metrics["accuracy"]),
            *(_three(row.metrics[name].mean) for name in short),
        )
        for row in rows
    ]
    render.print_table(columns, table)


def _name(row: EvaluationRow) -> str:
    if row.fraction is None or row.n_train is not None:
        return row.name
    return f"{row.name} {100 * row.fraction:g} %"


def _percent(summary: MetricSummary) -> str:
    spread = "" if math.isnan(summary.sd) else f" ± {100 * summary.sd:5.2f}"
    return f"{100 * summary.mean:.2f}{spread}"


def _three(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _show_intervals(rows: list[EvaluationRow], evaluation: Evaluation) -> None:
    confidence = 100 * evaluation.facts["bootstrap"]["confidence"]
    render.print_text()
    for start in range(0, len(rows), 3):
        shown = rows[start : start + 3]
        columns = [(f"{confidence:g} % intervals", "left"), *((_short(row.name), "right") for row in shown)]
        table = [(WORDS[name], *(_interval(row.metrics[name]) for row in shown)) for name in WORDS]
        render.print_table(columns, table)


def _short(name: str) -> str:
    return name if len(name) <= NAME_WIDTH else f"…{name[-NAME_WIDTH + 1 :]}"


def _interval(summary: MetricSummary) -> str:
    if math.isnan(summary.mean):
        return "-"
    return f"{_three(summary.low)} to {_three(summary.high)}"


def _show_counts(rows: list[EvaluationRow]) -> None:
    columns = [
        ("tested", "left"),
        ("flagged rightly", "right"),
        ("wrongly", "right"),
        ("missed", "right"),
        ("passed", "right"),
    ]
    render.print_text()
    counts = [(row.name, row.confusion) for row in rows]
    render.print_table(columns, [(name, f"{c.tp:,}", f"{c.fp:,}", f"{c.fn:,}", f"{c.tn:,}") for name, c in counts])


def _show_ratings(rows: list[EvaluationRow]) -> None:
    rated = [row for row in rows if row.by_rating]
    if not rated:
        return
    rated = rated[: 4 if max(len(row.name) for row in rated) <= 13 else 3]  # what 80 columns hold
    columns = [("rating", "left"), ("tested", "right"), *((_short(row.name), "right") for row in rated)]
    table = []
    for place, first in enumerate(rated[0].by_rating):
        if first.n:
            shares = (
                "-" if not row.by_rating[place].n else render.percent(row.by_rating[place].accuracy) for row in rated
            )
            table.append((f"{first.low:g} to {first.high:g}", f"{first.n:,}", *shares))
    render.print_text()
    render.print_table(columns, table, title="accuracy by rating")


def _show_comparisons(comparisons: list[NamedComparison]) -> None:
    if not comparisons:
        return
    columns = [("difference of ROC AUC", "left"), ("", "right"), ("interval", "right"), ("p, splits", "right")]
    columns += [("p, McNemar", "right")]
    table = []
    for one in comparisons:
        metric = one.comparison.metrics["roc_auc"]
        table.append(
            (
                f"{_short(one.second)} - {_short(one.first)}",
                _signed(-metric.difference),
                f"{_signed(-metric.high)} to {_signed(-metric.low)}",
                _p(metric.t_p_value),
                _p(one.comparison.mcnemar.p_value),
            )
        )
    render.print_text()
    render.print_table(columns, table)


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"  # no minus before zero


def _p(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
