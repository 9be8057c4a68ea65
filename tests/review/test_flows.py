"""What the other steps get from a ledger."""

from pathlib import Path

import numpy as np
import pytest

from clipsieve.engines import Decider, Policy, join_ratings, plan_prevalence, set_threshold
from clipsieve.engines.prevalence import estimate_from_verdicts
from clipsieve.engines.verdicts import SampledImage, Verdict
from clipsieve.errors import UsageError
from clipsieve.outputs.report.build import build_report
from clipsieve.review.flows import audit_labels, image_verdicts, ratings, sample_verdicts, thin
from clipsieve.review.keys import run_key
from clipsieve.review.ledger import open_ledger, verdict_digest
from clipsieve.review.records import Voice
from scored_runs import write_scored_run
from verdict_rows import START, row


@pytest.fixture
def ledger(tmp_path):
    with open_ledger(tmp_path / "verdicts.db", "a run") as opened:
        yield opened


def test_what_holds_now_is_what_others_get(ledger):
    rows = [
        row("a.png", "remove"),
        row("a.png", "keep", at=1),  # changed their mind
        row("b.png", "remove"),
        row("b.png", "keep", "Bea"),
        row("b.png", "remove", "Cleo", at=2, voice=Voice.ADJUDICATION),
        row("c.png", "remove"),
        row("c.png", "keep", "Bea"),
        row("d.png", "unsure"),
        (taken := row("e.png", "remove")),
        row("e.png", "undo", at=3, undoes=taken.verdict_id),
    ]
    ledger.append(rows)
    found = image_verdicts(ledger)
    said = {image_id: (v.unwanted, v.annotators, v.n_verdicts) for image_id, v in found.by_image.items()}
    assert said == {
        "a.png": (False, ("Ann",), 1),
        "b.png": (True, ("Cleo",), 3),
        "c.png": (None, ("Ann", "Bea"), 2),
        "d.png": (None, ("Ann",), 1),
    }
    assert (found.path, found.sha256, found.sample) == (Path("verdicts.db"), verdict_digest(rows), None)
    labels = ratings(ledger)
    assert dict(zip(labels.names, labels.labels.tolist(), strict=True)) == {"a.png": 0, "b.png": 1}
    assert (labels.kind, labels.are_ids, labels.sha256) == ("label", True, verdict_digest(rows))


def test_verdicts_of_a_ledger_decide_what_is_exported(ledger, tmp_path):
    run = write_scored_run(tmp_path / "run", [0.9, 0.1, 0.9], threshold=0.5)
    ledger.append([row("0000.png", "keep"), row("0001.png", "remove")])
    (part,) = Decider(run, Policy.VERDICTS, verdicts=image_verdicts(ledger))
    assert [str(reason) for reason in part.reasons] == ["verdict", "verdict", "flagged"]
    assert part.annotators == ["Ann", "Ann", None]


def test_a_label_meets_its_very_id_and_no_name_like_it(tmp_path, ledger):
    run = write_scored_run(tmp_path / "run", [0.9, 0.1], threshold=0.5)
    ledger.append([row("0000.png", "remove"), row("0001", "keep"), row("./0001.png", "keep")])
    report = join_ratings(run, ratings(ledger)).report
    assert report.matched_by == {"image_id": 1, "file name": 0, "stem": 0}
    assert set(report.unmatched) == {"0001", "./0001.png"}
    assert report.ambiguous == ()


def test_nothing_decided_is_said(ledger):
    ledger.append([row("a.png", "unsure")])
    with pytest.raises(UsageError, match="nobody has decided on an image yet"):
        ratings(ledger)


def sample(sizes, n_drawn):
    """Return a sample of images `S-I`, mixed as the plan mixes them."""
    images = [
        SampledImage(f"{s}-{i}", "u", s, size, s > 1)
        for s, (size, n) in enumerate(zip(sizes, n_drawn, strict=True), start=1)
        for i in range(n)
    ]
    return [images[i] for i in np.random.default_rng(0).permutation(len(images))]


