"""One run folder, opened: its description, its parts, its scores."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipsieve.errors import EncoderMismatchError, RunConflictError, RunCorruptError, RunNotFoundError
from clipsieve.store.external import ExternalEmbeddings
from clipsieve.store.layout import DAMAGED, inputs_of, part_facts, part_name
from clipsieve.store.lock import LOCK_NAME
from clipsieve.store.manifest import RunManifest
from clipsieve.store.writer import append_line, write_json, write_table

__all__ = ["Run"]


class Run:
    """A run folder.

    Use :meth:`open` for one that exists and :meth:`create` for a new one.

    Attributes
    ----------
    path : Path
        The folder.
    manifest : RunManifest
        What it is a run of.
    """

    def __init__(self, path: Path, manifest: RunManifest) -> None:
        self.path = path
        self.manifest = manifest
        self._external: ExternalEmbeddings | None = None

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open the run in a folder.

        Raises
        ------
        RunNotFoundError
            If there is none.
        RunCorruptError
            If its `run.json` cannot be understood.
        """
        path = Path(path)
        file = path / "run.json"
        try:
            text = file.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise RunNotFoundError(
                f"there is no run in `{path}`",
                expected=f"`{file}`",
                found="no such file" if path.is_dir() else "no such folder",
                hint=f"make one with `clipsieve scan IMAGES -o {path}`",
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise RunCorruptError(f"cannot read `{file}`: {error}") from error
        return cls(path, RunManifest.from_json(text, where=str(file)))

    @classmethod
    def create(cls, path: str | Path, manifest: RunManifest) -> Run:
        """Begin a run in a folder that is new or empty.

        Raises
        ------
        RunConflictError
            If the path is a file, or the folder holds anything.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise RunConflictError(f"`{path}` is a file", expected="a new folder", state="nothing was written")
        # A process that was killed in its first write leaves the temporary file of `run.json`, and no run.
        ours = {".run.json.tmp", LOCK_NAME}
        others = [entry for entry in path.iterdir() if entry.name not in ours] if path.exists() else []
        if others:
            raise RunConflictError(
                f"the folder `{path}` holds other files",
                expected="a new or empty folder, or a run of the same source and encoder",
                found=f"{len(others):,} entries and no `run.json`",
                state="nothing was written",
                hint="choose another folder with `-o`",
            )
        run = cls(path, manifest)
        run.save()
        return run

    def save(self) -> None:
        """Write `run.json`."""
        write_json(self.path / "run.json", self.manifest.to_json())

    def image_part(self, index: int) -> Path:
        """Return where a part of the images lies."""
        return self.path / "images" / part_name(index)

    def score_part(self, name: str, index: int) -> Path:
        """Return where a part of some scores lies."""
        return self.path / "scores" / name / part_name(index)

    def part_metadata(self, path: Path) -> dict[str, str] | None:
        """Return what a part says it was made from, or None if it is not there or not whole."""
        try:
            schema = pq.read_schema(path)
        except DAMAGED:
            return None
        return part_facts(schema)

    def write_part(self, path: Path, table: pa.Table, *, is_last: bool = True) -> None:
        """Write one part: afterwards it is whole. See `write_table` for one that is not the last of its folder."""
        write_table(path, table, is_last=is_last)

    def clear(self) -> None:
        """Remove every part and all scores; what people have put there stays."""
        for pattern in ("images/part-*.parquet", "images/.superseded-*.parquet"):
            for path in self.path.glob(pattern):
                path.unlink()
        (self.path / "embeddings.json").unlink(missing_ok=True)
        self._external = None
        self.drop_scores()

    def drop_scores(self) -> None:
        """Remove all scores: the embeddings that they were made of are no longer there."""
        for name in self.score_names():
            self.drop_score_facts(name)
        for path in self.path.glob("scores/*/part-*.parquet"):
            path.unlink()
        for folder in self.path.glob("scores/*"):
            with contextlib.suppress(OSError):  # not empty: somebody's own files
                folder.rmdir()

    def iter_images(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield the parts of the images in order; columns of the schema in `docs/format.md`, all by default.

        Raises
        ------
        RunCorruptError
            If a part is missing (the scan was not finished) or damaged; names the file.
        """
        for index in range(self.manifest.n_parts):
            yield self.read_images(index, columns)

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
        write_json(self.path / "embeddings.json", external.to_json())
        self._external = external

    def is_current(self, facts: dict[str, str]) -> bool:
        """Return whether a part with this metadata was made by the encoder and with the options of the run."""
        encoder, options = self.manifest.encoder.fingerprint, self.manifest.options_fingerprint
        return (facts.get("clipsieve.encoder"), facts.get("clipsieve.options")) == (encoder, options)

    def _mixed(self) -> EncoderMismatchError:
        """Return the error of a run whose encoder or options were changed, and not every part made anew since."""
        found = [self.part_metadata(self.image_part(index)) for index in range(self.manifest.n_parts)]
        n_old = sum(facts is not None and not self.is_current(facts) for facts in found)
        return EncoderMismatchError(
            f"{n_old:,} of {self.manifest.n_parts:,} parts in `{self.path}` were made by another encoder or with other options",
            expected=f"{self.manifest.encoder.name}, {self.manifest.encoder.embedding_dim} wide, in every part",
            state="nothing was written",
            hint="give the command that scanned it again: it makes only these parts anew",
        )

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
        for index, images in enumerate(self.iter_images(columns)):
            path = self.score_part(name, index)
            scores = self.read_part(path, score_columns)
            if inputs_of(scores.schema) != inputs_of(images.schema) or scores.num_rows != images.num_rows:
                raise RunCorruptError(
                    f"the scores `{name}` are older than the scan (`{path}`)",
                    hint=f"score again: `clipsieve score {self.path} -c ...`",
                )
            yield images, scores

    def read_part(self, path: Path, columns: list[str] | None = None) -> pa.Table:
        """Read one part, or some columns of it in their order; RunCorruptError if it is missing or damaged."""
        try:
            # Of a small file, `pq.read_table` takes several times as long, most of it before it reads.
            with pq.ParquetFile(path, memory_map=True) as file:
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
        return sorted(file.parent.name for file in self.path.glob("scores/*/classifier.json"))

    def score_facts(self, name: str) -> dict[str, Any]:
        """Return what `scores/<name>/classifier.json` says: what scored, with which threshold."""
        file = self.path / "scores" / name / "classifier.json"
        try:
            facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
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
        write_json(self.path / "scores" / name / "classifier.json", facts)

    def drop_score_facts(self, name: str) -> None:
        """Remove `scores/<name>/classifier.json`: the scores of that name are about to change."""
        (self.path / "scores" / name / "classifier.json").unlink(missing_ok=True)

    @staticmethod
    def load_listing(path: Path) -> dict[str, tuple[str, int, int]]:
        """Return what `listing.json` of a run folder says, or nothing: it only saves time."""
        try:
            found = json.loads((path / "listing.json").read_text(encoding="utf-8"))
            return {str(name): (str(stamp), int(n), int(m)) for name, (stamp, n, m) in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def save_listing(self, listing: dict[str, tuple[str, int, int]]) -> None:
        """Write `listing.json`."""
        write_json(self.path / "listing.json", dict(listing))

    def record(self, **facts: object) -> None:
        """Append one line to `history.jsonl`: what was done to the run, when, for how long."""
        append_line(self.path / "history.jsonl", dict(facts))

    def history(self) -> list[dict[str, Any]]:
        """Return the lines of `history.jsonl`; a line that was cut by a power failure is left out."""
        file = self.path / "history.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found
