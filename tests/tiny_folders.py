"""Small random models in the layout of the model folder, made of a few ONNX nodes each."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

SIDE, DIM, CONTEXT = 8, 6, 5
WORDS = ["<pad>", "<start>", "<end>", "<unk>", "a", "red", "dog", "cat", "house"]
KINDS = ["float_free", "uint8_free", "float_batch_1", "float_batch_4"]


def write_folder(path: Path, kind: str = "float_free", *, seed: int = 0, text_type: int = TensorProto.INT32) -> Path:
    """Write a whole model folder; the same seed gives the same embeddings in every kind."""
    dtype, _, batch = kind.partition("_")
    fixed = int(batch.removeprefix("batch_")) if batch != "free" else None
    for tower in ("visual", "textual"):
        (path / tower).mkdir(parents=True)
    rng = np.random.default_rng(seed)
    _save(image_graph(rng, dtype, fixed), path / "visual/model.onnx")
    _save(text_graph(rng, fixed, text_type), path / "textual/model.onnx")
    tokenizer().save(str(path / "textual/tokenizer.json"))
    recipe = {"size": [SIDE, SIDE], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "resize_mode": "shortest"}
    write_json(path / "visual/preprocess_cfg.json", recipe)
    write_json(path / "textual/tokenizer_config.json", {"pad_token": "<pad>"})
    write_json(path / "config.json", {"embed_dim": DIM, "text_cfg": {"context_length": CONTEXT}})
    return path


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    return made


def image_graph(rng: np.random.Generator, dtype: str, fixed: int | None) -> onnx.ModelProto:
    """Flatten and project; the kind for bytes normalizes first."""
    weights = rng.normal(size=(3 * SIDE * SIDE, DIM)).astype(np.float32)
    n = fixed or "n"
    nodes, constants = [], [numpy_helper.from_array(weights, "weights")]
    if dtype == "uint8":
        scale = (1 / (255 * np.array([0.2, 0.3, 0.4]))).astype(np.float32)
        shift = (np.array([0.5, 0.4, 0.3]) / np.array([0.2, 0.3, 0.4])).astype(np.float32)
        constants += [numpy_helper.from_array(scale, "scale"), numpy_helper.from_array(shift, "shift")]
        nodes = [
            helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["real", "scale"], ["scaled"]),
            helper.make_node("Sub", ["scaled", "shift"], ["shifted"]),
            helper.make_node("Transpose", ["shifted"], ["planes"], perm=[0, 3, 1, 2]),
        ]
        image = helper.make_tensor_value_info("image", TensorProto.UINT8, [n, SIDE, SIDE, 3])
    else:
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [n, 3, SIDE, SIDE])
    last = "planes" if nodes else "image"
    nodes += [
        helper.make_node("Flatten", [last], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["features"]),
    ]
    return _model(nodes, image, n, constants)


def text_graph(rng: np.random.Generator, fixed: int | None, text_type: int) -> onnx.ModelProto:
    """One random vector for each token and place, summed."""
    table = rng.normal(size=(len(WORDS), DIM)).astype(np.float32)
    places = rng.normal(size=(CONTEXT, DIM)).astype(np.float32)
    n = fixed or "n"
    constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(places, "places")]
    nodes = [
        helper.make_node("Gather", ["table", "text"], ["tokens"]),
        helper.make_node("Mul", ["tokens", "places"], ["placed"]),
        helper.make_node("ReduceMean", ["placed"], ["features"], axes=[1], keepdims=0),
    ]
    return _model(nodes, helper.make_tensor_value_info("text", text_type, [n, CONTEXT]), n, constants)


def _model(nodes: list, source: onnx.ValueInfoProto, n: int | str, constants: list) -> onnx.ModelProto:
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, [n, DIM])
    graph = helper.make_graph(nodes, "tower", [source], [features], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _save(model: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(model.SerializeToString())
