"""A description in the Croissant format: of a report's own files, or added to somebody's description of the data set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipsieve.errors import UsageError
from clipsieve.legible import as_text
from clipsieve.outputs.datasheet.names import last_part
from clipsieve.outputs.datasheet.responsible import add_properties, is_ours, responsible_properties
from clipsieve.outputs.report.records import Report

__all__ = ["CROISSANT", "RAI", "ReportFile", "build_croissant", "is_description"]

CROISSANT = "http://mlcommons.org/croissant/1.1"
RAI = "http://mlcommons.org/croissant/RAI/1.0"
_RAI_TERMS = "http://mlcommons.org/croissant/RAI/"
# Terms of the format (Croissant 1.1, appendix 1), each under its own name.
_OWN_TERMS = """
    arrayShape citeAs column containedIn equivalentProperty extract field fileProperty fileObject fileSet format includes isArray
    isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source
    subField transform
""".split()  # noqa: SIM905 - a list would take a line for each
_FORMATS = {".json": "application/json", ".csv": "text/csv", ".parquet": "application/vnd.apache.parquet"}
_TABLE = "flagged.csv"
_NAME = "Report on content that may offend in "
_KEYS = frozenset(
    "@context @type conformsTo name description datePublished url distribution recordSet".split()  # noqa: SIM905
)
_COLUMNS = {
    "index": ("sc:Integer", "position in the data set, from 0"),
    "image_id": ("sc:Text", "of the image, as in the run"),
    "uri": ("sc:Text", "where the image lies"),
    "label": ("sc:Text", "class, as the source names it"),
    "caption": ("sc:Text", "text that the source gives"),
    "probability": ("sc:Float", "of the unwanted class, 0-1"),
    "class_name": ("sc:Text", "the unwanted class of the classifier that is the most probable"),
    "class_index": ("sc:Integer", "its place among the classes, from 0"),
    "concept": ("sc:Text", "what the image was assigned to by words"),
    "margin": ("sc:Float", "by how much that was more probable than the next concept, 0-1"),
    "decision": ("sc:Text", "keep, review or remove"),
    "reason": ("sc:Text", "of the decision"),
    "verdict": ("sc:Text", "unwanted, wanted or unsure, if people have looked at the image"),
}


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A file that lies beside the description.

    Attributes
    ----------
    name : str
        Of the file.
    sha256 : str
        Hex digest of its bytes.
    n_bytes : int
        Its size.
    columns : tuple of str
        The heading, of a CSV file.
    """

    name: str
    sha256: str
    n_bytes: int
    columns: tuple[str, ...] = ()


def build_croissant(
    report: Report, *, files: Sequence[ReportFile] = (), existing: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Build the description, JSON-LD of Croissant 1.1 with its vocabulary for responsible AI, version 1.0.

    Without `existing`, it describes the report's own files as a data set about the images: what it says under `rai:` is about
    those. License, citation and version are for the owner to add; `mlcroissant` recommends them.

    Parameters
    ----------
    report : Report
        What was found.
    files : sequence of ReportFile
        The files beside the description; the rows of `flagged.csv`, if it is among them, are a record set.
    existing : mapping, optional
        Somebody's own description of the data set. It keeps every key and text, and its version of the format; the `rai:`
        properties of this report join its own, in place of those of an earlier report.

    Returns
    -------
    dict
        What JSON takes.

    Raises
    ------
    UsageError
        If `existing` has no `@context` that could be extended.
    """
    properties = responsible_properties(report)
    if existing is not None:
        return add_properties(_declared(existing), properties)
    table = next((file for file in files if file.name == _TABLE and file.columns), None)
    described = {
        "@context": _context(),
        "@type": "sc:Dataset",
        "conformsTo": [CROISSANT, RAI],
        "name": f"{_NAME}{as_text(report.title, 80)}",
        "description": (
            "Probabilities that a classifier gave to images, with what people said of some of them, and the figures and limits "
            "that follow. It is about the images, and holds none of them."
        ),
        **_facts(report),
        "distribution": [_file_object(file) for file in files],
        "recordSet": [] if table is None else [_record_set(table)],
    }
    return {key: value for key, value in described.items() if value != []} | properties


def is_description(found: object, *, is_alone: bool) -> bool:
    """Return whether JSON is what `build_croissant` gave, and if it `is_alone`, nothing that somebody has added."""
    if not isinstance(found, Mapping):
        return False
    said = {
        key: value if isinstance(value, list) else [value] for key, value in found.items() if key.startswith("rai:")
    }
    texts = [text for value in said.values() for text in value]
    ours = [isinstance(text, str) and is_ours(text) for text in texts]
    if not is_alone:
        return any(ours)
    return all(ours) and found.keys() - said <= _KEYS and str(found.get("name")).startswith(_NAME)


def _context() -> dict[str, Any]:
    json_type = {"@type": "@json"}
    terms = {term: f"cr:{term}" for term in _OWN_TERMS} | {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "sc": "https://schema.org/",
        "cr": "http://mlcommons.org/croissant/",
        "rai": _RAI_TERMS,
        "dct": "http://purl.org/dc/terms/",
        "conformsTo": "dct:conformsTo",
        "data": {"@id": "cr:data", **json_type},
        "examples": {"@id": "cr:examples", **json_type},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "name": {"@container": "@language"},
        "description": {"@container": "@language"},
    }
    return dict(sorted(terms.items()))


def _facts(report: Report) -> dict[str, str]:
    """Return the day of the report, and the address of the images if they are on the web."""
    location, day = last_part(report.source_location), report.made[:10]
    dated = {"datePublished": day} if re.fullmatch(r"\d{4}-\d{2}-\d{2}", day) else {}
    return dated | ({"url": location} if location.startswith(("http://", "https://")) else {})


def _file_object(file: ReportFile) -> dict[str, Any]:
    extension = file.name[file.name.rindex(".") :]
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "contentUrl": file.name,
        "contentSize": f"{file.n_bytes} B",
        "encodingFormat": _FORMATS[extension],
        "sha256": file.sha256,
    }


def _record_set(file: ReportFile) -> dict[str, Any]:
    fields = []
    for column in file.columns:
        kind, words = _COLUMNS.get(column, ("sc:Text", "as in the report"))
        fields.append(
            {
                "@type": "cr:Field",
                "@id": f"flagged/{column}",
                "name": column,
                "description": words,
                "dataType": kind,
                "source": {"fileObject": {"@id": file.name}, "extract": {"column": column}},
            }
        )
    return {
        "@type": "cr:RecordSet",
        "@id": "flagged",
        "name": "flagged",
        "description": "The flagged images, a row each.",
        "field": fields,
    }


def _declared(existing: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description that says that it uses the vocabulary."""
    context = existing.get("@context")
    if not isinstance(context, Mapping) or context.get("rai", _RAI_TERMS) != _RAI_TERMS:
        raise UsageError(
            "the description is none of Croissant that could be added to",
            expected=f"an object `@context` in which `rai` is `{_RAI_TERMS}`, or is not there",
            found="no such object" if not isinstance(context, Mapping) else f"`rai` is `{context['rai']!r:.80}`",
            state="nothing was changed",
            hint="let `mlcroissant validate` tell what is wrong with it, and mend that first",
        )
    declared = {**existing, "@context": {**context, "rai": _RAI_TERMS}}
    # A description without a version is read as one of 0.8, which had no such key.
    for key in ("conformsTo", "dct:conformsTo"):
        if key in existing:
            stated = existing[key] if isinstance(existing[key], list) else [existing[key]]
            declared[key] = stated if RAI in stated else [*stated, RAI]
            break
    return declared
