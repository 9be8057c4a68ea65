"""From run folders, ratings and names of methods to an evaluation."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clipsieve.classifiers import Classifier
from clipsieve.classifiers.methods import Method, build_method
from clipsieve.engines.classify import load_classifier_for
from clipsieve.engines.context import ContextMethod
from clipsieve.engines.evaluate import Contender, Protocol, RatedRun, common_images, evaluate_methods
from clipsieve.engines.evaluation import Evaluation, RatedScale, build_evaluation
from clipsieve.engines.lineage import is_in_words, is_same_kind, tuned_on
from clipsieve.engines.rated_images import JoinReport, RatedImages, join_ratings
from clipsieve.engines.rating_files import Ratings
from clipsieve.engines.targets import rating_facts, with_labels
from clipsieve.engines.tune import load_prior
from clipsieve.errors import EncoderMismatchError, UsageError
from clipsieve.store import Run

__all__ = ["EvaluationOptions", "evaluate_runs", "parse_fractions"]


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What to evaluate, and how.

    Attributes
    ----------
    methods : tuple of str
        Names of methods; "sgd" is soft prompts by the published recipe.
    classifiers : tuple of str
        Finished classifiers: files, or names of prompt sets.
    prompts : str
        Where the methods begin: the name of a prompt set, a .toml file, or a file of soft prompts.
    model : str or None
        Where the runs' encoder lies now.
    protocol : Protocol
        How images are divided.
    n_bootstrap : int
        Resamples for the intervals.
    confidence : float
        Of the intervals, between 0 and 1.
    """

    methods: tuple[str, ...] = ("zero-shot", "soft-prompts", "linear-probe")
    classifiers: tuple[str, ...] = ()
    prompts: str = "positive-negative"
    model: str | None = None
    protocol: Protocol = field(default_factory=Protocol)
    n_bootstrap: int = 1000
    confidence: float = 0.95


def parse_fractions(text: str) -> tuple[float, ...]:
    """Read `1%,10%,100%` or `0.01,0.1,1`, in ascending order.

    Raises
    ------
    UsageError
        If one is no number, or not above 0 and up to 100 %.
    """
    found = set()
    for word in text.split(","):
        part = word.strip()
        try:
            value = float(part.removesuffix("%")) / (100 if part.endswith("%") else 1)
        except ValueError:
            value = float("nan")
        if not 0 < value <= 1:
            raise UsageError(
                "cannot read the fractions of the training images",
                expected="such as `1%,10%,100%`, each above 0 and up to 100 %",
                found=f"`{part[:40]}`",
            )
        found.add(value)
    return tuple(sorted(found))


def evaluate_runs(
    runs: Sequence[Run],
    ratings: Ratings,
    options: EvaluationOptions,
    *,
    on_join: Callable[[Run, JoinReport], object] = lambda _run, _report: None,
    on_fit: Callable[[int, int], object] = lambda _n_done, _n_total: None,
) -> Evaluation:
    """Evaluate methods and finished classifiers on the rated images of one or several runs, all on the same splits.

    Parameters
    ----------
    runs : sequence of Run
        Of the same images by different encoders, or one.
    ratings : Ratings
        What people said.
    options : EvaluationOptions
        What to evaluate.
    on_join : callable
        Called with each run and what became of the rated names in it.
    on_fit : callable
        Called with the number of fits done and planned.

    Raises
    ------
    UsageError
        If there is nothing to evaluate, the images do not suffice, the runs share none, or one model is named for several.
    EncoderMismatchError
        If a classifier was made for another encoder than every run's.
    """
    if not options.methods and not options.classifiers:
        raise UsageError("there is nothing to evaluate", hint="name a method with `--method` or a classifier with `-c`")
    if options.model is not None and len(runs) > 1:
        raise UsageError("one model cannot be the encoder of several runs", hint="leave `--model` out, or name one RUN")
    rated, scale = _rated_runs(runs, ratings, options, on_join)
    contenders = [*_methods(runs, rated, options), *_finished(runs, rated, options)]
    _check_names(contenders)
    skipped: list[str] = []
    results = evaluate_methods(contenders, options.protocol, on_fit, skipped.append)
    facts = _facts(runs, ratings, rated[0].rated, options)
    return build_evaluation(
        results,
        {**facts, "joins": [asdict(one.rated.report) for one in rated]},
        notes=[*_notes(contenders, rated), *skipped],
        scale=scale,
        n_bootstrap=options.n_bootstrap,
        confidence=options.confidence,
    )


