"""The embedded model run with nothing but ONNX Runtime and tokenizers: independent of the library it checks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from jaxtyping import Float32, UInt8
from PIL import Image
from tokenizers import Tokenizer

__all__ = ["MODEL_DIR", "ShippedModel", "fit"]

MODEL_DIR = Path(__file__).parent.parent / "src/clipsieve/encoders/pictogram"
_BATCH = 256


def fit(pixels: UInt8[np.ndarray, "h w 3"], size_px: int) -> UInt8[np.ndarray, "s s 3"]:
    """Return a picture scaled by its shortest side (bicubic) and cropped at the centre."""
    height, width = pixels.shape[:2]
    scale = size_px / min(height, width)
    new_height, new_width = (max(size_px, int(side * scale)) for side in (height, width))
    resized = np.asarray(Image.fromarray(pixels).resize((new_width, new_height), Image.Resampling.BICUBIC))
    top, left = (new_height - size_px) // 2, (new_width - size_px) // 2
    return resized[top : top + size_px, left : left + size_px]


class ShippedModel:
    """Both towers and the tokenizer of a model folder."""

    def __init__(self, model_dir: Path = MODEL_DIR) -> None:
        recipe = json.loads((model_dir / "visual/preprocess_cfg.json").read_text())
        self.size_px, self._mean, self._std = recipe["size"][0], recipe["mean"], recipe["std"]
        context = json.loads((model_dir / "config.json").read_text())["text_cfg"]["context_length"]
        pad = json.loads((model_dir / "textual/tokenizer_config.json").read_text())["pad_token"]
        self._tokenizer = Tokenizer.from_file(str(model_dir / "textual/tokenizer.json"))
        self._tokenizer.enable_truncation(context)
        self._tokenizer.enable_padding(length=context, pad_token=pad, pad_id=self._tokenizer.token_to_id(pad))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "2"))
        self._visual, self._textual = (
            onnxruntime.InferenceSession(model_dir / tower / "model.onnx", options, providers=["CPUExecutionProvider"])
            for tower in ("visual", "textual")
        )
        self.n_bytes = sum(
            path.stat().st_size for path in model_dir.rglob("*") if path.is_file() and path.suffix != ".py"
        )

    def encode_images(self, pictures: Iterable[UInt8[np.ndarray, "_h _w 3"]]) -> Float32[np.ndarray, "n d"]:
        """Return one unit-norm embedding for each picture of any size."""
        fitted = np.stack([fit(picture, self.size_px) for picture in pictures])
        return self.encode_fitted(fitted)

    def encode_fitted(self, fitted: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n d"]:
        """Return one unit-norm embedding for each picture of the model's own size."""
        features = []
        for start in range(0, len(fitted), _BATCH):
            scaled = fitted[start : start + _BATCH].astype(np.float32) / 255
            scaled = (scaled - np.float32(self._mean)) / np.float32(self._std)
            features.append(self._visual.run(None, {"image": np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))})[0])
        return _unit(np.concatenate(features))

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Return one unit-norm embedding for each text."""
        ids = np.array([row.ids for row in self._tokenizer.encode_batch(list(texts))], np.int32)
        return _unit(self._textual.run(None, {"text": ids})[0])


def _unit(features: np.ndarray) -> Float32[np.ndarray, "n d"]:
    return features / np.linalg.norm(features, axis=1, keepdims=True)
