"""Our two backends against transformers' SiglipModel, processor and tokenizers, for SigLIP and for SigLIP 2."""

import io
from pathlib import Path

import numpy as np
import pytest
from model_folders import spread_weights, unigram_tokenizer, write_json
from odd_inputs import TEXTS, closest, cosines, odd_images, our_pixels
from PIL import Image

from clipsieve.encoders import export_model, load_encoder

pytestmark = [pytest.mark.torch, pytest.mark.slow]

ENOUGH = 0.9999
LAYERS = {"num_hidden_layers": 2}  # all else as in google/siglip-base-patch16-224


def make_folder(path: Path, tokenizer_class: str) -> Path:
    import torch
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    tokenizer = unigram_tokenizer(TEXTS)
    torch.manual_seed(0)
    text = LAYERS | {"vocab_size": tokenizer.get_vocab_size()}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=LAYERS))
    spread_weights(model)
    model.save_pretrained(path)
    SiglipImageProcessorPil().save_pretrained(path)
    tokenizer.save(str(path / "tokenizer.json"))
    settings = {"tokenizer_class": tokenizer_class, "pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>"}
    write_json(path / "tokenizer_config.json", settings | {"model_max_length": 64})
    return path


@pytest.fixture(scope="module", params=["PreTrainedTokenizerFast", "GemmaTokenizer", "Siglip2Tokenizer"])
def tokenizer_class(request) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(tokenizer_class, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("siglip") / "model", tokenizer_class)
