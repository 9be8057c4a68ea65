"""Where the int8 image towers of a model folder lie: each under its own hash, so that a new one never replaces another.

::

    CLIPSIEVE_HOME/int8/<what they were made from>/
      current.json             which of them `--precision int8` takes
      <first 12 hex digits of the graph's hash>/
        model.onnx             the int8 graph, its weights within
        quantization.json      how it was made: hashes, recipe, calibration images, versions

A run names its tower, and finds it again whatever was made later.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clipsieve.encoders.catalog import data_dir
from clipsieve.encoders.folder import ModelFolder, hash_file, hash_files
from clipsieve.encoders.quantize_recipes import VERSION
from clipsieve.errors import ModelFileError, ModelNotFoundError

__all__ = ["GRAPH", "RECORD", "Towers", "precision_of", "read_quantization", "write_json"]

GRAPH, RECORD, CURRENT = "model.onnx", "quantization.json", "current.json"
DIGITS = 12  # of a graph's hash, in the names of towers and in an encoder's precision


def precision_of(graph: Path) -> str:
    """Return the precision of an encoder with that int8 graph: "int8-" and the first digits of the graph's hash."""
    return f"int8-{hash_file(graph)[:DIGITS]}"


def read_quantization(graph: Path) -> dict[str, Any]:
    """Return how an int8 graph was made."""
    record: dict[str, Any] = json.loads(graph.with_name(RECORD).read_text(encoding="utf-8"))
    return record


class Towers:
    """The int8 towers that were made from one image tower with one recipe in front of it.

    Parameters
    ----------
    folder_path : Path
        The model folder. Another one with the same weights has the same towers.

    Raises
    ------
    ModelFileError
        If the folder is not whole.
    """

    def __init__(self, folder_path: Path) -> None:
        folder = ModelFolder.open(folder_path)
        self.weights_sha256 = _weights_sha256(folder)
        facts = {"weights": self.weights_sha256, "preprocessing": asdict(folder.recipe)}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        self._model = folder_path.name
        self._place = data_dir() / "int8" / digest[:32]

    @property
    def current(self) -> str | None:
        """The precision of the one to take where none is named; None if there is none, or it was made in an older way."""
        try:
            found = json.loads((self._place / CURRENT).read_text(encoding="utf-8"))
            precision, version = found["precision"], found["recipes_version"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return precision if version == VERSION and _digits(precision) else None

    def graph(self, precision: str) -> Path:
        """Return the graph of a tower.

        Parameters
        ----------
        precision : str
            As :func:`precision_of` gives it.

        Raises
        ------
        ModelNotFoundError
            If it is not on this machine.
        ModelFileError
            If it is not what was made.
        """
        graph = self._place / (_digits(precision) or "no tower") / GRAPH
        if not graph.parent.is_dir():
            raise ModelNotFoundError(
                f"the int8 form `{precision}` of `{self._model}` is not on this machine",
                expected=str(self._place / (_digits(precision) or f"({DIGITS} hex digits)")),
                found=", ".join(f"int8-{name}" for name in self._names()) or "no int8 form of it",
                hint="was it made on another machine, or with another CLIPSIEVE_HOME? Copy that folder from there",
            )
        if not _is_whole(graph):
            raise ModelFileError(
                f"the int8 form `{precision}` of `{self._model}` is damaged",
                expected=f"{GRAPH} and {RECORD} as they were made",
                found=str(graph.parent),
                hint="copy that folder again, or make another one with `clipsieve models quantize`",
            )
        return graph

    def has(self, precision: str | None) -> bool:
        """Return whether a tower is here, and whole."""
        digits = _digits(precision)
        return digits is not None and _is_whole(self._place / digits / GRAPH)

    @contextmanager
    def alone(self) -> Iterator[Path]:
        """Let one process at a time make a tower; the others wait, and find it. Give a folder to make it in."""
        place = self._place
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.with_name(f"{place.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in place.parent.glob(f".{place.name}.*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as scratch:
                yield Path(scratch)

    def publish(self, made: Path) -> Path:
        """Put a finished folder in its place, at once, and let it be the current one; return its graph."""
        precision = precision_of(made / GRAPH)
        tower = self._place / str(_digits(precision))
        tower.parent.mkdir(exist_ok=True)
        for file in made.iterdir():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        if tower.exists():  # the same graph, or what is left of it
            tower.rename(made.with_name("replaced"))
        made.rename(tower)
        write_json(self._place / CURRENT, {"precision": precision, "recipes_version": VERSION})
        return tower / GRAPH

    def _names(self) -> list[str]:
        return sorted(path.parent.name for path in self._place.glob(f"*/{GRAPH}"))


def _digits(precision: object) -> str | None:
    found = re.fullmatch(rf"int8-([0-9a-f]{{{DIGITS}}})", precision) if isinstance(precision, str) else None
    return found[1] if found else None


def _weights_sha256(folder: ModelFolder) -> str:
    visual = folder.path / "visual"
    return hash_files(visual, [file for file in folder.weight_files() if file.parent == visual])


def _is_whole(graph: Path) -> bool:
    try:
        found = hash_file(graph)
        return bool(read_quantization(graph)["graph_sha256"] == found) and found.startswith(graph.parent.name)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a JSON file, at once."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)
