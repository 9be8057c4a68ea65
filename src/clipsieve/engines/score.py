"""From stored embeddings to stored probabilities; no image is opened."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from clipsieve._version import __version__
from clipsieve.classifiers import Classifier, check_encoder, check_large_dimensions
from clipsieve.engines.score_facts import ScoreCalibration, classifier_facts, read_score_facts
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
    n_scored, n_flagged, n_remove : int
        Images with a score; those whose probability of the unwanted class is >= the threshold; and of these, the ones that
        are to be removed without a person looking.
    threshold, remove_threshold : float, float or None
        The classifier's.
    calibration : ScoreCalibration or None
        None if the probabilities are not calibrated.
    elapsed_s : float
        Wall-clock time.
    warnings : tuple of str
        What a person should look at before they believe the scores.
    """

    name: str
    n_scored: int
    n_flagged: int
    n_remove: int
    threshold: float
    remove_threshold: float | None
    calibration: ScoreCalibration | None
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
    warnings = _doubts(run, classifier)
    run.drop_score_facts(name)  # until all parts are new, there are no scores of that name
    counts = _write_parts(run, classifier, name, on_progress)
    run.write_score_facts(name, {**classifier_facts(classifier), **counts, "clipsieve_version": __version__})
    report = ScoreReport(
        name=name,
        **counts,
        threshold=classifier.threshold,
        remove_threshold=classifier.remove_threshold,
        calibration=read_score_facts(run, name).calibration,
        elapsed_s=time.monotonic() - started,
        warnings=warnings,
    )
    run.record(what="score", finished=datetime.now(UTC).isoformat(timespec="seconds"), **asdict(report))
    return report


def _write_parts(
    run: Run, classifier: Classifier, name: str, on_progress: Callable[[int, int], object]
) -> dict[str, int]:
    """Write the scores part by part; return how many images were scored, flagged, and flagged for removal."""
    n_done = n_scored = n_flagged = n_remove = 0
    for index, images in enumerate(run.iter_images(["image_id", "embedding"])):
        table = _score_part(images, classifier)
        run.write_part(run.score_part(name, index), table)
        probability = table.column("probability").drop_null().to_numpy()
        n_done += table.num_rows
        n_scored += len(probability)
        n_flagged += int((probability >= classifier.threshold).sum())
        if classifier.remove_threshold is not None:
            n_remove += int((probability >= classifier.remove_threshold).sum())
        on_progress(n_done, run.manifest.n_images)
    return {"n_scored": n_scored, "n_flagged": n_flagged, "n_remove": n_remove}


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
