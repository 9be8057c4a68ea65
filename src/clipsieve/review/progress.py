"""How far a review is, and how well the people agree."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from clipsieve.legible import as_text
from clipsieve.review.agreeing import count_choices, measure_agreement
from clipsieve.review.catalog import Catalog
from clipsieve.review.options import DeskOptions
from clipsieve.review.records import Choice, CurrentVerdict
from clipsieve.review.standing import KEPT, REMOVED, Standing

if TYPE_CHECKING:
    from clipsieve.review.ledger import Ledger

__all__ = ["progress_of", "summarize_review"]


def progress_of(standing: Standing, annotator: str) -> dict[str, Any]:
    """Return the counts that the page always shows."""
    with standing.lock:
        return {
            "mine": standing.n_of(annotator),
            **standing.counts(),
            "mine_today_s": standing.tally.seconds_on(annotator, datetime.now(UTC).date()),
        }


def summarize_review(standing: Standing, ledger: Ledger, catalog: Catalog, options: DeskOptions) -> dict[str, Any]:
    """Return what the summary shows, as JSON.

    Parameters
    ----------
    standing : Standing
        Of the verdicts.
    ledger : Ledger
        Where they are.
    catalog, options
        Of the review.
    """
    verdicts = list(standing.verdicts())
    concepts = Counter(concept for verdict in verdicts for concept in verdict.concepts)
    is_decided = standing.is_settled & ((standing.state == KEPT) | (standing.state == REMOVED))
    with standing.lock:
        by_annotator, by_queue = _by_annotator(standing, verdicts), standing.tally.by_queue.most_common()
    return {
        **standing.counts(),
        "n_images": catalog.n,
        "n_seen": int(catalog.is_seen.sum()),
        "n_flagged": int(catalog.is_flagged.sum()),
        "n_flagged_decided": int((catalog.is_flagged & is_decided).sum()),
        "n_elsewhere": standing.n_elsewhere,
        "n_held": len(ledger.leases()),
        "reviews_per_image": options.reviews_per_image,
        "scores": catalog.scores_name,
        "ledger": ledger.place,
        "by_annotator": by_annotator,
        "by_queue": [{"queue": name, "n": n} for name, n in by_queue],
        "by_concept": [{"concept": as_text(name), "n": n} for name, n in concepts.most_common(50)],
        "agreement": _agreement(verdicts),
    }


def _by_annotator(standing: Standing, verdicts: list[CurrentVerdict]) -> list[dict[str, Any]]:
    said = {name: Counter[Choice]() for name in standing.tally.annotators()} | count_choices(verdicts)
    return [
        {
            "annotator": as_text(name),
            "n": counts.total(),
            "n_keep": counts[Choice.KEEP],
            "n_remove": counts[Choice.REMOVE],
            "n_unsure": counts[Choice.UNSURE],
            **standing.tally.of(name),
        }
        for name, counts in said.items()
    ]


def _agreement(verdicts: list[CurrentVerdict]) -> dict[str, Any]:
    found = measure_agreement(verdicts)
    pairs = [asdict(pair) | {"a": as_text(pair.a), "b": as_text(pair.b)} for pair in found.cohen]
    return asdict(found) | {"cohen": pairs}
