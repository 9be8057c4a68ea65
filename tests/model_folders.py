"""Model folders that tests make for themselves: tiny, with random weights, real in every other respect."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

SIDE, WIDTH, CONTEXT = 8, 16, 12
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
KINDS = ["float", "uint8", "float, batches of 1", "float, batches of 4"]
START, END = "<|startoftext|>", "<|endoftext|>"
CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def byte_tokenizer() -> Tokenizer:
    """Return a tokenizer with one token for each byte, so that no text is unknown to it."""
    vocabulary = {token: n for n, token in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), START, END])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token=END))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(token, vocabulary[token]) for token in (START, END)]
    )
    tokenizer.add_special_tokens([START, END])
    return tokenizer


def clip_tokenizer(texts: list[str], vocab_size: int = 1000) -> Tokenizer:
    """Train a tokenizer in CLIP's form: lower case, byte-level pairs, `</w>` at the end of a word, start and end tokens."""
    from tokenizers import Regex, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=END, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        show_progress=False,
        special_tokens=[*alphabet, *(f"{letter}</w>" for letter in alphabet), START, END],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def weights(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, shape[0] ** -0.5, shape).astype(np.float32)


def image_graph(
    seed: int = 0,
    *,
    batch: int | str = "n",
    takes_pixels: bool = False,
    name: str = "image",
    width: int = WIDTH,
    mean: tuple[float, ...] = MEAN,
) -> onnx.ModelProto:
    """Return two layers over the flattened image; `takes_pixels` for uint8 NHWC that the graph itself normalizes.

    With a mean of 0, a black image has features of norm 0 and so no direction.
    """
    std = np.array(STD, dtype=np.float32).reshape(1, 3, 1, 1)
    tensors = {
        "w1": weights(seed, 3 * SIDE * SIDE, 32),
        "w2": weights(seed + 1, 32, width),
        "scale": 1 / (255 * std),
        "shift": np.array(mean, dtype=np.float32).reshape(1, 3, 1, 1) / std,
    }
    shape = [batch, SIDE, SIDE, 3] if takes_pixels else [batch, 3, SIDE, SIDE]
    kind = TensorProto.UINT8 if takes_pixels else TensorProto.FLOAT
    nodes = [
        helper.make_node("Flatten", ["normal"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w1"], ["h"]),
        helper.make_node("Tanh", ["h"], ["a"]),
        helper.make_node("MatMul", ["a", "w2"], ["features"]),
    ]
    if takes_pixels:
        first = [
            helper.make_node("Cast", [name], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["float"], ["turned"], perm=[0, 3, 1, 2]),
            helper.make_node("Mul", ["turned", "scale"], ["scaled"]),
            helper.make_node("Sub", ["scaled", "shift"], ["normal"]),
        ]
    else:
        first = [helper.make_node("Identity", [name], ["normal"])]
        del tensors["scale"], tensors["shift"]
    return _model([*first, *nodes], name, kind, shape, tensors, batch, width)


def text_graph(
    seed: int = 0, *, batch: int | str = "n", name: str = "text", width: int = WIDTH, int64: bool = False
) -> onnx.ModelProto:
    """Return a graph in which every token counts, and where it stands."""
    vocabulary = byte_tokenizer().get_vocab_size()
    tensors = {
        "table": weights(seed + 3, vocabulary, width) * vocabulary**0.5,
        "places": weights(seed + 4, CONTEXT, width) * CONTEXT**0.5,
        "axes": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", name], ["rows"]),
        helper.make_node("Mul", ["rows", "places"], ["placed"]),
        helper.make_node("ReduceMean", ["placed", "axes"], ["features"], keepdims=0),
    ]
    kind = TensorProto.INT64 if int64 else TensorProto.INT32
    return _model(nodes, name, kind, [batch, CONTEXT], tensors, batch, width)


def _model(
    nodes: list[onnx.NodeProto],
    name: str,
    kind: int,
    shape: list[int | str],
    tensors: dict[str, np.ndarray],
    batch: int | str,
    width: int,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info(name, kind, shape)],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, width])],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def make_onnx_folder(
    path: Path,
    kind: str = "float",
    *,
    seed: int = 0,
    mean: tuple[float, ...] = MEAN,
    int64: bool = False,
) -> Path:
    """Write a whole model folder and return its path; the same seed gives the same embeddings in every kind."""
    (path / "visual").mkdir(parents=True)
    (path / "textual").mkdir()
    batch = int(kind[-1]) if kind[-1].isdigit() else "n"
    visual = image_graph(seed, batch=batch, takes_pixels=kind.startswith("uint8"), mean=mean)
    onnx.save(visual, path / "visual/model.onnx")
    onnx.save(text_graph(seed, batch=batch, int64=int64), path / "textual/model.onnx")
    byte_tokenizer().save(str(path / "textual/tokenizer.json"))
    write_json(path / "textual/tokenizer_config.json", {"pad_token": END})
    write_json(path / "config.json", {"embed_dim": WIDTH, "text_cfg": {"context_length": CONTEXT}})
    recipe = {"size": [SIDE, SIDE], "mean": mean, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    write_json(path / "visual/preprocess_cfg.json", recipe)
    return path


def images(n: int, side: int = SIDE, seed: int = 0) -> np.ndarray:
    """Return n images of noise, uint8 (n, side, side, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def make_torch_folder(path: Path, *, seed: int = 0, siglip: bool = False) -> Path:
    """Write a tiny CLIP (or SigLIP) as transformers saves it, with random weights, and return the folder's path."""
    import torch
    import transformers

    torch.manual_seed(seed)
    tokenizer = byte_tokenizer()
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    start, end = (tokenizer.token_to_id(token) for token in (START, END))
    places = {"max_position_embeddings": CONTEXT, "vocab_size": tokenizer.get_vocab_size()}
    text = tower | places | {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    vision = tower | {"image_size": SIDE, "patch_size": 4}
    if siglip:
        config = transformers.SiglipConfig(text_config=text | {"projection_size": 32}, vision_config=vision)
        processor = transformers.SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})
        model = transformers.SiglipModel(config)
    else:
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH)
        crop = {"height": SIDE, "width": SIDE}
        processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=crop)
        model = transformers.CLIPModel(config)
    spread_weights(model)
    model.save_pretrained(path)
    processor.save_pretrained(path)
    tokenizer.save(str(path / "tokenizer.json"))
    write_json(path / "tokenizer_config.json", {"pad_token": END})
    return path


def spread_weights(model: object, *, attention: float = 1) -> None:
    """Scale fresh weights so that different inputs get clearly different features, as training would make them.

    With `attention` above 1 each token looks at few others; at 1 and below at all alike, which hides what a text says.
    """
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():  # type: ignore[attr-defined]
            if weight.ndim > 1 and "position" not in name:
                fan_in = weight[0].numel() if "embedding" not in name or "patch" in name else 1
                weight.normal_(0, fan_in**-0.5)
                if "q_proj" in name or "k_proj" in name:
                    weight.mul_(attention)
            elif name.endswith("class_embedding"):
                weight.normal_(0, 0.1)
