"""Our two backends against transformers' SiglipModel, processor and tokenizers: SigLIP, and SigLIP 2 with Gemma's tokenizer.

SigLIP 2 of a fixed resolution is a model of type `siglip`; only its tokenizer differs.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from clipsieve.encoders import Encoder, export_model, load_encoder
from clipsieve.encoders.tokenizer import canonicalize
from model_folders import spread_weights, write_json
from odd_inputs import TEXTS, closest, cosines, odd_images, our_pixels, typical

pytestmark = [pytest.mark.torch, pytest.mark.slow]

ENOUGH = 0.9999
CONTEXT = 64
LAYERS = {"num_hidden_layers": 2}  # all else as in google/siglip-base-patch16-224


def t5_tokenizer() -> Tokenizer:
    """Train a tokenizer in the form of SigLIP's (T5's): a unigram model over pieces that carry their space."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=600, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([canonicalize(text) for text in TEXTS], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def gemma_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Train byte-level pairs in the form of Gemma's: no words, spaces as `▁`, bytes for what is unknown."""
    import json

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=specials, show_progress=False, limit_alphabet=150)
    tokenizer.train_from_iterator(TEXTS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def save_tokenizer(kind: str, path: Path) -> int:
    """Write `tokenizer.json` and `tokenizer_config.json`; return the size of the vocabulary."""
    if kind == "siglip":
        tokenizer = t5_tokenizer()
        tokenizer.save(str(path / "tokenizer.json"))
        settings = {
            "tokenizer_class": "SiglipTokenizer",
            "pad_token": "</s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
        }
        write_json(path / "tokenizer_config.json", settings | {"model_max_length": CONTEXT})
        return int(tokenizer.get_vocab_size())
    from transformers import Siglip2Tokenizer

    vocabulary, merges = gemma_pairs()
    made = Siglip2Tokenizer(vocabulary, merges, padding_side="right", model_max_length=CONTEXT)
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", vocabulary["<eos>"])]
    )
    made.save_pretrained(path)
    return len(made)


def their_tokenizer(kind: str, path: Path) -> Any:
    """Return transformers' tokenizer; SigLIP's own needs sentencepiece, so its cleaning is done here in words of ours."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if kind == "siglip2":
        return AutoTokenizer.from_pretrained(path)
    plain = PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json"), pad_token="</s>")
    return lambda texts, **options: plain([canonicalize(text) for text in texts], **options)


@pytest.fixture(scope="module", params=["siglip", "siglip2"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    path = tmp_path_factory.mktemp(kind) / "torch"
    path.mkdir()
    text = LAYERS | {"vocab_size": save_tokenizer(kind, path), "max_position_embeddings": CONTEXT}
    torch.manual_seed(0)
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=LAYERS))
    spread_weights(model, attention=3)
    model.save_pretrained(path)
    SiglipImageProcessorPil(image_mean=[0.5] * 3, image_std=[0.5] * 3, resample=2).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def exported(kind: str, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    destination = tmp_path_factory.mktemp(kind) / "onnx"
    export_model(str(folder), destination)
    return destination


@pytest.fixture(scope="module")
def encoders(folder: Path, exported: Path) -> dict[str, Encoder]:
    """Return both backends; not one after the other, or pytest would make the models again for each."""
    return {path.name: load_encoder(str(path), device="cpu", threads=2) for path in (folder, exported)}


@pytest.fixture(scope="module")
def theirs(kind: str, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the features of images and of every third text, and all token ids, as transformers computes them."""
    import torch
    from transformers import SiglipImageProcessorPil, SiglipModel

    model, processor = SiglipModel.from_pretrained(folder).eval(), SiglipImageProcessorPil.from_pretrained(folder)
    images = [Image.open(io.BytesIO(content)) for content in odd_images().values()]
    options = {"padding": "max_length", "truncation": True, "max_length": CONTEXT, "return_tensors": "pt"}
    ids = their_tokenizer(kind, folder)(TEXTS, **options).input_ids
    with torch.inference_mode():
        pixels = processor(images=images, return_tensors="pt", do_convert_rgb=True)
        image = model.get_image_features(**pixels).pooler_output
        text = torch.cat([model.get_text_features(part).pooler_output for part in ids[::3].split(64)])
    return image.numpy(), text.numpy(), ids.numpy()


def test_the_weights_tell_inputs_apart(theirs):
    image, text, ids = theirs
    rows = np.unique(ids[::3], axis=0, return_index=True)[1]
    assert len(rows) >= 40
    assert closest(image) < 0.999
    assert typical(image) < 0.9
    assert typical(text[rows]) < 0.9


def test_images(encoders, theirs):
    for backend, encoder in encoders.items():
        pixels = np.stack([our_pixels(content, encoder.identity.preprocessing) for content in odd_images().values()])
        found = dict(zip(odd_images(), cosines(encoder.encode_images(pixels), theirs[0]), strict=True))
        print(f"{backend}: worst of {len(found)} images: {min(found.values()):.7f}")
        assert {name: value for name, value in found.items() if not value >= ENOUGH} == {}, backend


def test_texts(encoders, theirs):
    for backend, encoder in encoders.items():
        found = cosines(encoder.encode_texts(TEXTS[::3]), theirs[1])
        print(f"{backend}: worst of {len(found)} texts: {found.min():.7f}")
        assert [text for text, value in zip(TEXTS[::3], found, strict=True) if not value >= ENOUGH] == [], backend


def test_token_ids(folder, theirs):
    from clipsieve.encoders.huggingface import HuggingFaceFolder

    for text, ours, reference in zip(TEXTS, HuggingFaceFolder.open(folder).tokenizer(TEXTS), theirs[2], strict=True):
        assert ours.tolist() == reference.tolist(), ascii(text)
