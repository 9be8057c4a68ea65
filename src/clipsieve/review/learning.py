"""From decided images to a better classifier: tuned on the verdicts, tested on verdicts it has not seen, and scored with."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from clipsieve.classifiers import Classifier, save_classifier
from clipsieve.classifiers.methods import Method, ProbeMethod, SoftPromptMethod
from clipsieve.cores import one_core_each
from clipsieve.engines.rated_images import RatedImages, join_ratings
from clipsieve.engines.score import score
from clipsieve.engines.score_facts import ScoreFacts, read_score_facts
from clipsieve.engines.targets import build_targets
from clipsieve.errors import RunError, UsageError
from clipsieve.review.comparing import Figures, Held, compare
from clipsieve.review.consensus import Board
from clipsieve.review.flows import labels_of
from clipsieve.review.local_run import local_folder
from clipsieve.review.priors import find_prior
from clipsieve.review.records import CurrentVerdict
from clipsieve.review.related import Related, relate
from clipsieve.store import Run

__all__ = ["FEWEST", "LEARNED", "LearnReport", "learn"]

FEWEST = 5  # of either verdict: one of each for every fold
MANY = 2000  # images that teach: above, so many of them choose the strength, once for all folds
FOLDER = "review"  # in the run, where learned classifiers lie
LEARNED = "learned-"  # and a number: the name of the scores


@dataclass(frozen=True, slots=True)
class LearnReport:
    """What was learned, and whether it helped; `dataclasses.asdict` of it is JSON.

    Attributes
    ----------
    name : str
        Of the new scores, `learned-N`.
    began_with : str
        The scores that it is compared with.
    method : str
        soft-prompts or linear-probe.
    n_train, n_unwanted : int
        Decided images that the classifier was tuned on.
    n_held_out : int
        Of them, those that both were tested on, each by a classifier that was tuned without it; 0 if that was not possible.
    before, after : Figures or None
        Of the scores it began with and of what was learned, on the same images; None where nothing could be held out.
    accuracy_gain : tuple of float or None
        How much more is decided rightly: the difference, and the ends of its interval of 95 %.
    n_flagged_before, n_flagged : int
        Images of the run at or above the threshold of the scores before, and now.
    sentence : str
        The comparison in words.
    notes : tuple of str
        What a person should know.
    fit_s, test_s, score_s, elapsed_s : float
        Of the fit, the comparison, the scoring of the run, and all.
    """

    name: str
    began_with: str
    method: str
    n_train: int
    n_unwanted: int
    n_held_out: int
    before: Figures | None
    after: Figures | None
    accuracy_gain: tuple[float, float, float] | None
    n_flagged_before: int
    n_flagged: int
    sentence: str
    notes: tuple[str, ...]
    fit_s: float
    test_s: float
    score_s: float
    elapsed_s: float


def learn(
    run: Run,
    scores_name: str,
    board: Board | Iterable[CurrentVerdict],
    *,
    model: str | None = None,
    seed: int = 0,
    min_similarity: float = 0.95,
    held_back: Collection[str] = (),
    ledger_sha256: str | None = None,
    on_progress: Callable[[int, int], object] = lambda _n_done, _n_total: None,
) -> LearnReport:
    """Tune a classifier on what people decided, and score the run with it under a new name; no image is opened.

    Where the scores were made by prompts in words, or by prompts tuned from such, soft prompts are trained from these
    words; otherwise a linear probe. Both are tested by repeated stratified cross-validation: copies of an image, its
    near-duplicates, and images that one decision was about are never on both sides. Near-duplicates teach once.

    Parameters
    ----------
    run : Run
        A finished scan with scores.
    scores_name : str
        Whose scores to begin with and to compare with.
    board : Board or iterable of CurrentVerdict
        What holds for each image; undecided images are passed over.
    model : str, optional
        Where the run's encoder lies now, which reads the prompts.
    seed : int, default=0
        Decides the folds.
    min_similarity : float, default=0.95
        From which cosine on two images are near-duplicates.
    held_back : collection of str
        Ids of images that are not to be learned from, such as those of the random audit: they can then vouch for thresholds.
    ledger_sha256 : str, optional
        Digest of the verdicts, for the classifier's provenance.
    on_progress : callable
        Called with the number of images scored and in all.

    Raises
    ------
    UsageError
        If fewer than five images were decided either way.
    RunConflictError
        If another process is writing to the run.
    RunNotFoundError, RunCorruptError, EncoderMismatchError
        If the run or its scores cannot be read.
    RunError, ClassifierFileError
        If the classifier cannot be written.
    """
    started = time.monotonic()
    facts = read_score_facts(run, scores_name)
    rated, passed_over = _rated(run, board, frozenset(held_back))
    prior, notes = find_prior(run, scores_name, model=model)
    method = ProbeMethod(seed=seed) if prior.is_placeholder else SoftPromptMethod(seed=seed)

    def fit(used: RatedImages, how: Method) -> Classifier:
        return how.fit(prior.classifier, used.embeddings, build_targets(used.labels, None, prior.classifier))

    with one_core_each() as pool:
        begun = time.monotonic()
        related = relate(rated, _decisions_of(rated, board), min_similarity=min_similarity)
        teaching = rated.take(np.flatnonzero(related.teaches))
        method = _with_strength(method, teaching, fit, seed)
        classifier = fit(teaching, method)
        fit_s = time.monotonic() - begun
        held = Held(rated, related, facts.tuned_on)
        # Small fits are too much Python for two threads.
        side_by_side = pool.map if len(teaching.labels) > MANY else map
        again = _as_chosen(method, classifier, len(teaching.labels))
        found = compare(run, scores_name, held, lambda used: fit(used, again), seed=seed, each=side_by_side)
    test_s = time.monotonic() - begun - fit_s
    origin = _origin(rated, scores_name, ledger_sha256, found.to_json())
    classifier = replace(classifier, provenance={**classifier.provenance, **origin})  # type: ignore[type-var]
    name = _save(run, classifier)
    with one_core_each():  # the products are small: to divide them takes longer than to make them
        scored = score(run, classifier, name=name, on_progress=on_progress)
    said = (*passed_over, *_repeated(related), *found.notes, *_doubts(classifier), *_promises(facts, classifier, name))
    return LearnReport(
        name=name,
        began_with=scores_name,
        method=classifier.method,
        n_train=len(rated.labels),
        n_unwanted=int(rated.labels.sum()),
        n_held_out=found.n,
        before=found.before,
        after=found.after,
        accuracy_gain=found.accuracy_gain,
        n_flagged_before=int(run.score_facts(scores_name).get("n_flagged", 0)),
        n_flagged=scored.n_flagged,
        sentence=found.sentence,
        notes=(*notes, *said, *scored.warnings),
        fit_s=fit_s,
        test_s=test_s,
        score_s=scored.elapsed_s,
        elapsed_s=time.monotonic() - started,
    )


def _with_strength(
    method: SoftPromptMethod | ProbeMethod,
    teaching: RatedImages,
    fit: Callable[[RatedImages, Method], Classifier],
    seed: int,
) -> SoftPromptMethod | ProbeMethod:
    """Return the method, where there are many images with the strength that some of them choose: as a prior, it fits all."""
    n = len(teaching.labels)
    if n <= MANY:
        return method
    order = np.random.default_rng(seed).permutation(n)
    order = order[np.argsort(teaching.labels[order], kind="stable")]
    # Evenly from the images in the order of their labels: the share of either is that among all.
    some = np.sort(order[np.linspace(0, n - 1, MANY).round().astype(np.int64)])
    return _as_chosen(method, fit(teaching.take(some), method), n)


def _as_chosen(
    method: SoftPromptMethod | ProbeMethod, classifier: Classifier, n: int
) -> SoftPromptMethod | ProbeMethod:
    """Return the method for the fits of the comparison: of many images, with the strength that all of them chose.

    To choose it anew in every fold takes many times as long, and is fairer: of 800 labels of noise, one strength for all folds
    got 50.8 % right and one for each 50.2 % (means of 40 seeds, standard errors 0.3), so fewer images go the long way.
    """
    strength = classifier.provenance.get("tuning", {}).get("strength")
    return replace(method, strength=float(strength)) if n > MANY and isinstance(strength, float) else method


def _rated(
    run: Run, board: Board | Iterable[CurrentVerdict], held_back: Collection[str]
) -> tuple[RatedImages, tuple[str, ...]]:
    """Return the decided images that have an embedding, in the order of their ids, and a note of the others."""
    current = board.all() if isinstance(board, Board) else board
    said = {v.image_id: int(v.unwanted) for v in current if v.unwanted is not None and v.image_id not in held_back}
    decided = {image_id: said[image_id] for image_id in sorted(said)}
    n_remove = sum(decided.values())
    _check_enough(len(decided) - n_remove, n_remove)
    try:
        rated = join_ratings(run, labels_of(decided, sha256="")).labelled()
    except UsageError:
        _check_enough(0, 0, " with an embedding in this run")
        raise
    n_remove = int(rated.labels.sum())
    _check_enough(len(rated.labels) - n_remove, n_remove, " with an embedding")
    n_gone = len(decided) - len(rated.labels)
    note = f"{n_gone:,} decided images are not in the run any more, or have no embedding: they were passed over"
    return rated, (note,) if n_gone else ()


def _check_enough(n_keep: int, n_remove: int, which: str = "") -> None:
    if min(n_keep, n_remove) < FEWEST:
        raise UsageError(
            "there are too few verdicts to learn from",
            expected=f"at least {FEWEST} images to keep and {FEWEST} to remove",
            found=f"{n_keep:,} to keep and {n_remove:,} to remove{which}",
            state="nothing was written",
            hint="decide on some more; images with a high score are the likeliest to be removed",
        )


def _decisions_of(rated: RatedImages, board: Board | Iterable[CurrentVerdict]) -> list[set[str]]:
    """Return the decisions about groups that each image was part of, where the board still knows."""
    return [board.groups_of(image_id) if isinstance(board, Board) else set() for image_id in rated.image_ids]


def _origin(rated: RatedImages, scores_name: str, ledger_sha256: str | None, tested: dict[str, Any]) -> dict[str, Any]:
    return {
        "verdicts": {
            "ledger_sha256": ledger_sha256,
            "n_images": len(rated.labels),
            "n_unwanted": int(rated.labels.sum()),
            "compared_with": scores_name,
            "held_out": tested,
            "learned": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        "tuned_on": sorted(set(rated.digests)),
    }


def _save(run: Run, classifier: Classifier) -> str:
    """Write the classifier into the run under the next free number; returns the name that its scores get."""
    folder = local_folder(run) / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot write `{folder}`: {error.strerror}", state="nothing was written") from error
    taken = [*run.score_names(), *(path.stem for path in folder.glob(f"{LEARNED}*.safetensors"))]
    numbers = [int(found[1]) for text in taken if (found := re.fullmatch(rf"{LEARNED}([0-9]{{1,9}})", text))]
    name = f"{LEARNED}{max(numbers, default=0) + 1}"
    save_classifier(classifier, folder / f"{name}.safetensors")
    return name


def _doubts(classifier: Classifier) -> list[str]:
    tuning = classifier.provenance.get("tuning", {})
    if tuning.get("strength") == "infinite":
        return ["the prompts were kept as they are: these verdicts do not tell images apart better than they do"]
    return []


def _repeated(related: Related) -> list[str]:
    n = int((~related.teaches).sum())
    return [f"near-duplicates with the same verdict teach once: {n:,} of the decided images were left out"] if n else []


def _promises(before: ScoreFacts, classifier: Classifier, name: str) -> list[str]:
    """Return what to do where somebody had set operating points."""
    points = (before.threshold, before.remove_threshold)
    if not before.promises and points == (classifier.threshold, classifier.remove_threshold):
        return []
    return [
        f"the operating points must be set anew for `{name}`, with `clipsieve threshold`: its thresholds promise nothing"
    ]
