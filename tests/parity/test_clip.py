"""Our two backends against transformers' own CLIPModel, on random weights large enough to tell inputs apart."""

import io

import numpy as np
import pytest
from PIL import Image

from clipsieve.encoders import export_model, load_encoder
from clipsieve.errors import ModelError
from clipsieve.images import DecodeLimits, decode, fit_to_recipe
from clipsieve.types import DecodedImage, ImageRef

pytestmark = pytest.mark.torch

ODD = [
    *("", " ", "a  b   c", "ÀÉÎ e\u0301", "日本語", "שלום עולם", "😀👩‍👩‍👧", "a\tb\nc\x00d\x1f", "&lt;b&gt; &amp;"),
    *(
        "x" * 900,
        "MiXeD CaSe",
        "don't we'll",
        "3.14159 1,000",
        "<|endoftext|> a",
        "\u200bzero\ufeffwidth",
        "ﬁ ½ Ⅷ",
        "İstanbul ß",
    ),
]
TEXTS = [
    f"{text}{suffix}"
    for text in ODD
    for suffix in ("", " a", " 7", " 你好", "!?", " É", "...", " &#39;", "\n", " ab", "_", "'s")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    path = tmp_path_factory.mktemp("clip")
    bpe = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    bpe.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<|startoftext|>", "<|endoftext|>"], end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    bpe.train_from_iterator(TEXTS, trainer)
    start, end = (bpe.token_to_id(token) for token in ("<|startoftext|>", "<|endoftext|>"))
    bpe.post_processor = processors.RobertaProcessing(
        ("<|endoftext|>", end), ("<|startoftext|>", start), trim_offsets=False, add_prefix_space=False
    )
    CLIPTokenizer(
        tokenizer_object=bpe, bos_token="<|startoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>",
        pad_token="<|endoftext|>", model_max_length=77,
    ).save_pretrained(path)  # fmt: skip
    text = {"num_hidden_layers": 2, "vocab_size": 1000, "eos_token_id": end, "bos_token_id": start, "pad_token_id": end}
    config = CLIPConfig(text_config=text, vision_config={"num_hidden_layers": 3}, initializer_factor=3.0)
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(path)
    CLIPImageProcessorPil().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory):
    destination = tmp_path_factory.mktemp("onnx") / "model"
    info = export_model(str(folder), destination)
    assert set(info.files) >= {"visual/model.onnx", "textual/model.onnx", "textual/tokenizer.json"}
    return destination


def draw() -> list[bytes]:
    """Return encoded images of every odd kind."""
    rng = np.random.default_rng(5)
    rgb = [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in ((1, 1), (2, 3), (333, 250))]
    base = Image.linear_gradient("L").resize((320, 200))
    turned = base.rotate(180)
    layered = [Image.merge("LA", [base, turned]), Image.merge("RGBA", [base, base.rotate(90), turned, base])]
    deep = Image.fromarray(rng.integers(0, 65536, (90, 70), dtype=np.uint16))
    pngs = [*rgb, base, base.convert("1"), *layered, rgb[2].convert("P"), deep]
    cmyk = Image.merge("CMYK", [base, turned, base, base.rotate(90)])
    return [
        *(encoded(image, "PNG") for image in pngs),
        encoded(rgb[2].convert("P"), "GIF", transparency=3),
        encoded(cmyk, "JPEG"),
    ]


def encoded(image: Image.Image, file_format: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def decoded(content: bytes) -> np.ndarray:
    image = decode(ImageRef("x", "x", None, None, content), DecodeLimits())
    assert isinstance(image, DecodedImage)
    return image.pixels


def cosines(one, other):
    one, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, other))
    return (one * other).sum(axis=1)


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_images_and_texts(folder, exported, backend):
    import torch
    from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    model, processor = CLIPModel.from_pretrained(folder).eval(), CLIPImageProcessorPil.from_pretrained(folder)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    encoder = load_encoder(str(exported if backend == "onnx" else folder), device="cpu", threads=2)
    theirs = [Image.open(io.BytesIO(content)) for content in draw()]
    with torch.inference_mode():
        image = model.get_image_features(**processor(images=theirs, return_tensors="pt")).pooler_output.numpy()
        ids = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids
        text = model.get_text_features(input_ids=ids).pooler_output.numpy()
    recipe = encoder.identity.preprocessing
    pixels = np.stack([fit_to_recipe(decoded(content), recipe) for content in draw()])
    ours, ours_text = encoder.encode_images(pixels), encoder.encode_texts(TEXTS)
    assert cosines(ours[:1], ours[2:3])[0] < 0.99, "the weights tell nothing apart"
    assert cosines(ours_text[:1], ours_text[14:15])[0] < 0.99
    assert cosines(ours, image).min() >= 0.9999
    assert cosines(ours_text, text).min() >= 0.9999


def test_an_export_into_a_full_folder_is_refused(folder, tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ModelError, match="is not empty"):
        export_model(str(folder), tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]
