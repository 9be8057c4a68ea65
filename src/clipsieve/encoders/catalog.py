"""The encoders known by name, and where clipsieve keeps those it has fetched."""

from __future__ import annotations

import functools
import os
import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

__all__ = [
    "CatalogModel",
    "ModelEntry",
    "data_dir",
    "find_model",
    "list_models",
    "models_dir",
    "pictogram_dir",
    "repo_dir",
]

EMBEDDED = "pictogram"


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One entry of `catalog.toml`.

    Attributes
    ----------
    name : str
        What `--model` takes.
    embedding_dim, size_px : int
        Width of the joint space; side of the image input.
    n_parameters_m : float
        Both towers, in millions.
    licence, about : str
        Of the weights; what they are for.
    repo : str or None
        Where the hub has it; None for the embedded model.
    revision : str or None
        The commit to fetch, where one was pinned.
    files : dict of str to str
        sha256 of its files, where they were pinned.
    """

    name: str
    embedding_dim: int
    size_px: int
    n_parameters_m: float
    licence: str
    about: str
    repo: str | None = None
    revision: str | None = None
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A known model, and whether it is on this machine.

    Attributes
    ----------
    name, licence, about : str
        As in :class:`CatalogModel`.
    embedding_dim, size_px : int
        As there.
    n_parameters_m : float
        As there.
    is_local : bool
        Whether it can be loaded without a network.
    """

    name: str
    embedding_dim: int
    size_px: int
    n_parameters_m: float
    licence: str
    about: str
    is_local: bool


@functools.cache
def _catalog() -> tuple[CatalogModel, ...]:
    text = (resources.files("clipsieve.encoders") / "catalog.toml").read_text(encoding="utf-8")
    return tuple(CatalogModel(**entry) for entry in tomllib.loads(text)["models"])


def find_model(name: str) -> CatalogModel | None:
    """Return the catalog's entry for a name or a hub id, or None."""
    return next((model for model in _catalog() if name in (model.name, model.repo)), None)


def list_models() -> list[ModelEntry]:
    """Return the known models in the catalog's order, the embedded one first."""
    return [
        ModelEntry(
            name=model.name,
            embedding_dim=model.embedding_dim,
            size_px=model.size_px,
            n_parameters_m=model.n_parameters_m,
            licence=model.licence,
            about=model.about,
            is_local=model.repo is None or (repo_dir(model.repo) / "pin.json").exists(),
        )
        for model in _catalog()
    ]


def data_dir() -> Path:
    """Return where clipsieve keeps what it fetched: `CLIPSIEVE_HOME`, or `clipsieve` in the user's cache."""
    home = os.environ.get("CLIPSIEVE_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() if home else Path(cache).expanduser() / "clipsieve"


def models_dir() -> Path:
    """Return the folder of fetched models."""
    return data_dir() / "models"


def repo_dir(repo: str) -> Path:
    """Return the folder of one hub repository; its id was checked to be two plain names."""
    return models_dir() / repo.replace("/", "--")


def pictogram_dir() -> Path:
    """Return the folder of the embedded model."""
    return Path(str(resources.files("clipsieve.encoders") / EMBEDDED))
