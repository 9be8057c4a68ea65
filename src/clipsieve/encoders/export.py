"""From a model of transformers to an ONNX model folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clipsieve.encoders.onnx import OnnxEncoder
from clipsieve.errors import ModelError

if TYPE_CHECKING:
    from clipsieve.encoders.torch import TorchEncoder

__all__ = ["export_folder"]

PARITY = 1e-3  # the largest difference that any number of an embedding may show


def export_folder(encoder: TorchEncoder, destination: Path) -> None:
    """Write the ONNX model folder of an encoder; it appears only once both formats were found to agree.

    Parameters
    ----------
    encoder : TorchEncoder
        On the CPU, in fp32.
    destination : Path
        New or empty.

    Raises
    ------
    ModelError
        If the destination holds something, or the formats differ by more than 1e-3.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ModelError(f"`{destination}` is not empty", expected="a new or empty folder", state="nothing was written")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".export-") as temporary:
        written = Path(temporary) / "model"
        _write_folder(encoder, written)
        _check_parity(encoder, written)
        if destination.exists():
            destination.rmdir()
        shutil.move(written, destination)


def _write_folder(encoder: TorchEncoder, path: Path) -> None:
    for tower in ("visual", "textual"):
        (path / tower).mkdir(parents=True)
    encoder.export_graphs(path / "visual/model.onnx", path / "textual/model.onnx")
    encoder.folder.tokenizer.save(path / "textual/tokenizer.json")
    for name, value in _settings(encoder).items():
        (path / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _settings(encoder: TorchEncoder) -> dict[str, dict[str, Any]]:
    """Return the JSON files of the folder by name."""
    folder, recipe = encoder.folder, encoder.folder.recipe
    text_cfg: dict[str, Any] = {"context_length": folder.context_length}
    if folder.tokenizer.clean:
        text_cfg["tokenizer_kwargs"] = {"clean": folder.tokenizer.clean}
    return {
        "config.json": {
            "embed_dim": folder.embedding_dim,
            "logit_scale": encoder.logit_scale,
            "vision_cfg": {"image_size": recipe.size_px},
            "text_cfg": text_cfg,
        },
        "visual/preprocess_cfg.json": {
            "size": [recipe.size_px, recipe.size_px],
            "mode": "RGB",
            "mean": recipe.mean,
            "std": recipe.std,
            "interpolation": recipe.interpolation,
            "resize_mode": recipe.resize_mode,
            "fill_color": recipe.fill_color,
        },
        "textual/tokenizer_config.json": {"pad_token": folder.pad_token, "model_max_length": folder.context_length},
    }


def _check_parity(encoder: TorchEncoder, path: Path) -> None:
    """Compare both formats on noise, flat colours and a few texts."""
    side = encoder.recipe.size_px
    noise = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    flat = np.stack([np.full((side, side, 3), value, dtype=np.uint8) for value in (0, 127, 255)])
    pixels, texts = np.concatenate([noise, flat]), ["", "a photo of a dog", "This image is about something positive"]
    with OnnxEncoder(path, name=encoder.identity.name, location=str(path)) as exported:
        worst = max(
            float(np.abs(exported.encode_images(pixels) - encoder.encode_images(pixels)).max()),
            float(np.abs(exported.encode_texts(texts) - encoder.encode_texts(texts)).max()),
        )
    if not worst <= PARITY:
        raise ModelError(
            "the exported model does not agree with the original",
            expected=f"embeddings within {PARITY:g}",
            found=f"a difference of {worst:.3g}",
            state="nothing was written",
        )
