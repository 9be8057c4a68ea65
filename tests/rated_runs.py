"""Runs with ratings that tests make for themselves: no image is drawn, and a tiny real model reads the prompts."""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clipsieve.encoders import load_encoder
from clipsieve.store import Run, RunManifest, image_table
from clipsieve.types import EmbeddedImage, FailedImage, Failure, FailureCode, FailureStep, FileFacts, ImageRef

THREE = """
templates = ["{}"]

[[classes]]
name = "weapons"
prompts = ["gun"]
unwanted = true

[[classes]]
name = "gore"
prompts = ["gore"]
unwanted = true

[[classes]]
name = "harmless"
prompts = ["flower"]
"""
CLASSES = ("weapons", "gore", "harmless")
# Short enough for the twelve tokens of the tiny model; longer prompts end alike.
TWO = """
templates = ["{}"]

[[classes]]
name = "good"
prompts = ["good"]

[[classes]]
name = "bad"
prompts = ["bad"]
unwanted = true
"""


def draw_ratings(n: int, seed: int = 0) -> np.ndarray:
    """Return ratings from 1 to 5 with two decimals."""
    return np.random.default_rng(seed).uniform(1, 5, n).round(2)


def draw_embeddings(rating: np.ndarray, dim: int, seed: int = 0, *, signal: float = 1.0) -> np.ndarray:
    """Return unit vectors in which one direction tells the rating, among noise."""
    rng = np.random.default_rng([seed, 1])
    direction = rng.standard_normal(dim) / dim**0.5
    rows = rng.standard_normal((len(rating), dim)) / dim**0.5 - signal * (rating - 3)[:, None] * direction
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def write_run(
    path: Path, model: Path, embeddings: np.ndarray, *, broken: Sequence[int] = (), missing: Sequence[int] = ()
) -> Run:
    """Write a run of the images `0000.png` and so on, as the encoder in the folder `model` would have made it."""
    with load_encoder(str(model)) as encoder:
        identity = encoder.identity
    kept = [i for i in range(len(embeddings)) if i not in missing]
    manifest = RunManifest("folder", "/photos", len(kept), len(kept), 1, 0, identity, str(model), {}, "0")
    run = Run.create(path, manifest)
    rows = [_row(i, embeddings[i], i in broken) for i in kept]
    facts = {"encoder": identity.fingerprint, "options": run.manifest.options_fingerprint}
    run.write_part(run.image_part(0), image_table(rows, embeddings.shape[1], inputs="i", **facts))
    return run


def _sha256(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _row(number: int, embedding: np.ndarray, is_broken: bool) -> EmbeddedImage | FailedImage:
    ref = ImageRef(f"{number:04d}.png", f"file:///photos/{number:04d}.png", None, None, b"")
    if is_broken:
        return FailedImage(ref, None, Failure(FailureStep.DECODE, FailureCode.TRUNCATED, "broken"))
    return EmbeddedImage(ref, FileFacts(_sha256(number), 1, 1, 1, "PNG"), embedding)


def write_table(path: Path, **columns: Sequence[object]) -> Path:
    """Write a CSV file; the images are `0000.png` and so on unless there is a column `file`."""
    n = len(next(iter(columns.values())))
    columns = {"file": [f"{i:04d}.png" for i in range(n)]} | columns
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path
