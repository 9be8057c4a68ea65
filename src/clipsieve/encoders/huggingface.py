"""The folder that transformers saves: its small files, read without transformers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipsieve.encoders.folder import read_channels, read_json
from clipsieve.encoders.tokenizer import TextTokenizer
from clipsieve.errors import ModelFileError
from clipsieve.types import Preprocessing

__all__ = ["HuggingFaceFolder"]

MODEL_TYPES = ("clip", "siglip")
RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers

# How each tokenizer's own code cleans a text before its `tokenizer.json` sees it.
CLEANING = {
    "SiglipTokenizer": "canonicalize",
    "Siglip2Tokenizer": "lower",
    "GemmaTokenizer": "lower",
    "GemmaTokenizerFast": "lower",
}


@dataclass(frozen=True, slots=True)
class HuggingFaceFolder:
    """A folder with `config.json`, `*.safetensors`, `preprocessor_config.json`, `tokenizer.json`.

    Attributes
    ----------
    path : Path
        The folder.
    embedding_dim : int
        d.
    context_length : int
        Tokens that the text tower takes.
    recipe : Preprocessing
        In front of the image tower.
    pad_token : str
        What fills a text up.
    tokenizer : TextTokenizer
        Ready to use.
    """

    path: Path
    embedding_dim: int
    context_length: int
    recipe: Preprocessing
    pad_token: str
    tokenizer: TextTokenizer

    @classmethod
    def open(cls, path: Path) -> HuggingFaceFolder:
        """Read and check the folder's small files.

        Raises
        ------
        ModelFileError
            If one is missing or malformed, the model is none of CLIP and SigLIP, or its recipe is not one that we know.
        """
        needed = ("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json")
        missing = [name for name in needed if not (path / name).is_file()]
        if missing or not any(path.glob("*.safetensors")):
            raise ModelFileError(
                f"the model folder `{path}` is not whole",
                expected="*.safetensors, " + ", ".join(needed),
                found="without " + ", ".join(missing or ["*.safetensors"]),
                hint="save the model, its image processor and its fast tokenizer with `save_pretrained`; pickled weights "
                "(.bin) are not loaded",
            )
        config, settings = read_json(path / "config.json"), read_json(path / "tokenizer_config.json")
        try:
            return cls._from_json(path, config, read_json(path / "preprocessor_config.json"), settings)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelFileError(
                f"the settings of the model folder `{path}` cannot be understood",
                expected="those of a CLIP or SigLIP model as transformers saves it",
                found=f"{type(error).__name__}: {error}",
            ) from error

    @classmethod
    def _from_json(cls, path: Path, config: Any, recipe: Any, settings: Any) -> HuggingFaceFolder:  # noqa: ANN401 - JSON
        kind = config["model_type"]
        if kind not in MODEL_TYPES:
            raise ValueError(f"a model of type {kind!r}, not one of {', '.join(MODEL_TYPES)}")
        text, vision = config["text_config"], config["vision_config"]
        # transformers leaves out what equals its own default.
        width = config.get("projection_dim", 512) if kind == "clip" else vision.get("hidden_size", 768)
        context = int(text.get("max_position_embeddings", 77 if kind == "clip" else 64))
        pad = settings["pad_token"]
        pad_token = str(pad["content"] if isinstance(pad, dict) else pad)
        clean = CLEANING.get(settings.get("tokenizer_class", "")) if kind == "siglip" else None
        tokenizer = TextTokenizer.from_file(path / "tokenizer.json", context, pad_token, clean=clean)
        return cls(path, int(width), context, _recipe(recipe), pad_token, tokenizer)

    def weight_files(self) -> list[Path]:
        """Return the safetensors files, sorted."""
        return sorted(self.path.glob("*.safetensors"))


def _recipe(value: Any) -> Preprocessing:  # noqa: ANN401 - JSON
    """Return the recipe in a `preprocessor_config.json`; ValueError for one that `Preprocessing` cannot express."""
    for step in ("do_resize", "do_rescale", "do_normalize"):
        if not value.get(step, True):
            raise ValueError(f"{step} is off")
    if abs(value.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-6:
        raise ValueError(f"rescale_factor {value['rescale_factor']}")
    size, crop = value["size"], value.get("crop_size")
    if isinstance(size, int):  # as older files say it
        size = {"shortest_edge": size}
    if "shortest_edge" in size:
        mode, side = "shortest", int(size["shortest_edge"])
        if not value.get("do_center_crop", True) or crop not in (None, side, {"height": side, "width": side}):
            raise ValueError(f"a crop of {crop} after a resize to {side}")
    else:
        mode, side = "squash", int(size["height"])
        if size["width"] != side or value.get("do_center_crop", False):
            raise ValueError(f"a size of {size}, or a crop after it")
    mean, std = read_channels(value, "image_mean", "image_std")
    return Preprocessing(
        size_px=side,
        resize_mode=mode,
        interpolation=RESAMPLING[value.get("resample", 3)],
        mean=mean,
        std=std,
    )
