"""A report as JSON: one object whose keys and rows have a fixed order."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from clipsieve.outputs.report.records import Report

__all__ = ["FORMAT_VERSION", "report_to_json"]

FORMAT_VERSION = 1


def report_to_json(report: Report) -> dict[str, Any]:
    """Return what `report.json` holds: every field of the report under its own name, without the bytes of thumbnails.

    `figures` is a list of objects with unique `id`, in order; so are the other tables. An example says by `width` and
    `height` whether the page shows a thumbnail.
    """
    found: dict[str, Any] = {"format_version": FORMAT_VERSION, **asdict(report)}
    found["method"] = dict(report.method)
    for example in found["examples"]:
        del example["thumbnail"]
    return found
