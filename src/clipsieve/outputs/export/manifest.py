"""`manifest.parquet`: what became of every input, why, and who decided."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from clipsieve.engines.decisions import Decision, Reason
from clipsieve.outputs.export.fates import REASONS, PartFate
from clipsieve.store.layout import valid_text

__all__ = ["ManifestWriter", "manifest_rows"]

FORMAT_VERSION = 1

SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("sha256", pa.string()),
        pa.field("decision", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("decided_by", pa.string()),
        pa.field("probability", pa.float32()),
        pa.field("threshold", pa.float32()),
        pa.field("annotators", pa.string()),
        pa.field("file", pa.string()),
        pa.field("problem", pa.string()),
    ]
)


class ManifestWriter:
    """Writes the rows of a manifest part by part.

    Parameters
    ----------
    file : binary file
        Open for writing; the writer does not close it.
    facts : mapping
        What was exported and how: it travels in the schema's metadata, as JSON under `clipsieve.export`.
    """

    def __init__(self, file: BinaryIO, facts: Mapping[str, Any]) -> None:
        words = json.dumps({"format_version": FORMAT_VERSION, **facts}, ensure_ascii=False, sort_keys=True)
        self._schema = SCHEMA.with_metadata({"clipsieve.export": words})
        dictionary = ["decision", "reason", "decided_by"]
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd", use_dictionary=dictionary)

    def __enter__(self) -> ManifestWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def write(self, rows: pa.Table) -> None:
        """Add the rows of one part, as `manifest_rows` gives them."""
        self._writer.write_table(rows.cast(self._schema))


def manifest_rows(
    images: pa.Table,
    fate: PartFate,
    thresholds: tuple[float, float | None],
    *,
    files: Mapping[int, str],
    problems: Mapping[int, str],
) -> pa.Table:
    """Return one row for each input of a part.

    Parameters
    ----------
    images : pyarrow.Table
        The part's rows: `image_id`, `uri`, `sha256`.
    fate : PartFate
        Where they go.
    thresholds : (float, float or None)
        From which probability on an image is flagged, and removed.
    files, problems : mapping of int to str
        By row: the file that an input stands in now, and why it stands in none although it should.
    """
    n = images.num_rows
    reasons = [REASONS[number] for number in fate.reasons.tolist()]
    columns = {name: images.column(name) for name in ("image_id", "uri", "sha256")}
    columns |= {
        "decision": pa.array([Decision(code).name.lower() for code in fate.codes.tolist()]),
        "reason": pa.array([reason.value for reason in reasons]),
        "decided_by": pa.array(fate.decided_by, pa.string()),
        "probability": fate.probability,
        "threshold": pa.array([_threshold(reason, thresholds) for reason in reasons], pa.float32()),
        "annotators": pa.array([fate.annotators.get(row) for row in range(n)], pa.string()),
        "file": pa.array([_text(files.get(row)) for row in range(n)], pa.string()),
        "problem": pa.array([_text(problems.get(row)) for row in range(n)], pa.string()),
    }
    return pa.table(columns).cast(SCHEMA)


def _threshold(reason: Reason, thresholds: tuple[float, float | None]) -> float | None:
    """Return the threshold that a reason speaks of."""
    low, high = thresholds
    return {Reason.NOT_FLAGGED: low, Reason.FLAGGED: low, Reason.ABOVE_REMOVAL: high}.get(reason)


def _text(value: str | None) -> str | None:
    return None if value is None else valid_text(value)
