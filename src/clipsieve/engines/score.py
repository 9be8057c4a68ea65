"""From stored embeddings to stored probabilities; no image is opened."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Float32

from clipsieve._version import __version__
from clipsieve.classifiers import Classifier, check_encoder, check_large_dimensions
from clipsieve.engines.base import Engine
from clipsieve.engines.parts import map_parts
from clipsieve.engines.score_facts import ScoreCalibration, classifier_facts, read_score_facts
from clipsieve.errors import UsageError
from clipsieve.remote.whole import is_put_whole
from clipsieve.store import (
    PlainRows,
    Run,
    RunPath,
    files,
    is_remote,
    locked,
    read_embedded_part,
    score_table,
    sync_folder,
    to_float32,
    unit_blocks,
    valid_score_name,
)

__all__ = ["ScoreReport", "score"]

SAMPLE_ROWS = 1000
_OWN_NAME = ".{}.{}"  # of a part that several workers may write at the same time: what is random, and the part's name


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
    engine: Engine | None = None,
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
    engine : Engine, optional
        What works on the parts; by default the cores of this machine. The workers of a cluster read and write the run where this
        process finds it: under the same path, or behind a URL. Whichever it is, the scores are the same.
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
        return _score(run, classifier, name, engine, on_progress)


def _score(
    run: Run, classifier: Classifier, name: str, engine: Engine | None, on_progress: Callable[[int, int], object]
) -> ScoreReport:
    started = time.monotonic()
    warnings = _doubts(run, classifier)
    run.drop_score_facts(name)  # until all parts are new, there are no scores of that name
    counts = _write_parts(run, classifier, name, engine, on_progress)
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
    run: Run, classifier: Classifier, name: str, engine: Engine | None, on_progress: Callable[[int, int], object]
) -> dict[str, int]:
    """Write the scores, a part on each core; return how many images were scored, flagged, and flagged for removal.

    A part's numbers do not depend on the other parts, nor on how many are in work.
    """
    n_done, totals = 0, np.zeros(3, dtype=np.int64)
    folder = run.score_part(name, 0).parent
    sync_folder(folder)  # that there are no scores of that name is on disk before the first part is another
    is_shared = engine is not None
    work = partial(_write_part, run, classifier, name, is_shared=is_shared)
    with closing(map_parts(run, work, engine)) as parts:
        for n_rows, counts in parts:
            n_done += n_rows
            totals += counts
            on_progress(n_done, run.manifest.n_images)
    if is_shared:
        files.remove_matching(folder, _OWN_NAME.format("*", "part-*.parquet*"))  # of workers that died
    sync_folder(folder)  # and every part is, before the scores are said to be complete
    return dict(zip(("n_scored", "n_flagged", "n_remove"), totals.tolist(), strict=True))


def _write_part(
    run: Run, classifier: Classifier, name: str, index: int, *, is_shared: bool
) -> tuple[int, tuple[int, int, int]]:
    """Write the scores of one part; return its rows, and how many of them were scored, flagged, and flagged for removal."""
    part = read_embedded_part(run, index, ["image_id"])
    logits = _logits(classifier, part.values)
    probability = classifier.proba_from_logits(logits)[:, 1]
    ids = part.rows.column("image_id").combine_chunks()
    table = score_table(ids, part.present, probability, logits, inputs=part.inputs)
    _write_table(run, run.score_part(name, index), table, is_shared=is_shared)
    removal = classifier.remove_threshold
    n_remove = 0 if removal is None else int((probability >= removal).sum())
    return part.rows.num_rows, (len(probability), int((probability >= classifier.threshold).sum()), n_remove)


def _write_table(run: Run, path: RunPath, table: pa.Table, *, is_shared: bool) -> None:
    """Write a part; another worker may be writing it as well, where a cluster has given this one up for lost."""
    if not is_shared or (is_remote(path) and is_put_whole(str(path.protocol))):
        run.write_part(path, table, is_last=False)
        return
    own = path.with_name(_OWN_NAME.format(secrets.token_hex(8), path.name))
    run.write_part(own, table, is_last=False)
    files.rename(own, path)


def _logits(classifier: Classifier, values: Float[np.ndarray, "m d"] | PlainRows) -> Float32[np.ndarray, "m k"]:
    return np.concatenate([classifier.logits(block) for _, block in unit_blocks(values)])


def _doubts(run: Run, classifier: Classifier) -> tuple[str, ...]:
    """Return why the embeddings may be of other weights than the classifier's, where only names say that they match."""
    if run.manifest.encoder.weights_sha256 is not None and classifier.encoder_weights_sha256 is not None:
        return ()
    column = run.read_images(0, ["embedding"]).slice(0, SAMPLE_ROWS).column("embedding")
    doubt = check_large_dimensions(to_float32(column), classifier.encoder_name)
    return (doubt,) if doubt else ()
