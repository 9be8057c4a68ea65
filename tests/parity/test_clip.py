"""Our two backends against transformers' own CLIPModel, processor and tokenizer, on random weights of the true ViT-B/32."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsieve.encoders import Encoder, export_model, load_encoder
from model_folders import END, START, clip_tokenizer, spread_weights
from odd_inputs import TEXTS, closest, cosines, odd_images, our_pixels, typical

pytestmark = [pytest.mark.torch, pytest.mark.slow]

ENOUGH = 0.9999


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from tokenizers import processors
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    path = tmp_path_factory.mktemp("clip")
    tokenizer = clip_tokenizer(TEXTS)
    start, end = (tokenizer.token_to_id(token) for token in (START, END))
    tokenizer.post_processor = processors.RobertaProcessing(
        (END, end), (START, start), trim_offsets=False, add_prefix_space=False
    )
    CLIPTokenizer(
        tokenizer_object=tokenizer, bos_token=START, eos_token=END, unk_token=END, pad_token=END, model_max_length=77
    ).save_pretrained(path)
    text = {"vocab_size": tokenizer.get_vocab_size(), "eos_token_id": end, "bos_token_id": start, "pad_token_id": end}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text))  # all else as in openai/clip-vit-base-patch32
    assert model.vision_model.config.num_hidden_layers == model.text_model.config.num_hidden_layers == 12
    spread_weights(model)
    model.save_pretrained(path)
    CLIPImageProcessorPil().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    destination = tmp_path_factory.mktemp("onnx") / "model"
    export_model(str(folder), destination)
    return destination


@pytest.fixture(scope="module", params=["onnx", "torch"])
def encoder(request, folder: Path, exported: Path) -> Encoder:
    return load_encoder(str(exported if request.param == "onnx" else folder), device="cpu", threads=2)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the features of images and texts, and the token ids, as transformers itself computes them."""
    import torch
    from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

    model, processor = CLIPModel.from_pretrained(folder).eval(), CLIPImageProcessorPil.from_pretrained(folder)
    images = [Image.open(io.BytesIO(content)) for content in odd_images().values()]
    tokens = AutoTokenizer.from_pretrained(folder)(TEXTS, padding="max_length", truncation=True, return_tensors="pt")
    with torch.inference_mode():
        image = model.get_image_features(**processor(images=images, return_tensors="pt")).pooler_output
        text = torch.cat([model.get_text_features(ids).pooler_output for ids in tokens.input_ids.split(64)])
    return image.numpy(), text.numpy(), tokens.input_ids.numpy()


def test_the_weights_tell_inputs_apart(theirs):
    image, text, ids = theirs
    rows = np.unique(ids, axis=0, return_index=True)[1]
    assert len(rows) >= 100
    assert closest(image) < 0.99
    assert typical(image) < 0.9
    assert typical(text[rows]) < 0.9


def test_images(encoder, theirs):
    pixels = np.stack([our_pixels(content, encoder.identity.preprocessing) for content in odd_images().values()])
    found = dict(zip(odd_images(), cosines(encoder.encode_images(pixels), theirs[0]), strict=True))
    print(f"worst of {len(found)} images: {min(found.values()):.7f}")
    assert {name: value for name, value in found.items() if not value >= ENOUGH} == {}


def test_texts(encoder, theirs):
    found = cosines(encoder.encode_texts(TEXTS), theirs[1])
    print(f"worst of {len(TEXTS)} texts: {found.min():.7f}")
    assert [text for text, value in zip(TEXTS, found, strict=True) if not value >= ENOUGH] == []


def test_token_ids(folder, exported, theirs):
    from clipsieve.encoders.huggingface import HuggingFaceFolder
    from clipsieve.encoders.tokenizer import TextTokenizer

    ours = HuggingFaceFolder.open(folder).tokenizer
    also = TextTokenizer.from_file(exported / "textual/tokenizer.json", 77, END)
    assert len(TEXTS) >= 200
    for text, one, other, reference in zip(TEXTS, ours(TEXTS), also(TEXTS), theirs[2], strict=True):
        assert one.tolist() == other.tolist() == reference.tolist(), ascii(text)


@pytest.mark.parametrize("change", [{"interpolation": "nearest"}, {"resize_mode": "squash"}, {"mean": (0.5, 0.4, 0.5)}])
def test_a_recipe_that_is_slightly_wrong_would_be_noticed(folder, theirs, change):
    from clipsieve.encoders.torch import TorchEncoder

    encoder = TorchEncoder(folder, name="wrong", location="wrong", device="cpu")
    recipe = dataclasses.replace(encoder.identity.preprocessing, **change)
    encoder.folder = dataclasses.replace(encoder.folder, recipe=recipe)
    first = dict(list(odd_images().items())[2:6])  # wide, tall and grey
    pixels = np.stack([our_pixels(content, recipe) for content in first.values()])
    assert cosines(encoder.encode_images(pixels), theirs[0][2:6]).min() < ENOUGH


def test_the_logit_scale_is_theirs(encoder):
    assert encoder.logit_scale == pytest.approx(np.exp(2.6592), rel=1e-5)
