"""Runs with scores that tests choose: what becomes of an image depends on its probability alone."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from clipsieve.store import Run, RunManifest, image_table, score_table
from clipsieve.types import (
    EmbeddedImage,
    EncoderIdentity,
    FailedImage,
    Failure,
    FailureCode,
    FailureStep,
    FileFacts,
    ImageRef,
)

DIM = 4
IDENTITY = EncoderIdentity("tiny", "ab" * 32, None, "fp32", DIM)


def write_scored_run(
    path: Path,
    probability: Sequence[float | str | None],
    *,
    threshold: float,
    remove_threshold: float | None = None,
    part_size: int = 1000,
    labels: Sequence[str | None] | None = None,
    captions: Sequence[str | None] | None = None,
    contents: Sequence[str | None] | None = None,
    ids: Sequence[str] | None = None,
    options: dict[str, int | float | str] | None = None,
) -> Run:
    """Write a run of images `0000.png` and so on, or with other `ids`, with scores named `test`.

    In `probability`, None stands for a failure, a text for its code.

    `contents` are what the files are made of, for their hashes; by default each is another, and None has no hash.
    """
    n = len(probability)
    cuts = range(0, n, part_size)
    run = Run.create(
        path, RunManifest("folder", "/photos", part_size, n, len(cuts), 0, IDENTITY, "tiny", options or {}, "0")
    )
    for index, start in enumerate(cuts):
        part = range(start, min(start + part_size, n))
        texts = [(labels[i] if labels else None, captions[i] if captions else None) for i in part]
        names = ids or [f"{i:04d}.png" for i in range(n)]
        made_of = contents or [str(i) for i in range(n)]
        rows = [_row(i, names[i], probability[i], *words, made_of[i]) for i, words in zip(part, texts, strict=True)]
        facts = {
            "inputs": f"inputs-{index}",
            "encoder": IDENTITY.fingerprint,
            "options": run.manifest.options_fingerprint,
        }
        table = image_table(rows, DIM, **facts)
        run.write_part(run.image_part(index), table)
        write_scores(run, index, table, [probability[i] for i in part])
    facts = {"method": "zero-shot", "class_names": ["good", "bad"], "unwanted": [False, True], "threshold": threshold}
    run.write_score_facts("test", facts | {"remove_threshold": remove_threshold, "calibration": None})
    return run


def write_scores(run: Run, index: int, images: pa.Table, probability: Sequence[float | str | None]) -> None:
    """Write the scores of one part of a run."""
    present = np.array([not isinstance(p, str) and p is not None for p in probability], dtype=bool)
    values = np.array([p for p, is_there in zip(probability, present, strict=True) if is_there], dtype=np.float32)
    logits = np.stack([1 - values, values], axis=1) if len(values) else np.zeros((0, 2), np.float32)
    inputs = images.schema.metadata[b"clipsieve.inputs"].decode()
    ids = images.column("image_id").combine_chunks()
    run.write_part(run.score_part("test", index), score_table(ids, present, values, logits, inputs=inputs))


def _row(
    number: int, name: str, value: float | str | None, label: str | None, caption: str | None, content: str | None
) -> EmbeddedImage | FailedImage:
    ref = ImageRef(name, f"file:///photos/{name}", label, caption, b"")
    digest = hashlib.sha256((content or "").encode()).hexdigest()
    facts = FileFacts(digest, 100 + number, 8, 8, "PNG") if content is not None else None
    if value is None or isinstance(value, str):
        code = FailureCode(value or "truncated")
        return FailedImage(ref, facts, Failure(FailureStep.DECODE, code, "for the test"))
    embedding = np.random.default_rng(number).standard_normal(DIM).astype(np.float32)
    return EmbeddedImage(ref, facts, embedding / np.linalg.norm(embedding))
