"""Verdicts out of a ledger and into one, as files that other programs read and write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.errors import UsageError
from clipsieve.review.consensus import Board
from clipsieve.review.label_studio import read_label_studio, write_label_studio
from clipsieve.review.records import VerdictRow
from clipsieve.review.verdict_csv import read_csv, write_csv, write_current_csv
from clipsieve.store import Run

if TYPE_CHECKING:
    from clipsieve.review.ledger import Ledger

__all__ = ["FORMS", "ImportReport", "import_verdicts", "read_verdict_file", "verdicts_as_text"]

FORMS = ("csv", "label-studio")
MAX_BYTES = 1024**3
_REMOTE = ("http://", "https://", "s3://", "gs://")  # what Label Studio can show; a path of this machine it cannot


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    Attributes
    ----------
    n_rows : int
        Verdicts in the file.
    n_new : int
        Those that the ledger did not know yet; the others are passed over.
    n_images : int
        Images that they are about.
    """

    n_rows: int
    n_new: int
    n_images: int


def verdicts_as_text(run: Run, ledger: Ledger, *, form: str = "csv", current_only: bool = False) -> tuple[str, int]:
    """Return the verdicts on a run as the text of a file, and how many rows it holds.

    Parameters
    ----------
    run : Run
        Which the verdicts are about.
    ledger : Ledger
        Of that run.
    form : {"csv", "label-studio"}, default="csv"
        CSV with all columns, or the JSON of Label Studio.
    current_only : bool, default=False
        Whether CSV has one line for each image instead of the whole history.

    Raises
    ------
    UsageError
        If there is no such form, or Label Studio's is to have one line for each image.
    LedgerError, RunCorruptError
        If the ledger or the run cannot be read.
    """
    if form not in FORMS:
        raise UsageError(f"there is no form `{form}`", expected=", ".join(f"`{name}`" for name in FORMS))
    if current_only and form != "csv":
        raise UsageError("one line for each image is a form of CSV alone")
    rows = [row for _, row in ledger.rows()]
    if current_only:
        current = list(Board(rows).all())
        return _encodable(write_current_csv(current)), len(current)
    text = write_csv(rows) if form == "csv" else write_label_studio(rows, _uris(run, rows))
    return _encodable(text), len(rows)


def _encodable(text: str) -> str:
    """Return a text in which half of a surrogate pair, which UTF-8 cannot hold, is spelled out."""
    return text.encode(errors="backslashreplace").decode()


def _uris(run: Run, rows: Sequence[VerdictRow]) -> dict[str, str]:
    """Return where images lie that somebody else can fetch."""
    wanted, found = pa.array(sorted({row.image_id for row in rows}), pa.string()), {}
    for images in run.iter_images(["image_id", "uri"]):
        here = images.filter(pc.is_in(images.column("image_id"), value_set=wanted))
        pairs = zip(here.column("image_id").to_pylist(), here.column("uri").to_pylist(), strict=True)
        found.update({image_id: uri for image_id, uri in pairs if uri.startswith(_REMOTE)})
    return found


def read_verdict_file(path: str | Path, *, annotator: str | None = None, id_key: str | None = None) -> list[VerdictRow]:
    """Read a file of verdicts: CSV, or JSON of Label Studio, told by its content.

    Parameters
    ----------
    path : str or Path
        At most 1 GiB.
    annotator, id_key
        See `read_csv` and `read_label_studio`.

    Raises
    ------
    UsageError
        If it cannot be read or understood.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"`{path}` is too large for verdicts", expected="at most 1 GiB")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"there is no file `{path}`") from None
    except OSError as error:
        raise UsageError(f"cannot read `{path}`: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"`{path}` is no text in UTF-8", expected="CSV, or JSON of Label Studio") from None
    if text.lstrip()[:1] in ("[", "{"):
        return read_label_studio(text, name=str(path), annotator=annotator, id_key=id_key)
    if id_key is not None:
        raise UsageError("`--id-key` belongs to JSON of Label Studio", found=f"`{path}` is CSV")
    return read_csv(text, name=str(path), annotator=annotator)


def import_verdicts(run: Run, ledger: Ledger, rows: Sequence[VerdictRow], *, name: str) -> ImportReport:
    """Add rows to a ledger, all or none; those that it knows are passed over.

    Parameters
    ----------
    run : Run
        Which they are about.
    ledger : Ledger
        Of that run.
    rows : sequence of VerdictRow
        See `read_verdict_file`.
    name : str
        Where they come from, for messages.

    Raises
    ------
    UsageError
        If an image is not in the run, or two rows have one id and differ.
    LedgerError
        If they cannot be written; then none was.
    """
    image_ids = sorted({row.image_id for row in rows})
    _check_images(run, image_ids, name)
    _check_ids(rows, name)
    new = ledger.append(list({row.verdict_id: row for row in rows}.values())) if rows else frozenset()
    return ImportReport(len(rows), len(new), len(image_ids))


def _check_images(run: Run, image_ids: Sequence[str], name: str) -> None:
    # Half of a surrogate pair, which JSON can hold, is in no id.
    wanted = pa.array([image_id.encode(errors="replace").decode() for image_id in image_ids], pa.string())
    is_there = np.zeros(len(image_ids), dtype=bool)
    for images in run.iter_images(["image_id"]):
        is_there[pc.index_in(images.column("image_id"), value_set=wanted).drop_null().to_numpy()] = True
    is_there &= np.array([image_id.isascii() or _encodable(image_id) == image_id for image_id in image_ids], dtype=bool)
    strange = np.flatnonzero(~is_there)
    if len(strange):
        shown = ", ".join(ascii(image_ids[i])[:60] for i in strange[:3])
        raise UsageError(
            f"`{name}` has verdicts on images that are not in the run",
            expected="ids of the run, letter by letter",
            found=f"{len(strange):,} of {len(image_ids):,} images are not there, such as {shown}",
            state="nothing was written",
            hint="name the run that the verdicts are about",
        )


def _check_ids(rows: Sequence[VerdictRow], name: str) -> None:
    seen: dict[str, VerdictRow] = {}
    for row in rows:
        before = seen.setdefault(row.verdict_id, row)
        if (before.image_id, before.annotator, before.choice) != (row.image_id, row.annotator, row.choice):
            raise UsageError(
                f"two rows of `{name}` have the id {ascii(row.verdict_id)[:60]}, and differ",
                state="nothing was written",
            )