def test_the_audit_is_joined_with_what_people_said(ledger):
    ledger.samples.save(sample((900, 10), (3, 2)), "words", START)
    ledger.append([row("1-0", "remove"), row("2-1", "unsure"), row("1-1", "keep"), row("1-1", "remove", "Bea")])
    found = {
        v.image_id: (v.stratum, v.stratum_size, v.flagged, v.unwanted, v.is_unsure) for v in sample_verdicts(ledger)
    }
    assert found == {
        "1-0": (1, 900, False, True, False),
        "1-1": (1, 900, False, None, True),
        "1-2": (1, 900, False, None, False),
        "2-0": (2, 10, True, None, False),
        "2-1": (2, 10, True, None, True),
    }
    assert [v.image_id for v in sample_verdicts(ledger)] == [v.image_id for v in ledger.samples.load()]


def looked_at(sizes, n_drawn):
    return [
        Verdict(line, image.image_id, image.stratum, image.stratum_size, image.flagged, unwanted=False)
        for line, image in enumerate(sample(sizes, n_drawn), start=1)
    ]


def test_thinning_keeps_the_first_of_each_stratum_at_one_rate():
    judged = looked_at((1000, 200, 50), (100, 100, 50))
    kept = thin(judged)
    assert [sum(v.stratum == s for v in kept) for s in (1, 2, 3)] == [100, 20, 5]
    for s in (1, 2, 3):
        in_order = [v for v in judged if v.stratum == s]
        here = [v for v in kept if v.stratum == s]
        assert here == in_order[: len(here)]
    assert thin([]) == []


def test_thinned_verdicts_give_the_share_of_the_run_without_bias(monkeypatch):
    """A stratum of 3 images, all unwanted, is drawn as a whole: left in, or always rounded away, it would mislead."""
    shares = []
    for seed in range(400):
        monkeypatch.setattr("clipsieve.review.flows._SEED", seed)
        kept = thin(looked_at((997, 3), (100, 3)))
        shares.append((sum(v.stratum == 2 for v in kept), len(kept)))
    n_rare = np.array(shares)[:, 0].mean()
    assert n_rare == pytest.approx(100 / 997 * 3, abs=0.07)


def test_only_the_audit_vouches_for_a_threshold(ledger):
    ledger.append([row(f"1-{i}", "keep") for i in range(50)])
    with pytest.raises(UsageError, match="no verdicts on a random sample") as refusal:
        ratings(ledger, random_only=True)
    assert "audit" in str(refusal.value.hint)
    ledger.samples.save(sample((1000, 100), (100, 20)), "words", START)
    with pytest.raises(UsageError, match="no verdicts on 1 of 2 strata"):
        ratings(ledger, random_only=True)
    ledger.append([row("elsewhere", "remove"), *(row(f"2-{i}", "remove" if i else "unsure") for i in range(20))])
    found = audit_labels(ledger)
    assert (found.n_sampled, found.n_looked_at, found.n_left_out) == (120, 70, 15)
    assert "elsewhere" not in found.ratings.names
    labels = {
        s: [int(v) for n, v in zip(found.ratings.names, found.ratings.labels, strict=True) if n[0] == s] for s in "12"
    }
    assert labels["1"] == [0] * 50
    assert len(labels["2"]) == 5
    assert set(labels["2"]) <= {1, -1}


def test_an_audit_of_a_run_gives_prevalence_report_and_threshold(tmp_path):
    drawn = np.random.default_rng(3).beta(0.5, 1.5, 600).astype(np.float32).tolist()
    run = write_scored_run(tmp_path / "run", drawn, threshold=0.5)
    plan = plan_prevalence(run, width=0.2)
    with open_ledger(run.path / "verdicts.db", run_key(run)) as ledger:
        ledger.samples.save(plan.images, plan.scores_name, START)
        rows = [row(i.image_id, "remove" if drawn[int(i.image_id[:4])] > 0.4 else "keep") for i in plan.images]
        ledger.append(rows)
        found = estimate_from_verdicts(run, "verdicts.db", list(sample_verdicts(ledger)))
        truth = np.mean(np.array(drawn) > 0.4)
        assert found.prevalence.low <= truth <= found.prevalence.high
        report = build_report(run, made="2026-01-01T00:00:00+00:00", verdicts=image_verdicts(ledger))
        assert report.figure("prevalence").value == found.prevalence.share
        assert report.method["verdicts"]["file"] == "verdicts.db"
        audit = audit_labels(ledger)
        promised = set_threshold(run, None, audit.ratings, recall=0.6, confidence=0.8, dry_run=True)
        assert promised.n_labels == audit.n_looked_at - audit.n_left_out
        assert promised.n_labels < len(rows)
