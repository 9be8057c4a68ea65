"""One run folder, opened: its description, its parts, its scores."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipsieve.errors import EncoderMismatchError, RunCorruptError, RunNotFoundError
from clipsieve.store import files
from clipsieve.store.external import ExternalEmbeddings
from clipsieve.store.layout import DAMAGED, inputs_of, part_facts, part_name
from clipsieve.store.lease import check_lease
from clipsieve.store.manifest import RunManifest
from clipsieve.store.new_place import check_new_place
from clipsieve.store.parquet_files import open_part, read_part_schema
from clipsieve.store.paths import RunPath, is_remote, run_path
from clipsieve.store.writer import append_line, read_lines, write_json, write_table

__all__ = ["Run"]


class Run:
    """A run folder, on this machine or behind a URL.

    Use :meth:`open` for one that exists and :meth:`create` for a new one.

    Attributes
    ----------
    path : Path or UPath
        The folder; in messages a UPath reads as its URL.
    manifest : RunManifest
        What it is a run of.
    """

    def __init__(self, path: RunPath, manifest: RunManifest) -> None:
        self.path = path
        self.manifest = manifest
        self._external: ExternalEmbeddings | None = None

    def __getstate__(self) -> dict[str, Any]:
        # To a worker, whose current folder is another one.
        return vars(self) | {"path": self.path.absolute() if isinstance(self.path, Path) else self.path}

    @classmethod
    def open(cls, path: str | os.PathLike[str] | RunPath) -> Run:
        """Open the run in a folder, or behind a URL such as `s3://bucket/run`.

        Raises
        ------
        RunNotFoundError
            If there is none.
        RunCorruptError
            If its `run.json` cannot be understood.
        RunError, MissingExtraError
            If the service does not answer or refuses, or its library is not installed.
        """
        path = run_path(path)
        file = path / "run.json"
        try:
            text = files.read_text(file)
        except (FileNotFoundError, NotADirectoryError):
            raise RunNotFoundError(
                f"there is no run in `{path}`",
                expected=f"`{file}`",
                found=files.what_is_missing(path),
                hint=f"make one with `clipsieve scan IMAGES -o {path}`",
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise RunCorruptError(f"cannot read `{file}`: {error}") from error
        return cls(path, RunManifest.from_json(text, where=str(file)))

    @classmethod
    def create(cls, path: str | os.PathLike[str] | RunPath, manifest: RunManifest) -> Run:
        """Begin a run in a folder that is new or empty.

        Raises
        ------
        RunConflictError
            If the path is a file, or the folder holds anything.
        """
        path = run_path(path)
        check_new_place(path)
        run = cls(path, manifest)
        run.save()
        return run

    def save(self) -> None:
        """Write `run.json`; RunConflictError if another process has taken over the run."""
        self._check_lease(surely=True)
        write_json(self.path / "run.json", self.manifest.to_json())

    def _check_lease(self, *, surely: bool = False) -> None:
        """Make sure that a run behind a URL, if this process has locked it, is still its own."""
        if is_remote(self.path):
            check_lease(self.path, surely=surely)

    @property
    def n_at_once(self) -> int | None:
        """How many parts are best worked on at once: behind a URL so many that nobody waits for the line; else None."""
        return files.N_REQUESTS if is_remote(self.path) else None

    def image_part(self, index: int) -> RunPath:
        """Return where a part of the images lies."""
        return self.path / "images" / part_name(index)

    def score_part(self, name: str, index: int) -> RunPath:
        """Return where a part of some scores lies."""
        return self.path / "scores" / name / part_name(index)

    def part_metadata(self, path: RunPath) -> dict[str, str] | None:
        """Return what a part says it was made from, or None if it is not there or not whole."""
        try:
            return part_facts(read_part_schema(path))
        except DAMAGED:
            return None

    def write_part(self, path: RunPath, table: pa.Table, *, is_last: bool = True) -> None:
        """Write one part: afterwards it is whole. See `write_table` for one that is not the last of its folder."""
        self._check_lease()
        write_table(path, table, is_last=is_last)

    def clear(self) -> None:
        """Remove every part and all scores; what people have put there stays."""
        for pattern in ("images/part-*.parquet", "images/.superseded-*.parquet"):
            files.remove_matching(self.path, pattern)
        files.remove(self.path / "embeddings.json")
        self._external = None
        self.drop_scores()

    def drop_scores(self) -> None:
        """Remove all scores: the embeddings that they were made of are no longer there."""
        for name in self.score_names():
            self.drop_score_facts(name)
        files.remove_matching(self.path, "scores/*/part-*.parquet")
        files.remove_empty_folders(self.path / "scores")

    def iter_images(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield the parts of the images in order; columns of the schema in `docs/format.md`, all by default.

        Raises
        ------
        RunCorruptError
            If a part is missing (the scan was not finished) or damaged; names the file.
        """
        yield from files.in_parallel(
            self.path, lambda index: self.read_images(index, columns), range(self.manifest.n_parts)
        )

    def read_images(self, index: int, columns: list[str] | None = None) -> pa.Table:
        """Return one part of the images, or some columns of it; errors as for `iter_images`."""
        if self.external is not None:
            return self.external.read_part(index, columns)
        table = self.read_part(self.image_part(index), columns)
        if not self.is_current(part_facts(table.schema)):
            raise self._mixed()
        return table

    @property
    def external(self) -> ExternalEmbeddings | None:
        """The embeddings that the run reads in place, or None if it has its own."""
        if self._external is None and self.manifest.source_kind == "embeddings":
            self._external = ExternalEmbeddings.load(self.path / "embeddings.json")
        return self._external

    def stands_for(self, external: ExternalEmbeddings) -> bool:
        """Return whether the run reads these embeddings already."""
        try:
            return ExternalEmbeddings.load(self.path / "embeddings.json").to_json() == external.to_json()
        except RunCorruptError:
            return False

    def adopt(self, external: ExternalEmbeddings) -> None:
        """Write down which embeddings elsewhere the run stands for."""
        self._check_lease(surely=True)
        write_json(self.path / "embeddings.json", external.to_json())
        self._external = external

    def is_current(self, facts: dict[str, str]) -> bool:
        """Return whether a part with this metadata was made by the encoder and with the options of the run."""
        encoder, options = self.manifest.encoder.fingerprint, self.manifest.options_fingerprint
        return (facts.get("clipsieve.encoder"), facts.get("clipsieve.options")) == (encoder, options)

    def _mixed(self) -> EncoderMismatchError:
        paths = map(self.image_part, range(self.manifest.n_parts))
        found = files.in_parallel(self.path, self.part_metadata, paths)
        n_old = sum(facts is not None and not self.is_current(facts) for facts in found)
        return self.manifest.mixed(str(self.path), n_old)

    def iter_scores(
        self, name: str, columns: list[str] | None = None, score_columns: list[str] | None = None
    ) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Yield the parts of the images and of some scores (some columns of each), row for row the same inputs.

        Raises
        ------
        RunNotFoundError
            If there are no such scores.
        RunCorruptError
            If a part is missing or damaged, or the images were scanned anew since.
        """
        self.score_facts(name)
        yield from files.in_parallel(
            self.path,
            lambda index: self.read_scored(name, index, columns, score_columns),
            range(self.manifest.n_parts),
        )

    def read_scored(
        self, name: str, index: int, columns: list[str] | None = None, score_columns: list[str] | None = None
    ) -> tuple[pa.Table, pa.Table]:
        """Return one part of the images and of some scores; errors as for `iter_scores`."""
        images, path = self.read_images(index, columns), self.score_part(name, index)
        scores = self.read_part(path, score_columns)
        if inputs_of(scores.schema) != inputs_of(images.schema) or scores.num_rows != images.num_rows:
            raise RunCorruptError(
                f"the scores `{name}` are older than the scan (`{path}`)",
                hint=f"score again: `clipsieve score {self.path} -c ...`",
            )
        return images, scores

    def read_part(self, path: RunPath, columns: list[str] | None = None) -> pa.Table:
        """Read one part, or some columns of it in their order; RunCorruptError if it is missing or damaged."""
        try:
            with open_part(path, some=columns is not None) as file:
                table = file.read(columns=columns, use_threads=False)
            return table if columns is None else table.select(columns)
        except FileNotFoundError:
            raise RunCorruptError(
                f"`{path}` is missing",
                expected=f"{self.manifest.n_parts:,} parts",
                hint="give the command that wrote it again: it makes only what is missing",
            ) from None
        except (*DAMAGED, KeyError) as error:  # KeyError: a column is not there
            raise RunCorruptError(
                f"`{path}` is damaged: {' '.join(str(error).split())[:200]}",
                hint="remove the file and give the command that wrote it again: it makes only what is missing",
            ) from error

    def score_names(self) -> list[str]:
        """Return the names of all scores, sorted."""
        folder = self.path / "scores"
        names = files.names_in(folder)
        found = files.in_parallel(self.path, lambda name: files.exists(folder / name / "classifier.json"), names)
        return [name for name, is_there in zip(names, found, strict=True) if is_there]

    def score_facts(self, name: str) -> dict[str, Any]:
        """Return what `scores/<name>/classifier.json` says: what scored, with which threshold."""
        file = self.path / "scores" / name / "classifier.json"
        try:
            facts: dict[str, Any] = json.loads(files.read_text(file))
            facts["threshold"] = float(facts["threshold"])
        except FileNotFoundError:
            raise RunNotFoundError(
                f"the run `{self.path}` has no scores named `{name}`",
                found=", ".join(f"`{n}`" for n in self.score_names()) or "no scores at all",
                hint=f"make them with `clipsieve score {self.path} -c {name}`",
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunCorruptError(f"`{file}` is damaged: {error}", hint="score the run again") from error
        return facts

    def write_score_facts(self, name: str, facts: dict[str, Any]) -> None:
        """Write `scores/<name>/classifier.json`: the scores of that name are complete."""
        self._check_lease(surely=True)
        write_json(self.path / "scores" / name / "classifier.json", facts)

    def drop_score_facts(self, name: str) -> None:
        """Remove `scores/<name>/classifier.json`: the scores of that name are about to change."""
        self._check_lease(surely=True)
        files.remove(self.path / "scores" / name / "classifier.json")

    @staticmethod
    def load_listing(path: RunPath) -> dict[str, tuple[str, int, int]]:
        """Return what `listing.json` of a run folder says, or nothing: it only saves time."""
        try:
            found = json.loads(files.read_text(path / "listing.json"))
            return {str(name): (str(stamp), int(n), int(m)) for name, (stamp, n, m) in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def save_listing(self, listing: dict[str, tuple[str, int, int]]) -> None:
        """Write `listing.json`."""
        write_json(self.path / "listing.json", dict(listing))

    def record(self, **facts: object) -> None:
        """Append one line to `history.jsonl`: what was done to the run, when, for how long."""
        self._check_lease(surely=True)
        append_line(self.path / "history.jsonl", dict(facts))

    def history(self) -> list[dict[str, Any]]:
        """Return the lines of `history.jsonl`; a line that was cut by a power failure is left out."""
        return read_lines(self.path / "history.jsonl")
