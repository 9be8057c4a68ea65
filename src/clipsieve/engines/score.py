"""From stored embeddings to stored probabilities; no image is opened."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from clipsieve._version import __version__
from clipsieve.classifiers import Classifier, check_encoder, check_large_dimensions, describe_classifier
from clipsieve.errors import UsageError
from clipsieve.store import Run, locked, score_table, to_float32, valid_score_name

__all__ = ["ScoreReport", "score"]

SAMPLE_ROWS = 1000


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """What a scoring did.

    Attributes
    ----------
    name : str
        The folder below `scores/`.
    n_scored, n_flagged : int
        Images with a score, and those whose probability of the unwanted class is >= the threshold.
    threshold : float
        The classifier's.
    elapsed_s : float
        Wall-clock time.
    warnings : tuple of str
        What a person should look at before they believe the scores.
    """

    name: str
    n_scored: int
    n_flagged: int
    threshold: float
    elapsed_s: float
    warnings: tuple[str, ...] = ()


def score(
    run: Run,
    classifier: Classifier,
    *,
    name: str,
    on_progress: Callable[[int, int], object] = lambda _n_done, _n_total: None,
) -> ScoreReport:
    """Score every embedding of a run.

    Parameters
    ----------
    run : Run
        A finished scan.
    classifier : Classifier
        Made for the encoder of the run.
    name : str
        The folder below `scores/`; scores of that name are replaced.
    on_progress : callable
        Called with the number of images done and listed.

    Raises
    ------
    EncoderMismatchError
        If the classifier was made for other weights; nothing is written.
    RunCorruptError
        If a part of the images is missing or damaged.
    UsageError
        If the name cannot be a folder.
    RunConflictError
        If another process is writing to the run.
    """
    if not valid_score_name(name):
        raise UsageError(
            f"`{name}` cannot be the name of scores",
            expected="up to 100 letters, digits, `.`, `_`, `-`, beginning with a letter or digit",
            hint="choose another with `--name`",
        )
    check_encoder(classifier, run.manifest.encoder)
    with locked(run.path):
        return _score(run, classifier, name, on_progress)


def _score(run: Run, classifier: Classifier, name: str, on_progress: Callable[[int, int], object]) -> ScoreReport:
    started = time.monotonic()
    facts = describe_classifier(classifier)
    warnings = _doubts(run, classifier)
    run.drop_score_facts(name)  # until all parts are new, there are no scores of that name
    n_done = n_scored = n_flagged = 0
    for index, images in enumerate(run.iter_images(["image_id", "embedding"])):
        table = _score_part(images, classifier)
        run.write_part(run.score_part(name, index), table)
        probability = table.column("probability").drop_null().to_numpy()
        n_done += table.num_rows
        n_scored += len(probability)
        n_flagged += int((probability >= classifier.threshold).sum())
        on_progress(n_done, run.manifest.n_images)
    elapsed_s = time.monotonic() - started
    report = ScoreReport(name, n_scored, n_flagged, classifier.threshold, elapsed_s, warnings)
    run.write_score_facts(
        name, {**facts, "n_scored": n_scored, "n_flagged": n_flagged, "clipsieve_version": __version__}
    )
    run.record(what="score", finished=datetime.now(UTC).isoformat(timespec="seconds"), **asdict(report))
    return report


def _doubts(run: Run, classifier: Classifier) -> tuple[str, ...]:
    """Return why the embeddings may be of other weights than the classifier's, where only names say that they match."""
    if run.manifest.encoder.weights_sha256 is not None and classifier.encoder_weights_sha256 is not None:
        return ()
    column = run.read_images(0, ["embedding"]).slice(0, SAMPLE_ROWS).column("embedding")
    doubt = check_large_dimensions(to_float32(column), classifier.encoder_name)
    return (doubt,) if doubt else ()


def _score_part(images: pa.Table, classifier: Classifier) -> pa.Table:
    column = images.column("embedding")
    present = ~column.is_null().to_numpy()
    embeddings = to_float32(column)
    logits = classifier.logits(embeddings)
    probability = classifier.proba_from_logits(logits)[:, 1]
    inputs = (images.schema.metadata or {}).get(b"clipsieve.inputs", b"").decode()
    ids = images.column("image_id").combine_chunks()
    return score_table(ids, np.asarray(present), probability, logits, inputs=inputs)