def _rated_runs(
    runs: Sequence[Run],
    ratings: Ratings,
    options: EvaluationOptions,
    on_join: Callable[[Run, JoinReport], object],
) -> tuple[list[RatedRun], RatedScale | None]:
    found, priors, scale = [], [], None
    for run in runs:
        prior = load_prior(run, options.prompts, model=options.model)
        joined = join_ratings(run, ratings)
        on_join(run, joined.report)
        if ratings.kind == "rating" and scale is None:
            scale = RatedScale(joined.rating, joined.labels, ratings.low, ratings.high)
        found.append(with_labels(joined, prior))
        priors.append(prior)
    encoders = [run.manifest.encoder.name for run in runs]
    names = [name if encoders.count(name) == 1 else str(run.path) for name, run in zip(encoders, runs, strict=True)]
    return [RatedRun(*each) for each in zip(names, common_images(found), priors, strict=True)], scale


def _methods(runs: Sequence[Run], rated: Sequence[RatedRun], options: EvaluationOptions) -> list[Contender]:
    return [
        Contender(_named(name, one, runs), one, _method(name, run, options))
        for run, one in zip(runs, rated, strict=True)
        for name in options.methods
    ]


def _finished(runs: Sequence[Run], rated: Sequence[RatedRun], options: EvaluationOptions) -> list[Contender]:
    """Return each finished classifier on each run that it fits; EncoderMismatchError if there is none."""
    found: list[Contender] = []
    for spec in options.classifiers:
        refusals: list[EncoderMismatchError] = []
        for run, one in zip(runs, rated, strict=True):
            try:
                named = load_classifier_for(run, spec, model=options.model)
            except EncoderMismatchError as error:
                refusals.append(error)
            else:
                found.append(Contender(_named(named.name, one, runs), one, named.classifier))
        if refusals and (len(refusals) == len(runs) or not spec.endswith(".safetensors")):
            raise refusals[0]
    return found


def _named(name: str, rated: RatedRun, runs: Sequence[Run]) -> str:
    return f"{rated.name} {name}" if len(runs) > 1 else name


def _check_names(contenders: Sequence[Contender]) -> None:
    counts = Counter(contender.name for contender in contenders)
    twice = [name for name, n in counts.items() if n > 1]
    if twice:
        raise UsageError("two methods have the same name", found=", ".join(f"`{name}`" for name in twice))


def _method(name: str, run: Run, options: EvaluationOptions) -> Method:
    if name == "context":
        return ContextMethod(model=options.model or run.manifest.encoder_location)
    return build_method("soft-prompts", optimizer="sgd") if name == "sgd" else build_method(name)


def _facts(runs: Sequence[Run], ratings: Ratings, rated: RatedImages, options: EvaluationOptions) -> dict[str, Any]:
    protocol = options.protocol
    return {
        "protocol": {
            "name": protocol.name,
            "n_splits": protocol.n_splits,
            "fractions": list(protocol.fractions),
            "seed": protocol.seed,
        },
        "ratings": rating_facts(ratings),
        "methods": list(options.methods),
        "classifiers": [{"name": spec, "sha256": _sha256(spec)} for spec in options.classifiers],
        "prompts": options.prompts,
        "prompts_sha256": _sha256(options.prompts),
        "runs": [
            {
                "path": str(run.path),
                "encoder": run.manifest.encoder.name,
                "weights_sha256": run.manifest.encoder.weights_sha256,
            }
            for run in runs
        ],
        "n_images": len(rated.labels),
        "n_unwanted": int(rated.labels.sum()),
        "n_left_out": rated.report.n_left_out,
        "parts": None if rated.splits is None else dict(Counter(rated.splits)),
    }


def _sha256(spec: str) -> str | None:
    """Return the hash of a file of prompts or of a classifier; None for a prompt set of the package."""
    is_file = Path(spec).suffix in (".toml", ".safetensors")
    return hashlib.sha256(Path(spec).read_bytes()).hexdigest() if is_file else None


def _notes(contenders: Sequence[Contender], rated: Sequence[RatedRun]) -> list[str]:
    notes = []
    here = set(rated[0].rated.digests)
    made = [(f"`{one.name}`", one.method) for one in contenders if isinstance(one.method, Classifier)]
    made += [("what the prompts begin with", run.prior) for run in rated]
    for name, classifier in made:
        seen, is_complete = tuned_on(classifier.provenance)
        if is_in_words(classifier.method, classifier.provenance):
            continue
        if not is_complete or not is_same_kind(seen, here):
            notes.append(f"which images {name} was tuned on is not known; if these are among them, figures flatter it")
        elif seen & here:
            notes.append(f"{name} was tuned on {len(seen & here):,} of these {len(here):,} images; figures flatter it")
    n_copies = len(rated[0].rated.digests) - len(here)
    if n_copies:
        notes.append(
            f"{n_copies:,} of the rated images are copies of others; both sides of a split may hold the same one"
        )
    return list(dict.fromkeys(notes))
