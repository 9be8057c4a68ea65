"""Where a model lies on this machine: by its name, its id on the hub, or its folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from clipsieve.encoders.catalog import EMBEDDED, find_model, list_models, pictogram_dir
from clipsieve.encoders.hub import fetch, is_hub_id, pinned_folder
from clipsieve.errors import ModelFileError, ModelNotFoundError

__all__ = ["EXPORT_FIRST", "Place", "check_graphs", "find_graphs", "find_place", "has_graphs"]

EXPORT_FIRST = "export its graphs with `clipsieve models export {} FOLDER`, and take that folder as the model"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model lies on this machine.

    Attributes
    ----------
    path : Path
        Its folder.
    name, location : str
        For people; what loads it again.
    repo, commit : str or None
        Where it was fetched from.
    """

    path: Path
    name: str
    location: str
    repo: str | None = None
    commit: str | None = None


def find_place(model: str) -> Place:
    """Return where a model lies, fetching it if it is not here; ModelNotFoundError if there is none of that name."""
    if model == EMBEDDED:
        return Place(pictogram_dir(), EMBEDDED, EMBEDDED)
    known = find_model(model)
    if known is None and model and (os.sep in model or Path(model).is_dir()) and not _looks_remote(model):
        return _find_folder(Path(model))
    repo = known.repo if known and known.repo else model
    if not is_hub_id(repo):
        raise ModelNotFoundError(
            f"there is no model `{model}`",
            expected=", ".join(entry.name for entry in list_models()),
            hint="a folder needs a `/` in its name or must exist; a hub id has the form `owner/name`",
        )
    folder, pin = pinned_folder(repo) or fetch(repo)
    return Place(folder, known.name if known else repo, model, pin.repo, pin.commit)


def _looks_remote(model: str) -> bool:
    """Return whether `owner/name` means the hub: nothing of that name lies here."""
    return is_hub_id(model) and not Path(model).exists()


def _find_folder(path: Path) -> Place:
    if not path.is_dir():
        raise ModelNotFoundError(
            f"there is no model folder `{path}`",
            found="a file" if path.exists() else "nothing",
            hint="`clipsieve models list` shows the models known by name; `--model pictogram` is always there",
        )
    absolute = Path(os.path.realpath(path))
    return Place(absolute, absolute.name, str(absolute))


def has_graphs(path: Path) -> bool:
    """Return whether a folder is one of ONNX graphs, whole or not."""
    return (path / "visual").is_dir() or (path / "textual").is_dir()


def check_graphs(place: Place) -> None:
    """Raise ModelFileError if a model has no ONNX graphs."""
    if not has_graphs(place.path):
        raise ModelFileError(
            f"`{place.name}` has no graphs that OpenVINO could run",
            expected="`visual/model.onnx` and `textual/model.onnx`",
            found=", ".join(sorted(file.name for file in place.path.glob("*.safetensors"))[:8]) or "neither",
            hint=EXPORT_FIRST.format(place.location),
        )


def find_graphs(model: str) -> Path:
    """Return the folder of a model that has ONNX graphs; fetched if it is not here, ModelFileError if it has none."""
    place = find_place(model)
    check_graphs(place)
    return place.path
