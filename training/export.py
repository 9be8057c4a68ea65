"""Write the model folder from a checkpoint: two ONNX graphs with float16 storage, the tokenizer, the configuration."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

from model import EMBED_DIM, ImageTower, TextTower
from tokens import CONTEXT, END, PAD, START
from train import MEAN, SIDE_PX, STD

__all__ = ["export_model", "main", "measure_parity", "store_as_float16"]

_OPSET, _SMALL = 17, 64


def _export_tower(tower: nn.Module, example: torch.Tensor, name: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        tower.eval(), (example,), str(path), input_names=[name], output_names=["features"],
        dynamic_axes={name: {0: "n"}, "features": {0: "n"}}, opset_version=_OPSET, dynamo=False,
    )  # fmt: skip
    onnx.save(store_as_float16(onnx.load(str(path))), str(path))


def store_as_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with its large weights stored as float16 and cast back on load; it computes in float32."""
    kept, casts = [], []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size > _SMALL:
            stored = f"{weight.name}__float16"
            kept.append(numpy_helper.from_array(values.astype(np.float16), stored))
            casts.append(helper.make_node("Cast", [stored], [weight.name], to=onnx.TensorProto.FLOAT))
        else:
            kept.append(weight)
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    model.producer_name, model.producer_version, model.doc_string = "clipsieve training/export.py", "", ""
    onnx.checker.check_model(model, full_check=True)
    return model


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def export_model(checkpoint: dict[str, object], out_dir: Path) -> tuple[ImageTower, TextTower, Tokenizer]:
    """Write the folder and return the towers, with their weights rounded to float16, and the tokenizer."""
    tokenizer = Tokenizer.from_str(checkpoint["tokenizer"])
    images, texts = ImageTower(), TextTower(tokenizer.get_vocab_size(), CONTEXT)
    images.load_state_dict(checkpoint["images"])
    texts.load_state_dict(checkpoint["texts"])
    _export_tower(images, torch.zeros(2, 3, SIDE_PX, SIDE_PX), "image", out_dir / "visual/model.onnx")
    example = torch.zeros(2, CONTEXT, dtype=torch.int32)
    example[:, :4] = 1
    _export_tower(texts, example, "text", out_dir / "textual/model.onnx")
    tokenizer.save(str(out_dir / "textual/tokenizer.json"))
    _write_json(out_dir / "textual/tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT, "pad_token": PAD, "bos_token": START,
        "eos_token": END, "clean_up_tokenization_spaces": False,
    })  # fmt: skip
    _write_json(out_dir / "visual/preprocess_cfg.json", {
        "size": [SIDE_PX, SIDE_PX], "mode": "RGB", "mean": [MEAN] * 3, "std": [STD] * 3, "interpolation": "bicubic",
        "resize_mode": "shortest", "fill_color": 0,
    })  # fmt: skip
    _write_json(out_dir / "config.json", {
        "embed_dim": EMBED_DIM, "logit_scale": round(float(checkpoint["log_scale"].exp()), 4),
        "vision_cfg": {"image_size": SIDE_PX},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": tokenizer.get_vocab_size()},
    })  # fmt: skip
    return images.eval(), texts.eval(), tokenizer


def _run(path: Path, name: str, value: np.ndarray) -> torch.Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (features,) = session.run(None, {name: value})
    return functional.normalize(torch.from_numpy(features), dim=1)


@torch.no_grad()
def measure_parity(images: ImageTower, texts: TextTower, out_dir: Path) -> dict[str, float]:
    """Return the greatest difference of any coordinate of a unit-norm embedding, torch (float32) against the files."""
    rng = np.random.default_rng(0)
    pixels = rng.standard_normal((64, 3, SIDE_PX, SIDE_PX)).astype(np.float32)
    ids = rng.integers(3, 500, (64, CONTEXT)).astype(np.int32)
    for row, length in enumerate(rng.integers(1, CONTEXT + 1, 64)):
        ids[row, length:] = 0
    own = functional.normalize(images(torch.from_numpy(pixels)), dim=1)
    own_texts = functional.normalize(texts(torch.from_numpy(ids)), dim=1)
    return {
        "image": float((own - _run(out_dir / "visual/model.onnx", "image", pixels)).abs().max()),
        "text": float((own_texts - _run(out_dir / "textual/model.onnx", "text", ids)).abs().max()),
    }


def main() -> None:
    """Export one checkpoint and check it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--figures", type=Path, help="keep the parity in this JSON file")
    args = parser.parse_args()
    checkpoint = torch.load(args.checkpoint, weights_only=True)
    images, texts, _ = export_model(checkpoint, args.out_dir)
    parity = measure_parity(images, texts, args.out_dir)
    print(json.dumps({"parity": parity, "probe": checkpoint["figures"]}))
    if args.figures:
        kept = json.loads(args.figures.read_text()) if args.figures.exists() else {}
        _write_json(args.figures, {**kept, "onnx_against_torch_max_difference": parity})
    if max(parity.values()) > 1e-3:
        raise SystemExit(f"the files differ from the checkpoint by more than 1e-3: {parity}")


if __name__ == "__main__":
    main()
