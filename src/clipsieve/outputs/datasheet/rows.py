"""The rows of `report.json` by name, so that prose can say where a number comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from clipsieve.outputs.report.records import ClassFlags, Concept, Failure, Figure, Report

__all__ = ["Row", "RowValue", "concept_row", "find_row"]

RowValue: TypeAlias = int | float | str | None
_PLAIN_KEY = re.compile(r"[A-Za-z][\w-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a report.

    Attributes
    ----------
    path : str
        Where it stands in `report.json`, such as "figures/n_flagged": keys from the top, with `/` between them. An object of a
        list goes by its `id`, `code` or `name`, or by its position from 0.
    values : mapping of str to int, float, str or None
        What prose may say of it, under the names of the file; a row that is a bare number or text has one, `""`.
    words : str
        What it is; empty where the path says it.
    name : str or None
        What the data set or the taxonomy calls it.
    """

    path: str
    values: Mapping[str, RowValue]
    words: str = ""
    name: str | None = None


def find_row(report: Report, path: str) -> Row:
    """Return the row of a path; KeyError if there is none."""
    table, _, key = path.rpartition("/")
    if table == "figures":
        return _figure(path, report.figure(key))
    if table == "failures":
        return _failure(path, {failure.code: failure for failure in report.failures}[key])
    if table == "classes":
        return _class(path, report.classes[_position(key, len(report.classes))])
    if table == "taxonomy/concepts":
        return _concept(path, _concepts(report)[key])
    if table in ("promises", "limits"):
        sentences: tuple[str, ...] = getattr(report, table)
        return Row(path, {"": sentences[_position(key, len(sentences))]})
    if path.startswith("method/"):
        return Row(path, {"": _setting(report.method, path)})
    if path in ("threshold", "remove_threshold", "calibration"):
        return Row(path, {"": getattr(report, path)})
    if table == "taxonomy" and report.taxonomy is not None and key in ("min_margin", "problem"):
        return Row(path, {"": getattr(report.taxonomy, key)})
    raise KeyError(path)


def concept_row(report: Report, position: int) -> str:
    """Return the path of a concept: by its name, or by its position where the name is no plain word or stands there twice."""
    concepts = report.taxonomy.concepts if report.taxonomy else ()
    name = concepts[position].name
    is_clear = _PLAIN_KEY.fullmatch(name) and [concept.name for concept in concepts].count(name) == 1
    return f"taxonomy/concepts/{name if is_clear else position}"


def _concepts(report: Report) -> dict[str, Concept]:
    concepts = report.taxonomy.concepts if report.taxonomy else ()
    return {concept_row(report, i).rpartition("/")[2]: concept for i, concept in enumerate(concepts)}


def _position(key: str, length: int) -> int:
    if not key.isdecimal() or int(key) >= length:
        raise KeyError(key)
    return int(key)


def _setting(method: Mapping[str, Any], path: str) -> RowValue:
    """Return a number or text of the method; KeyError for anything else, which may stand there too."""
    found: object = method
    for key in path.split("/")[1:]:
        found = found[key] if isinstance(found, Mapping) else None
    if not isinstance(found, int | float | str):
        raise KeyError(path)
    return found


def _figure(path: str, figure: Figure) -> Row:
    words = figure.words + (f"; {figure.method}" if figure.method else "")
    ends = {"low": figure.low, "high": figure.high, "confidence": figure.confidence}
    return Row(path, {"value": figure.value} | {name: end for name, end in ends.items() if end is not None}, words)


def _failure(path: str, failure: Failure) -> Row:
    return Row(path, {"n": failure.n}, "images that failed for this reason")


def _class(path: str, found: ClassFlags) -> Row:
    names = ("n_scored", "n_flagged", "share", "low", "high", "q_value")
    return Row(path, {name: getattr(found, name) for name in names}, "a class", found.label)


def _concept(path: str, concept: Concept) -> Row:
    names = ["n", "share", "median_margin", *(["n_too_close"] if concept.is_other else [])]
    return Row(
        path, {name: getattr(concept, name) for name in names}, "flagged images assigned to a concept", concept.title
    )
