"""Frozen towers that turn images and texts into unit-norm embeddings of one joint space."""

from clipsieve.encoders.base import Encoder
from clipsieve.encoders.catalog import ModelEntry, find_model, list_models
from clipsieve.encoders.load import EncoderChoice, ModelInfo, export_model, fetch_model, load_encoder, model_info

__all__ = [
    "Encoder",
    "EncoderChoice",
    "ModelEntry",
    "ModelInfo",
    "export_model",
    "fetch_model",
    "find_model",
    "list_models",
    "load_encoder",
    "model_info",
]
