"""The model folder: two ONNX graphs, a tokenizer and three small JSON files.

::

    config.json                  embed_dim, text_cfg.context_length, optionally logit_scale
    visual/model.onnx            input `image`: float32 (n, 3, s, s), or uint8 (n, s, s, 3) when the graph normalizes
    visual/preprocess_cfg.json   size, mean, std, interpolation, resize_mode
    textual/model.onnx           input `text`: int32 (n, context)
    textual/tokenizer.json       of the `tokenizers` library
    textual/tokenizer_config.json   pad_token

It is what immich publishes for open_clip's models, and what `clipsieve models export` writes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipsieve.errors import ModelFileError
from clipsieve.types import Preprocessing

__all__ = ["GRAPHS", "ModelFolder", "hash_file", "hash_files", "read_channels", "read_json"]

GRAPHS = ("visual/model.onnx", "textual/model.onnx")
_NOT_WEIGHTS = {".json", ".txt", ".md"}  # what lies beside the graphs and holds no weights


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model folder whose small files were read and found to make sense.

    Attributes
    ----------
    path : Path
        The folder.
    embedding_dim : int
        d.
    context_length : int
        Tokens that the text tower takes.
    logit_scale : float
        The learned inverse temperature; 100 where the folder does not say.
    recipe : Preprocessing
        In front of the image tower.
    pad_token : str
        What fills a text up to the context length.
    clean : str or None
        How texts are cleaned before the tokenizer sees them; see :class:`TextTokenizer`.
    """

    path: Path
    embedding_dim: int
    context_length: int
    logit_scale: float
    recipe: Preprocessing
    pad_token: str
    clean: str | None

    @classmethod
    def open(cls, path: Path) -> ModelFolder:
        """Read and check the folder's JSON files and see that all others are there.

        Raises
        ------
        ModelFileError
            Names the file that is missing or malformed.
        """
        needed = (
            "config.json",
            *GRAPHS,
            "visual/preprocess_cfg.json",
            "textual/tokenizer.json",
            "textual/tokenizer_config.json",
        )
        missing = [name for name in needed if not (path / name).is_file()]
        if missing:
            raise ModelFileError(
                f"the model folder `{path}` is not whole",
                expected=", ".join(needed),
                found="without " + ", ".join(missing),
                hint="fetch or export the model again; `docs/guides/models.md` describes the layout",
            )
        config = read_json(path / "config.json")
        recipe = read_json(path / "visual/preprocess_cfg.json")
        tokenizer = read_json(path / "textual/tokenizer_config.json")
        try:
            return cls._from_json(path, config, recipe, tokenizer)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelFileError(
                f"the settings of the model folder `{path}` cannot be understood",
                expected="embed_dim and text_cfg in config.json; size, mean, std in visual/preprocess_cfg.json; "
                "pad_token in textual/tokenizer_config.json",
                found=f"{type(error).__name__}: {error}",
            ) from error

    @classmethod
    def _from_json(cls, path: Path, config: Any, recipe: Any, tokenizer: Any) -> ModelFolder:  # noqa: ANN401 - JSON
        text = config["text_cfg"]
        pad = tokenizer["pad_token"]
        kwargs = text.get("tokenizer_kwargs") or {}
        return cls(
            path=path,
            embedding_dim=_positive(int(config["embed_dim"])),
            context_length=_positive(int(text.get("context_length", 77))),
            logit_scale=_scale(float(config.get("logit_scale", 100.0))),
            recipe=_recipe(recipe),
            pad_token=str(pad["content"] if isinstance(pad, dict) else pad),
            clean=_cleaning(kwargs.get("clean")),
        )

    def weight_files(self) -> list[Path]:
        """Return the graphs and the files with weights that lie beside them, sorted."""
        beside = [file for graph in GRAPHS for file in (self.path / graph).parent.iterdir() if file.is_file()]
        return sorted(file for file in beside if file.suffix not in _NOT_WEIGHTS and not file.name.startswith("."))

    def weights_sha256(self) -> str:
        """Return one hash over the names and contents of all weight files."""
        return hash_files(self.path, self.weight_files())


def _cleaning(name: str | None) -> str | None:
    if name not in (None, "whitespace", "lower", "canonicalize"):
        raise ValueError(f"tokenizer_kwargs.clean {name!r}")
    return name


def _positive(number: int) -> int:
    if number < 1:
        raise ValueError(f"{number} is not positive")
    return number


def _scale(number: float) -> float:
    if not 0 < number < math.inf:
        raise ValueError(f"logit_scale {number} is not positive")
    return number


def _recipe(value: Any) -> Preprocessing:  # noqa: ANN401 - JSON
    size = value["size"]
    mean, std = read_channels(value, "mean", "std")
    mode, interpolation = value.get("resize_mode", "shortest"), value.get("interpolation", "bicubic")
    if mode not in ("shortest", "squash", "longest") or interpolation not in ("bicubic", "bilinear", "nearest"):
        raise ValueError(f"resize_mode {mode!r} with interpolation {interpolation!r}")
    if isinstance(size, list) and len(set(size)) != 1:
        raise ValueError(f"size {size} is not square")
    fill_color = int(value.get("fill_color", 0))
    if not 0 <= fill_color <= 255:
        raise ValueError(f"fill_color {fill_color} is not within 0-255")
    return Preprocessing(
        size_px=_positive(int(size[0] if isinstance(size, list) else size)),
        resize_mode=mode,
        interpolation=interpolation,
        mean=mean,
        std=std,
        fill_color=fill_color,
    )


def read_channels(value: Any, *names: str) -> tuple[tuple[float, float, float], ...]:  # noqa: ANN401 - JSON
    """Return a recipe's mean and std by their names there; ValueError if they are not three usable numbers each."""
    mean, std = (tuple(float(x) for x in value[name]) for name in names)
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0 or not all(map(math.isfinite, (*mean, *std))):
        raise ValueError(f"{' and '.join(names)} are not three numbers each, the latter positive")
    return mean, std


def read_json(path: Path) -> Any:  # noqa: ANN401 - JSON
    """Read a JSON file of a model; ModelFileError if it is missing or malformed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"cannot read `{path}`", expected="a JSON file", found=str(error)) from error


def hash_file(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(root: Path, files: Iterable[Path]) -> str:
    """Return one sha256 over the names (relative to the root) and contents of files."""
    lines = (f"{hash_file(file)}  {file.relative_to(root).as_posix()}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
