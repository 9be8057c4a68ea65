"""What the benchmark of the GPU works on: models with random weights in true shapes, and drawn JPEGs."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Shape", "write_model", "write_photographs"]


@dataclass(frozen=True)
class Shape:
    """An image tower."""

    name: str
    width: int
    n_layers: int
    n_heads: int
    patch_px: int
    dim: int
    side_px: int = 224

    @property
    def flops(self) -> float:
        """Of one image: 2 for each multiplication with its addition; products alone.

        Each layer: 4 projections of d x d and 2 of d x 4d for each of t tokens, 24 t d^2; attention, 4 t^2 d.
        """
        n_patches = (self.side_px // self.patch_px) ** 2
        t, d = n_patches + 1, self.width
        patches, last = 2 * n_patches * d * 3 * self.patch_px**2, 2 * d * self.dim
        return self.n_layers * (24 * t * d**2 + 4 * t**2 * d) + patches + last


def write_model(shape: Shape, path: Path) -> None:
    """Write a CLIP model with random weights and a small text tower."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    words = {"<s>": 0, "</s>": 1} | {chr(code): code - 30 for code in range(32, 127)}
    text = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1,
            "vocab_size": len(words), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}  # fmt: skip
    vision = {"hidden_size": shape.width, "intermediate_size": 4 * shape.width, "num_hidden_layers": shape.n_layers,
              "num_attention_heads": shape.n_heads, "patch_size": shape.patch_px, "image_size": shape.side_px}  # fmt: skip
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=shape.dim)
    CLIPModel(config).save_pretrained(path)
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="</s>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    ends = [("<s>", 0), ("</s>", 1)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    tokenizer.save(str(path / "tokenizer.json"))
    side, mean = {"height": shape.side_px, "width": shape.side_px}, [0.48, 0.46, 0.41]
    recipe = {"size": {"shortest_edge": shape.side_px}, "crop_size": side, "image_mean": mean, "image_std": [0.27] * 3}
    (path / "preprocessor_config.json").write_text(json.dumps(recipe))
    (path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "</s>"}))


def write_photographs(folder: Path, n: int) -> None:
    """Write n JPEGs of 500 x 375 and about 95 kB, as photographs of that size have: 64 drawn ones, each under many names."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    random = np.random.default_rng(0)
    drawn: list[Path] = []
    for index in range(n):
        path = folder / f"{index:06}.jpg"
        if index < 64:
            coarse = Image.fromarray(random.integers(0, 256, (48, 64, 3), dtype=np.uint8))
            smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.int16)
            grain = random.integers(-14, 15, (375, 500, 1), dtype=np.int16)
            Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(path, quality=90)
            drawn.append(path)
        else:
            os.link(drawn[index % 64], path)
