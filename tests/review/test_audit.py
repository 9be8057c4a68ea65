"""The random audit: when a sample is drawn anew, how far it counts, what it holds back; and that its promises are kept."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from clipsieve.engines.prevalence_plan import plan_prevalence
from clipsieve.engines.verdicts import SampledImage
from clipsieve.evaluation.prevalence import estimate
from clipsieve.evaluation.sampling import choose_strata, plan_sample
from clipsieve.evaluation.thresholds import promise_recall
from clipsieve.review.audit import draw, held_back, vouching
from clipsieve.review.catalog import Catalog
from clipsieve.review.consensus import Board
from clipsieve.review.flows import thin
from clipsieve.review.ledger import open_ledger
from clipsieve.review.ledger.samples import Sample
from clipsieve.review.reach import judge
from scored_runs import write_scored_run
from verdict_rows import START, row


@pytest.fixture
def ledger(tmp_path):
    with open_ledger(tmp_path / "verdicts.db", "a run") as opened:
        yield opened


def probabilities(n, seed=3):
    return np.random.default_rng(seed).beta(0.5, 1.5, n).astype(np.float32).tolist()


def test_a_sample_is_drawn_once_and_anew_when_the_run_has_changed(ledger, tmp_path):
    run = write_scored_run(tmp_path / "run", probabilities(300), threshold=0.5)
    first = draw(run, None, ledger, width=0.2, seed=0)
    assert first == plan_prevalence(run, width=0.2).images
    assert draw(run, "test", ledger, width=0.1, seed=7) == first
    grown = write_scored_run(tmp_path / "grown", probabilities(330), threshold=0.5)
    second = draw(grown, "test", ledger, width=0.2, seed=0)
    assert sum({image.stratum: image.stratum_size for image in second}.values()) == 330
    assert ledger.samples.load() == second
    swapped = [*probabilities(330), 0.5]
    swapped[int(second[0].image_id[:4])] = None  # as many with a score, but one of the sample has none
    third = draw(write_scored_run(tmp_path / "swapped", swapped, threshold=0.5), "test", ledger, width=0.2, seed=0)
    assert second[0].image_id not in {image.image_id for image in third}


def reached(*rows, n=10, made=START):
    """Return how far the audit of images 0 to n - 1 is, in this order, and which count."""
    sample = Sample(tuple(SampledImage(f"{i}", "", 1, n, flagged=False) for i in range(n)), "words", made)
    board = Board()
    board.add(rows)
    found = judge(sample, rows, board)
    return found.n_reached, "".join(v.image_id for v in found.looked_at)


def test_verdicts_count_as_far_as_the_audit_has_come():
    others = [row(f"{i}", "remove", queue="highest") for i in (1, 5, 9)]
    assert reached(*others) == (0, "")
    assert reached(*others, row("0", "keep", queue="audit")) == (1, "0")
    assert reached(*others, row("0", "keep", queue="audit"), row("2", "keep", queue="audit")) == (3, "012")
    assert reached(*others, row("7", "unsure", queue="audit")) == (8, "157")
    assert reached(*(row(f"{i}", "keep", queue="import") for i in range(10))) == (10, "0123456789")


def test_a_verdict_that_was_changed_or_taken_back_still_tells_how_far_the_audit_was():
    given = row("3", "keep", queue="audit")
    assert reached(given, row("3", "remove", at=1, queue="search")) == (4, "3")
    assert reached(given, row("3", "undo", at=1, queue="audit", undoes=given.verdict_id)) == (4, "")
    assert reached(row("3", "undo", queue="audit", undoes=given.verdict_id)) == (0, "")


def test_the_rest_of_a_group_does_not_tell_how_far_the_audit_is():
    first = row("0", "keep", queue="audit")
    group = [row(f"{i}", "keep", queue="audit", group_id="g") for i in (1, 2, 3, 8)]
    assert reached(first, *group) == (4, "0123")
    assert reached(first, *group, row("4", "keep", queue="audit")) == (5, "01234")


def test_the_audit_of_an_older_sample_does_not_tell_how_far_the_new_one_is():
    rows = [row(f"{i}", "keep", at=i, queue="audit") for i in (0, 2, 6)]
    assert reached(*rows, made=rows[1].made) == (7, "026")
    assert reached(*rows[:2], row("1", "keep", at=9, queue="audit"), made=rows[2].made) == (2, "01")
    assert reached(*rows, made=row("", "keep", at=7).made) == (0, "")


def test_all_of_a_small_sample_is_held_back_with_its_copies(tmp_path):
    contents = [str(i % 90) for i in range(100)]
    run = write_scored_run(tmp_path / "run", probabilities(100), threshold=0.5, contents=contents)
    sample = [SampledImage(f"{i:04d}.png", "", 1, 100, flagged=False) for i in (3, 50)]
    assert held_back(Catalog.open(run), sample) == {"0003.png", "0093.png", "0050.png"}
    assert held_back(Catalog.open(run), []) == set()


def test_half_of_a_sample_that_is_most_of_the_run_is_held_back(tmp_path):
    contents = [str(i % 180) for i in range(200)]
    run = write_scored_run(tmp_path / "run", [0.1] * 150 + [0.9] * 50, threshold=0.5, contents=contents)
    sample = [SampledImage(f"{i:04d}.png", "", 1 + (i >= 150), 150 if i < 150 else 50, i >= 150) for i in range(200)]
    catalog = Catalog.open(run)
    held = held_back(catalog, sample[:160])
    assert held == held_back(catalog, sample[:160][::-1])  # whatever the order
    of = Counter(image.stratum for image in sample[:160] if image.image_id in held)
    assert of[1] >= 75
    assert of[2] >= 5
    assert len(held) < 105
    kept = {contents[int(name[:4])] for name in held}
    free = {contents[int(image.image_id[:4])] for image in sample if image.image_id not in held}
    assert not kept & free  # no copy of a held-back image is left to learn from
    one = [SampledImage("0000.png", "", 1, 1, flagged=False)]
    alone = write_scored_run(tmp_path / "alone", [0.5], threshold=0.5)
    assert held_back(Catalog.open(alone), one) == {"0000.png"}  # a stratum of one image can still vouch


def stratified(p, rng, width):
    """Return a sample as the plan draws it, of images named by their number."""
    stratum = choose_strata(p)
    sizes = np.bincount(stratum)
    n = plan_sample(sizes, np.bincount(stratum, weights=p) / sizes, width)
    drawn = [rng.permutation(np.flatnonzero(stratum == h))[: n[h]] for h in range(len(n))]
    order = rng.permutation(np.concatenate(drawn)).tolist()
    images = (SampledImage(f"{i}", "", int(stratum[i]) + 1, int(sizes[stratum[i]]), bool(p[i] >= 0.5)) for i in order)
    return Sample(tuple(images), "words", START)


def audited(sample, y, others, n):
    """Return the audit of those who decided on some images elsewhere, and then on the next n of the sample."""
    seen = set(others)
    queued = [int(image.image_id) for image in sample.images if int(image.image_id) not in seen][:n]
    named = [("search", others), ("audit", queued)]
    rows = [row(f"{i}", "remove" if y[i] else "keep", queue=queue) for queue, ids in named for i in ids]
    board = Board()
    board.add(rows)
    return judge(sample, rows, board)


def holds(audit, y):
    """Return whether the interval of 95 % holds the share of the run that is unwanted."""
    judged = [v for v in audit.verdicts if v.unwanted is not None]
    strata = sorted({(v.stratum, v.stratum_size) for v in audit.verdicts})
    counts = [[[bool(v.unwanted) for v in judged if v.stratum == number]] for number, _ in strata]
    hits, n = (np.array([f(group[0]) for group in counts], dtype=np.int64) for f in (sum, len))
    found = estimate(hits, n, np.array([size for _, size in strata], dtype=np.int64))
    return found.low <= y.mean() <= found.high


def is_recall_kept(verdicts, p, y):
    """Return whether a promise of a recall of 0.8 at 90 % is kept."""
    kept = [v for v in thin(verdicts) if v.unwanted is not None]
    ids = np.array([int(v.image_id) for v in kept])
    labels = np.array([int(bool(v.unwanted)) for v in kept], dtype=np.int64)
    return bool((p[y] >= promise_recall(p[ids], labels, recall=0.8, confidence=0.9).threshold).mean() >= 0.8)


def test_what_people_found_elsewhere_does_not_bend_a_partly_judged_audit():
    """Counting all that was found by words, as it was once done, the interval never held the truth."""
    n_holding = n_kept = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        z = rng.normal(-2, 1.6, 3000)
        p = (1 / (1 + np.exp(-z))).astype(np.float32).astype(np.float64)
        y = rng.random(3000) < 1 / (1 + np.exp(-0.8 * z))
        weights = np.where(y, 10.0, 1.0)
        found = rng.choice(3000, 900, replace=False, p=weights / weights.sum()).tolist()
        audit = audited(stratified(p, rng, 0.05), y, found, 150)
        n_holding += holds(audit, y)
        n_kept += is_recall_kept(list(audit.looked_at), p, y)
    assert n_holding >= 18
    assert n_kept >= 16


def test_a_promise_holds_after_learning_from_the_other_half_of_the_audit(tmp_path):
    """The scores know by heart what they learned from: only the half that was held back tells how they do on the rest."""
    n, n_kept = 240, 0
    run = write_scored_run(tmp_path / "run", [0.5] * n, threshold=0.5)
    catalog = Catalog.open(run)
    sha256 = {f"{i}": hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        y = rng.random(n) < 0.4
        p = np.clip(0.35 * y + rng.normal(0.3, 0.2, n), 0, 1).astype(np.float32).astype(np.float64)
        sample = stratified(p, rng, 0.05)
        names = [
            SampledImage(f"{int(i.image_id):04d}.png", "", i.stratum, i.stratum_size, i.flagged) for i in sample.images
        ]
        assert 2 * len(names) > n
        held = {str(int(name[:4])) for name in held_back(catalog, names)}
        audit = audited(sample, y, np.argsort(-p)[:60].tolist(), len(names) - 60)
        learned = {v.image_id for v in audit.looked_at} - held
        scores = p.copy()
        for i in map(int, learned):
            scores[i] = 0.99 if y[i] else 0.01
        able = vouching(audit.verdicts, sha256, {sha256[i][:16] for i in learned})
        assert able.is_random
        assert not able.image_ids & learned
        n_kept += is_recall_kept([v for v in audit.looked_at if v.image_id in able.image_ids], scores, y)
    assert n_kept >= 17
