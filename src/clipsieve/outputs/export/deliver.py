"""Exports a run: decides on every input, writes what is kept as it was, and says what became of the rest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import UInt8

from clipsieve._version import __version__
from clipsieve.engines.base import Engine
from clipsieve.engines.decisions import Decider, Decision
from clipsieve.errors import UsageError
from clipsieve.outputs.export.base import Places, Written
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.fates import Counts, PartFate, Stretch, resolve, settle, unit_of
from clipsieve.outputs.export.lists import write_list
from clipsieve.outputs.export.manifest import ManifestWriter, manifest_rows
from clipsieve.outputs.export.options import ExportOptions, ExportReport, PlaceReport
from clipsieve.outputs.export.places import check_claimed, check_free, check_places, claim
from clipsieve.outputs.export.spread import write_units
from clipsieve.outputs.export.tally import Tally
from clipsieve.outputs.export.writers import plan_writer
from clipsieve.store import Run, locked
from clipsieve.types import EXPORT_MANIFEST

__all__ = ["export_run"]


def export_run(
    run: Run,
    destination: str | Path,
    options: ExportOptions | None = None,
    *,
    dry_run: bool = False,
    engine: Engine | None = None,
    on_progress: Callable[[int, int], object] = lambda _n_done, _n_total: None,
) -> ExportReport:
    """Write the images of a run that are kept into a data set of the same kind, or a list of them.

    Kept bytes are source bytes. The source is only read. What is on the block list is never kept, whatever else is said.

    Parameters
    ----------
    run : Run
        With scores.
    destination : str or Path
        A new or empty folder, a URL that fsspec knows, or the place of the same export, which then goes on where it stopped.
    options : ExportOptions, optional
        Policy, verdicts, what to do with what nobody has decided, other places.
    dry_run : bool, default=False
        Count, and write nothing.
    engine : Engine, optional
        What writes the tars, tables, splits, arrays, or files of a part; by default this process, one after the other. The
        workers of a cluster find the source, the run and the places under the names that this process has for them. Lists, what
        belongs to no image, and the manifest are written by this process. Whichever it is, the files are the same.
    on_progress : callable
        Called with the number of inputs done and in all.

    Returns
    -------
    ExportReport
        `manifest.parquet` in the destination names every input with its decision, reason and who decided.

    Raises
    ------
    UsageError
        If nobody has decided on some inputs and no option says where they go; nothing is written.
    SourceError
        If the source is gone, or is not what was scanned.
    ExportError
        If a place cannot be written, or holds something else.
    RunNotFoundError, RunCorruptError
        If the run has no such scores, or is damaged.
    """
    return _Export(run, str(destination), options or ExportOptions(), engine, on_progress).run(dry_run=dry_run)


class _Export:
    """One export, from the decisions to the manifest."""

    def __init__(
        self,
        run: Run,
        destination: str,
        options: ExportOptions,
        engine: Engine | None,
        on_progress: Callable[[int, int], object],
    ) -> None:
        self._started = time.monotonic()
        self._run = run
        self._options = options
        self._engine = engine if options.form == "same" else None  # of a list there is nothing that could be divided
        self._on_progress = on_progress
        self._locations = options.locations(destination)
        self._decider = Decider(run, options.policy, options.scores_name, options.verdicts)
        self._planned = plan_writer(run, options)
        self._writer = self._planned.writer

    def run(self, *, dry_run: bool) -> ExportReport:
        places = {decision: Destination(where) for decision, where in self._locations.items()}
        check_places(self._run, places, self._options.location)
        self._refuse_links_to_urls(places)
        fates, counts = self._decide()
        fingerprint = self._fingerprint(fates)
        report = self._report(counts)
        if dry_run:
            check_free(places, fingerprint)
            return report
        self._refuse_undecided(counts)
        with contextlib.ExitStack() as stack:
            for place in places.values():
                if place.folder is not None:
                    stack.enter_context(locked(place.folder))
            claim(places, fingerprint)
            written = self._write(fates, places, fingerprint)
        return replace(report, **written, is_dry_run=False, elapsed_s=time.monotonic() - self._started)

    def _refuse_links_to_urls(self, places: Places) -> None:
        remote = [place.url for place in places.values() if place.folder is None]
        if self._options.how != "copy" and remote:
            raise UsageError(
                f"`{remote[0]}` can hold no links", hint="leave `--files` out", state="nothing was written"
            )

    def _decide(self) -> tuple[list[PartFate], Counts]:
        fates, counts = [], Counts()
        has_place = Decision.REVIEW in self._locations
        for decided, images in settle(self._decider, self._planned.stretches, self._writer.groups):
            fate = resolve(decided, self._options.undecided, has_review_place=has_place)
            counts.add(fate, images)
            fates.append(fate)
        return fates, counts

    def _refuse_undecided(self, counts: Counts) -> None:
        n_left = counts.n(Decision.REVIEW)
        if n_left and Decision.REVIEW not in self._locations:
            why = Counter(
                {reason.value: n for (code, reason, _), n in counts.images.items() if code is Decision.REVIEW}
            )
            raise UsageError(
                f"nobody has decided on {n_left:,} of {self._run.manifest.n_images:,} images",
                found=", ".join(f"{reason} {n:,}" for reason, n in why.most_common()),
                state="nothing was written",
                hint="review them and give the verdicts with `--verdicts`; or say where they go: `--review-to DIR`, "
                "`--undecided remove`, `--undecided keep`",
            )

    def _report(self, counts: Counts) -> ExportReport:
        places = {}
        for decision in Decision:
            reasons: Counter[str] = Counter()
            for (code, reason, _), n in counts.images.items():
                reasons[reason.value] += n if code is decision else 0
            where = self._locations.get(decision)
            url = None if where is None else Destination(where).url
            shown = {reason: n for reason, n in reasons.most_common() if n}
            places[decision.name.lower()] = PlaceReport(counts.n(decision), counts.n_bytes[decision], url, shown)
        return ExportReport(
            policy=self._options.policy.value,
            undecided=self._options.undecided,
            form=self._options.form,
            scores_name=self._decider.scores_name,
            places=places,
            n_undecided=counts.n_open,
            n_unhashed_kept=0 if self._run.external is not None else counts.n_unhashed_kept,
            elapsed_s=time.monotonic() - self._started,
        )

    def _fingerprint(self, fates: Sequence[PartFate]) -> str:
        """Return what is equal exactly for two exports that leave the same behind."""
        digest = hashlib.sha256()
        for fate, images in zip(fates, self._run.iter_images(["image_id"]), strict=True):
            digest.update((images.schema.metadata or {}).get(b"clipsieve.inputs", b""))
            digest.update(fate.codes.tobytes() + fate.reasons.tobytes() + json.dumps(dict(fate.annotators)).encode())
        told = [self._options.form, self._options.how, sorted(decision.name for decision in self._locations)]
        digest.update(json.dumps([told, self._facts()], sort_keys=True).encode())
        return digest.hexdigest()

    def _facts(self) -> dict[str, Any]:
        """Return what the manifest says of the export as a whole."""
        facts, verdicts = self._decider.facts, self._options.verdicts
        return {
            "policy": self._options.policy.value,
            "undecided": self._options.undecided,
            "form": self._options.form,
            "scores": self._decider.scores_name,
            "threshold": facts.threshold,
            "remove_threshold": facts.remove_threshold,
            "verdicts": None if verdicts is None else {"file": verdicts.path.name, "sha256": verdicts.sha256},
            "run": self._run.manifest.to_json(),
            "clipsieve_version": __version__,
        }

    def _write(self, fates: Sequence[PartFate], places: Places, fingerprint: str) -> dict[str, Any]:
        """Write everything, the manifest last: without it, the export is not complete."""
        tally = Tally()
        # The scores are not read again: whoever scores anew meanwhile changes nothing of what was decided.
        rows = self._run.iter_images(["image_id", "uri", "sha256"])
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(places[Decision.KEEP].writer(EXPORT_MANIFEST))
            manifest = stack.enter_context(ManifestWriter(file, self._facts()))
            done = stack.enter_context(contextlib.closing(self._written_there(fates, places)))
            for stretch in self._planned.stretches:
                parts = [next(rows) for _ in stretch.shards]
                unit = unit_of(stretch, parts, _codes_of(stretch, fates))
                written = next(done) if self._engine else self._writer.write(unit, places)
                self._writer.remember(unit, written)
                tally.add(written)
                for table in self._manifest_rows(parts, fates[stretch.start : stretch.start + len(parts)], written):
                    manifest.write(table)
                    self._on_progress(tally.count(table), self._run.manifest.n_images)
            for written in self._finish(fates, places):
                tally.add(written)
                tally.note(written.problems.values())
            check_claimed(places, fingerprint)
        for place in places.values() if self._engine else ():
            place.tidy()
        return {**tally.facts(), "warnings": self._writer.warnings()}

    def _written_there(self, fates: Sequence[PartFate], places: Places) -> Generator[Written, None, None]:
        """Yield what the workers of the engine have written of each unit; nothing without one."""
        if self._engine is not None:
            units = ((stretch, _codes_of(stretch, fates)) for stretch in self._planned.stretches)
            yield from write_units(self._engine, self._run, self._writer, places, units)

    def _manifest_rows(
        self, parts: Sequence[pa.Table], fates: Sequence[PartFate], written: Written
    ) -> Iterator[pa.Table]:
        start = 0
        for images, fate in zip(parts, fates, strict=True):
            files = _within(written.places, start, images.num_rows)
            problems = _within(written.problems, start, images.num_rows)
            yield manifest_rows(images, fate, self._thresholds, files=files, problems=problems)
            start += images.num_rows

    def _finish(self, fates: Sequence[PartFate], places: Places) -> Iterator[Written]:
        if self._options.form == "same":
            yield from self._writer.finish(places)
            return
        classes = self._class_names() if self._options.form == "torchvision" else None
        for decision, place in places.items():
            yield write_list(self._options.form, place, self._list_rows(fates, decision), classes=classes)

    def _class_names(self) -> list[str]:
        """Return all classes of the run, so that one keeps its number when no image of it is left."""
        found: set[str] = set()
        for images in self._run.iter_images(["label"]):
            found.update(images.column("label").unique().drop_null().to_pylist())
        return sorted(found)

    def _list_rows(self, fates: Sequence[PartFate], decision: Decision) -> Iterator[pa.Table]:
        """Yield the rows of one decision, with what lists say of them."""
        columns = ["image_id", "uri", "sha256", "label", "caption", "metadata"]
        for images, fate in zip(self._run.iter_images(columns), fates, strict=True):
            rows = manifest_rows(images, fate, self._thresholds, files={}, problems={})
            rows = rows.select(["image_id", "uri", "sha256", "probability", "decision", "reason", "decided_by"])
            for name in ("label", "caption", "metadata"):
                rows = rows.append_column(name, images.column(name))
            yield rows.filter(pa.array(fate.codes == decision))

    @property
    def _thresholds(self) -> tuple[float, float | None]:
        return self._decider.facts.threshold, self._decider.facts.remove_threshold


def _codes_of(stretch: Stretch, fates: Sequence[PartFate]) -> UInt8[np.ndarray, "n"]:
    return np.concatenate([fate.codes for fate in fates[stretch.start : stretch.start + len(stretch.shards)]])


def _within(texts: Mapping[int, str], start: int, n: int) -> dict[int, str]:
    """Return the entries of one part of a unit, by row of the part."""
    return {row: texts[start + row] for row in range(n) if start + row in texts}
