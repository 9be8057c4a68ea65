"""Image towers of the true shapes with random weights: what a benchmark needs, since no weights come with the package."""

from __future__ import annotations

import atexit
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from clipsieve.encoders import export_model

__all__ = ["SHAPES", "own_home", "tower_folder", "write_torch_model"]

# patch, width, layers, heads, width of the joint space; all take 224 px.
SHAPES = {
    "ViT-B/32": (32, 768, 12, 12, 512),
    "ViT-B/16": (16, 768, 12, 12, 512),
    "ViT-L/14": (14, 1024, 24, 16, 768),
}


def write_torch_model(shape: str, folder: Path, seed: int = 0) -> Path:
    """Write a CLIP as transformers saves it; its text tower has one layer, since only images are encoded here."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    start, end = "<|startoftext|>", "<|endoftext|>"
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), start, end]
    vocabulary = {token: number for number, token in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token=end))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    sides = ((end, vocabulary[end]), (start, vocabulary[start]))
    tokenizer.post_processor = processors.RobertaProcessing(*sides, trim_offsets=False, add_prefix_space=False)
    names = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}
    CLIPTokenizer(tokenizer_object=tokenizer, model_max_length=77, **names).save_pretrained(folder)
    CLIPImageProcessorPil().save_pretrained(folder)
    ids = {"bos_token_id": vocabulary[start], "eos_token_id": vocabulary[end], "pad_token_id": vocabulary[end]}
    patch, width, layers, heads, joint = SHAPES[shape]
    vision = {"patch_size": patch, "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    torch.manual_seed(seed)
    model = CLIPModel(
        CLIPConfig(
            text_config={"vocab_size": len(vocabulary), "num_hidden_layers": 1, **ids},
            vision_config={**vision, "num_attention_heads": heads},
            projection_dim=joint,
        )
    )
    model.save_pretrained(folder)
    return folder


@cache
def tower_folder(shape: str) -> Path:
    """Return a folder that holds a model twice: in `torch` as transformers saves it, in `onnx` as `clipsieve models export` does.

    It is made once and is gone with the process.
    """
    scratch = tempfile.TemporaryDirectory(prefix="towers-")
    atexit.register(scratch.cleanup)
    folder = Path(scratch.name)
    export_model(str(write_torch_model(shape, folder / "torch")), folder / "onnx")
    return folder


@contextmanager
def own_home() -> Iterator[None]:
    """Keep int8 towers that are made meanwhile away from the user's own, in a folder that is gone afterwards.

    Processes that are started meanwhile use the same folder.
    """
    before = os.environ.get("CLIPSIEVE_HOME")
    with tempfile.TemporaryDirectory(prefix="home-") as folder:
        os.environ["CLIPSIEVE_HOME"] = folder
        try:
            yield
        finally:
            del os.environ["CLIPSIEVE_HOME"]
            if before is not None:
                os.environ["CLIPSIEVE_HOME"] = before
