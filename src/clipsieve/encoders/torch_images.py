"""The towers of transformers as computations on the device: for images, bytes in and unit-norm rows out.

Imports torch; it needs the torch extra.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from clipsieve.types import Preprocessing

__all__ = ["ImageTower", "PatchProjection", "image_features", "text_features", "unit_rows"]


def image_features(model: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Return the image tower's features, before normalization."""
    output: Any = model.get_image_features(pixel_values=image)  # type: ignore[operator]
    features: torch.Tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    return features


def text_features(model: torch.nn.Module, text: torch.Tensor) -> torch.Tensor:
    """Return the text tower's features, before normalization; padding is part of the input, as it was in training."""
    output: Any = model.get_text_features(input_ids=text.long())  # type: ignore[operator]
    features: torch.Tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    return features


def unit_rows(features: torch.Tensor) -> torch.Tensor:
    """Return float32 rows of norm 1, whatever the features' own precision; a row without a direction is NaN."""
    values = features.float()
    rows: torch.Tensor = values / values.norm(dim=1, keepdim=True)
    return rows


class PatchProjection(torch.nn.Module):
    """A convolution whose stride equals its kernel, done as what it is: one matrix product for all patches.

    Pixels lie with their channels last, as images come; so do the weights here, and nothing is copied to another layout.

    Parameters
    ----------
    convolution : torch.nn.Conv2d
        The patch embedding of a vision transformer.
    """

    def __init__(self, convolution: torch.nn.Conv2d) -> None:
        super().__init__()
        width, channels, self.patch_px, _ = convolution.weight.shape
        channels_last = convolution.weight.detach().permute(0, 2, 3, 1)
        self.weight = torch.nn.Parameter(channels_last.reshape(width, -1).contiguous(), requires_grad=False)
        self.bias = convolution.bias
        self.channels = channels

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return what the convolution returns for (n, c, s, s): (n, width, s / patch, s / patch)."""
        n, _, height, width = image.shape
        rows, columns, patch = height // self.patch_px, width // self.patch_px, self.patch_px
        kept = image[:, :, : rows * patch, : columns * patch].permute(0, 2, 3, 1)  # a convolution drops the rest, too
        patches = kept.reshape(n, rows, patch, columns, patch, self.channels).transpose(2, 3)
        projected = torch.nn.functional.linear(patches.reshape(n, rows, columns, -1), self.weight, self.bias)
        return projected.permute(0, 3, 1, 2)


class ImageTower(torch.nn.Module):
    """From uint8 pixels to unit-norm rows, with nothing but the bytes to be copied to the device.

    Parameters
    ----------
    model : torch.nn.Module
        CLIP or SigLIP of transformers, on its device and in its precision.
    recipe : Preprocessing
        Mean and standard deviation that the bytes are normalized with.
    dtype : torch.dtype
        What the model takes.
    """

    def __init__(self, model: torch.nn.Module, recipe: Preprocessing, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self.dtype = dtype
        device = next(model.parameters()).device
        self.mean = torch.tensor(recipe.mean, device=device)
        self.std = torch.tensor(recipe.std, device=device)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (n, d) float32 for (n, s, s, 3) uint8; normalization in float32, as the reference does it."""
        scaled = (pixels.float() / 255 - self.mean) / self.std
        return unit_rows(image_features(self.model, scaled.permute(0, 3, 1, 2).to(self.dtype)))

    def project_patches(self) -> None:
        """Do the patch embedding as a matrix product from now on; of any other kind of layer nothing is changed."""
        embeddings: Any = self.model.vision_model.embeddings  # type: ignore[union-attr]
        layer = embeddings.patch_embedding
        if (
            isinstance(layer, torch.nn.Conv2d)
            and layer.stride == layer.kernel_size
            and layer.padding in ((0, 0), "valid")
        ):
            embeddings.patch_embedding = PatchProjection(layer)

    @property
    def layers(self) -> list[torch.nn.Module]:
        """The transformer's layers, all of one class."""
        encoder: Any = self.model.vision_model.encoder  # type: ignore[union-attr]
        return list(encoder.layers)

    def compile_layers(self, **options: Any) -> None:  # noqa: ANN401 - torch.compile's own
        """Compile one layer for all of them, when they are next run.

        All layers share their code, so that 24 of them cost the compile time of one; what lies between them is one addition
        that is read again.

        Parameters
        ----------
        **options
            Of `torch.compile`: `backend`, `mode`.
        """
        layers = self.layers
        compiled = torch.compile(type(layers[0]).forward, dynamic=False, **options)
        for layer in layers:
            layer.forward = functools.partial(compiled, layer)

    def as_written(self) -> None:
        """Run the layers without a compiler again."""
        for layer in self.layers:
            layer.__dict__.pop("forward", None)
