"""The towers of transformers as ONNX graphs.

Imports torch; it needs the torch extra.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from clipsieve.encoders.torch_images import image_features, text_features

__all__ = ["export_towers"]

OPSET = 17


def export_towers(
    model: torch.nn.Module, image: torch.Tensor, text: torch.Tensor, visual_path: Path, textual_path: Path
) -> None:
    """Write both towers with a free batch side; the inputs are called `image` (float32 NCHW) and `text` (int32)."""
    _export(_ImageTower(model), image, visual_path, "image")
    _export(_TextTower(model), text, textual_path, "text")


class _ImageTower(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image_features(self.model, image)


class _TextTower(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        return text_features(self.model, text)


def _export(tower: torch.nn.Module, example: torch.Tensor, path: Path, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            tower.eval(),
            (example,),
            path,
            input_names=[name],
            output_names=["features"],
            dynamic_axes={name: {0: "n"}, "features": {0: "n"}},
            opset_version=OPSET,
            dynamo=False,  # the tracing exporter needs no further package, and these towers have no branches
        )
