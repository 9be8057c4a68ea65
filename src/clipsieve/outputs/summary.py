"""Counts of a run, in the form that a person, a page or a machine asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt

from clipsieve.errors import UsageError
from clipsieve.store import Run

__all__ = ["ClassCount", "Summary", "summarize", "wilson_lower_bound"]


@dataclass(frozen=True, slots=True)
class ClassCount:
    """How many images of one class were flagged.

    Attributes
    ----------
    label : str
        The class, as the source names it.
    n_scored, n_flagged : int
        Images of the class with a score, and those at or above the threshold.
    """

    label: str
    n_scored: int
    n_flagged: int

    @property
    def flagged_share(self) -> float:
        """The fraction of the class that was flagged, 0-1."""
        return self.n_flagged / self.n_scored

    @property
    def rank(self) -> float:
        """What classes are ordered by: the lower end of the interval of the flagged share."""
        return wilson_lower_bound(self.n_flagged, self.n_scored)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run holds and what one classifier says of it.

    Attributes
    ----------
    source, kind, encoder : str
        Where the images came from, which kind of source that is, and what encoded them.
    n_listed, n_scanned, n_failed, n_ignored : int
        Inputs, those with an embedding, those without; files that are no images.
    failures : tuple of (str, int)
        Failure codes with their counts, most frequent first.
    elapsed_s : float or None
        Time spent encoding, in all scans of this run; None where it was not recorded.
    n_encoded : int
        Images that were encoded in that time.
    classifier : str or None
        The name of the scores looked at; None if there are none.
    threshold : float or None
        Flagged means: probability of the unwanted class >= threshold.
    n_flagged : int or None
        How many images were flagged.
    classes : tuple of ClassCount
        Every class with a flagged image, the most flagged first (see `ClassCount.rank`).
    """

    source: str
    kind: str
    encoder: str
    n_listed: int
    n_scanned: int
    n_failed: int
    n_ignored: int
    failures: tuple[tuple[str, int], ...]
    elapsed_s: float | None
    n_encoded: int
    classifier: str | None
    threshold: float | None
    n_flagged: int | None
    classes: tuple[ClassCount, ...]


def wilson_lower_bound(n_hits: int, n: int, *, z: float = 1.96) -> float:
    """Return the lower end of the score interval of a proportion.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference", J. Am. Stat. Assoc. 22.

    Parameters
    ----------
    n_hits, n : int
        Hits among trials, 0 <= n_hits <= n, n >= 1.
    z : float, default=1.96
        Quantile of the normal distribution; 1.96 gives the 95 % interval.

    Returns
    -------
    float
        0-1. Small classes are judged with caution: 3 of 3 gives 0.44, 90 of 100 gives 0.83.

    Examples
    --------
    >>> round(wilson_lower_bound(3, 3), 2), round(wilson_lower_bound(90, 100), 2)
    (0.44, 0.83)
    """
    share = n_hits / n
    centre = share + z * z / (2 * n)
    margin = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (centre - margin) / (1 + z * z / n))


def summarize(run: Run, classifier: str | None = None) -> Summary:
    """Count what a run holds.

    Parameters
    ----------
    run : Run
        A finished scan.
    classifier : str, optional
        The name of scores; by default the only ones there are, or none.

    Raises
    ------
    UsageError
        If there are several scores and none was named.
    RunNotFoundError
        If there are none of that name.
    RunCorruptError
        If a part is missing or damaged.
    """
    name = classifier or _only_scores(run)
    failures: Counter[str] = Counter()
    for images in run.iter_images(["failure_code"]):
        failures.update(code for code in images.column("failure_code").to_pylist() if code is not None)
    n_failed = failures.total()
    threshold = float(run.score_facts(name)["threshold"]) if name else None
    classes = _count_classes(run, name, threshold) if name and threshold is not None else None
    scans = [entry for entry in run.history() if entry.get("what") == "scan" and entry.get("n_new")]
    return Summary(
        source=run.manifest.source_location,
        kind=run.manifest.source_kind,
        encoder=run.manifest.encoder.name,
        n_listed=run.manifest.n_images,
        n_scanned=run.manifest.n_images - n_failed,
        n_failed=n_failed,
        n_ignored=run.manifest.n_ignored,
        failures=tuple(failures.most_common()),
        elapsed_s=sum(entry["elapsed_s"] for entry in scans) if scans else None,
        n_encoded=sum(entry["n_new"] for entry in scans),
        classifier=name,
        threshold=threshold,
        n_flagged=sum(flagged for _, flagged in classes.values()) if classes is not None else None,
        classes=_ranked(classes or {}),
    )


def _only_scores(run: Run) -> str | None:
    names = run.score_names()
    if len(names) > 1:
        raise UsageError(
            f"the run `{run.path}` has several scores",
            found=", ".join(f"`{n}`" for n in names),
            hint="choose one with `-c`",
        )
    return names[0] if names else None


def _count_classes(run: Run, name: str, threshold: float) -> dict[str | None, tuple[int, int]]:
    """Return how many images of each label were scored and flagged; None stands for those without a label."""
    scored: Counter[str | None] = Counter()
    flagged: Counter[str | None] = Counter()
    for images, scores in run.iter_scores(name, ["label"]):
        labels = images.column("label").to_pylist()
        for label, probability in zip(labels, scores.column("probability").to_pylist(), strict=True):
            if probability is not None:
                scored[label] += 1
                flagged[label] += probability >= threshold
    return {label: (n, flagged[label]) for label, n in scored.items()}


def _ranked(counts: Mapping[str | None, tuple[int, int]]) -> tuple[ClassCount, ...]:
    classes: Iterable[ClassCount] = (ClassCount(label, *both) for label, both in counts.items() if label is not None)
    found = [count for count in classes if count.n_flagged]
    return tuple(sorted(found, key=lambda count: (-count.rank, count.label)))
