"""What the other steps get from a ledger."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from clipsieve.engines import Decider, Policy, join_ratings, plan_prevalence, set_threshold
from clipsieve.engines.prevalence import estimate_from_verdicts
from clipsieve.engines.verdicts import SampledImage, Verdict
from clipsieve.errors import UsageError
from clipsieve.outputs.report.build import build_report
from clipsieve.review.audit import held_back
from clipsieve.review.catalog import Catalog
from clipsieve.review.flows import audit_labels, image_verdicts, labels_of, ratings, read_audit, thin
from clipsieve.review.keys import run_key
from clipsieve.review.ledger import open_ledger, verdict_digest
from clipsieve.review.records import Voice
from scored_runs import write_scored_run
from verdict_rows import START, row


@pytest.fixture
def ledger(tmp_path):
    with open_ledger(tmp_path / "verdicts.db", "a run") as opened:
        yield opened


def holding(tmp_path, *image_ids):
    """Return a run that holds these images, of files that nobody knows."""
    nothing = [None] * len(image_ids)
    return write_scored_run(tmp_path / "holding", nothing, threshold=0.5, contents=nothing, ids=image_ids)


def test_what_holds_now_is_what_others_get(ledger, tmp_path):
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
    run = holding(tmp_path, "a.png", "b.png", "c.png", "d.png", "e.png")
    ledger.append(rows)
    found = image_verdicts(ledger, run)
    said = {image_id: (v.unwanted, v.annotators, v.n_verdicts) for image_id, v in found.by_image.items()}
    assert said == {
        "a.png": (False, ("Ann",), 1),
        "b.png": (True, ("Cleo",), 3),
        "c.png": (None, ("Ann", "Bea"), 2),
        "d.png": (None, ("Ann",), 1),
    }
    assert (found.path, found.sha256, found.sample) == (Path("verdicts.db"), verdict_digest(rows), None)
    labels = ratings(ledger, run)
    assert dict(zip(labels.names, labels.labels.tolist(), strict=True)) == {"a.png": 0, "b.png": 1}
    assert (labels.kind, labels.are_ids, labels.sha256) == ("label", True, verdict_digest(rows))


def test_verdicts_of_a_ledger_decide_what_is_exported(ledger, tmp_path):
    run = write_scored_run(tmp_path / "run", [0.9, 0.1, 0.9], threshold=0.5)
    ledger.append([row("0000.png", "keep"), row("0001.png", "remove")])
    (part,) = Decider(run, Policy.VERDICTS, verdicts=image_verdicts(ledger, run))
    assert [str(reason) for reason in part.reasons] == ["verdict", "verdict", "flagged"]
    assert part.annotators == ["Ann", "Ann", None]


def test_a_label_meets_its_very_id_and_no_name_like_it(tmp_path, ledger):
    run = write_scored_run(tmp_path / "run", [0.9, 0.1], threshold=0.5)
    ledger.append([row("0000.png", "remove"), row("0001", "keep"), row("./0001.png", "keep")])
    assert ratings(ledger, run).names == ("0000.png",)
    given = labels_of({"0000.png": 1, "0001": 0, "./0001.png": 0}, sha256="")
    report = join_ratings(run, given).report
    assert report.matched_by == {"image_id": 1, "file name": 0, "stem": 0}
    assert set(report.unmatched) == {"0001", "./0001.png"}
    assert report.ambiguous == ()


def test_nothing_decided_is_said(ledger, tmp_path):
    ledger.append([row("a.png", "unsure")])
    with pytest.raises(UsageError, match="nobody has decided on an image yet"):
        ratings(ledger, holding(tmp_path, "a.png"))


def sample(sizes, n_drawn):
    """Return a sample of images `S-I`, mixed as the plan mixes them."""
    images = [
        SampledImage(f"{s}-{i}", "u", s, size, s > 1)
        for s, (size, n) in enumerate(zip(sizes, n_drawn, strict=True), start=1)
        for i in range(n)
    ]
    return [images[i] for i in np.random.default_rng(0).permutation(len(images))]


def test_the_audit_is_joined_with_what_people_said(ledger, tmp_path):
    ledger.samples.save(sample((900, 10), (3, 2)), "words", START)
    ledger.append([row("1-0", "remove"), row("2-1", "unsure"), row("1-1", "keep"), row("1-1", "remove", "Bea")])
    ledger.append([row(ledger.samples.load()[-1].image_id, "unsure", "Cleo", queue="audit")])
    audit = read_audit(ledger, holding(tmp_path, "1-0", "1-1", "1-2", "2-0", "2-1"))
    found = {v.image_id: (v.stratum, v.stratum_size, v.flagged, v.unwanted, v.is_unsure) for v in audit.verdicts}
    assert found == {
        "1-0": (1, 900, False, True, False),
        "1-1": (1, 900, False, None, True),
        "1-2": (1, 900, False, None, False),
        "2-0": (2, 10, True, None, False),
        "2-1": (2, 10, True, None, True),
    }
    assert [v.image_id for v in audit.verdicts] == [v.image_id for v in ledger.samples.load()]
    assert (audit.n_reached, audit.n_passed_over) == (5, 2)


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


@pytest.fixture
def run(tmp_path):
    """Return a run of 600 images with scores, about a quarter of them at or above the threshold."""
    drawn = np.random.default_rng(3).beta(0.5, 1.5, 600).astype(np.float32).tolist()
    return write_scored_run(tmp_path / "run", drawn, threshold=0.5)


def drawn_for(run, ledger, width=0.2):
    plan = plan_prevalence(run, width=width)
    ledger.samples.save(plan.images, plan.scores_name, START)
    return plan.images


def test_only_the_audit_vouches_for_a_threshold(ledger, run):
    ledger.append([row(f"{i:04d}.png", "keep", queue="highest") for i in range(50)])
    with pytest.raises(UsageError, match="no verdicts on a random sample") as refusal:
        audit_labels(ledger, run)
    assert "audit" in str(refusal.value.hint)
    images = drawn_for(run, ledger)
    with pytest.raises(UsageError, match="no verdicts on a random sample"):
        audit_labels(ledger, run)
    ledger.append([row(images[0].image_id, "remove", at=1, queue="audit")])
    with pytest.raises(UsageError, match=r"no verdicts on \d of \d strata"):
        audit_labels(ledger, run)
    ledger.append([row(i.image_id, "unsure" if i.flagged else "keep", at=2, queue="audit") for i in images[:60]])
    found = audit_labels(ledger, run)
    assert (found.audit.n_reached, found.n_looked_at, found.n_tuned_on, found.is_random) == (60, 60, 0, True)
    assert len(found.ratings.names) == 60 - found.n_left_out
    assert set(found.ratings.names) <= {i.image_id for i in images[:60]}
    assert set(found.ratings.labels.tolist()) == {0, -1}


def test_a_sample_of_another_state_of_the_run_vouches_for_nothing(ledger, run, tmp_path):
    images = drawn_for(run, ledger)
    ledger.append([row(image.image_id, "keep", queue="audit") for image in images])
    assert audit_labels(ledger, run).n_looked_at == len(images)
    grown = write_scored_run(tmp_path / "grown", [0.5] * 700, threshold=0.5)
    with pytest.raises(UsageError, match="another state of the run") as refusal:
        audit_labels(ledger, grown)
    assert "700" in str(refusal.value.expected)
    assert f"clipsieve review {grown.path}" in str(refusal.value.hint)
    lacking = [0.5] * 600
    lacking[int(images[0].image_id[:4])] = None
    other = write_scored_run(tmp_path / "other", [*lacking, 0.5], threshold=0.5)  # as many, but not all of these
    with pytest.raises(UsageError, match="another state of the run") as refusal:
        audit_labels(ledger, other)
    assert str(refusal.value.found).startswith("1 of ")


def test_labels_come_from_the_half_that_nothing_was_learned_from(ledger, run):
    images = drawn_for(run, ledger, width=0.06)
    ledger.append([row(image.image_id, "keep", queue="audit") for image in images])
    catalog = Catalog.open(run)
    held = held_back(catalog, images)
    digests = {image.image_id: sha256_of(image.image_id)[:16] for image in images}
    learned = {digest for name, digest in digests.items() if name not in held}
    found = audit_labels(ledger, run, tuned_on=set(sorted(learned)[:20]))
    assert set(found.ratings.names) <= held
    assert (found.n_looked_at, found.n_tuned_on, found.is_random) == (len(held), 20, True)
    elsewhere = audit_labels(ledger, run, tuned_on={digests[name] for name in sorted(held)[:5]})
    assert (elsewhere.n_looked_at, elsewhere.n_tuned_on, elsewhere.is_random) == (len(images) - 5, 5, False)
    with pytest.raises(UsageError, match="that can vouch for these scores") as refusal:
        audit_labels(ledger, run, tuned_on=set(digests.values()))
    assert "learn in `clipsieve review RUN`" in str(refusal.value.hint)


def sha256_of(image_id):
    return hashlib.sha256(str(int(image_id[:4])).encode()).hexdigest()


def test_an_audit_of_a_run_gives_prevalence_report_and_threshold(tmp_path):
    drawn = np.random.default_rng(3).beta(0.5, 1.5, 600).astype(np.float32).tolist()
    run = write_scored_run(tmp_path / "run", drawn, threshold=0.5)
    plan = plan_prevalence(run, width=0.2)
    with open_ledger(run.path / "verdicts.db", run_key(run)) as ledger:
        ledger.samples.save(plan.images, plan.scores_name, START)
        rows = [row(i.image_id, "remove" if drawn[int(i.image_id[:4])] > 0.4 else "keep") for i in plan.images]
        ledger.append(rows)
        found = estimate_from_verdicts(run, "verdicts.db", list(read_audit(ledger, run).verdicts))
        truth = np.mean(np.array(drawn) > 0.4)
        assert found.prevalence.low <= truth <= found.prevalence.high
        report = build_report(run, made="2026-01-01T00:00:00+00:00", verdicts=image_verdicts(ledger, run))
        assert report.figure("prevalence").value == found.prevalence.share
        assert report.method["verdicts"]["file"] == "verdicts.db"
        audit = audit_labels(ledger, run)
        promised = set_threshold(run, None, audit.ratings, recall=0.6, confidence=0.8, dry_run=True)
        assert promised.n_labels == audit.n_looked_at - audit.n_left_out
        assert promised.n_labels < len(rows)


def test_verdicts_on_files_that_were_replaced_or_are_gone_flow_nowhere(ledger, tmp_path):
    run = write_scored_run(tmp_path / "run", [0.9, 0.9, 0.9], threshold=0.5, contents=["a", "b", "c"])
    held = [image["sha256"] for image in run.read_images(0, ["sha256"]).to_pylist()]
    ledger.append(
        [
            row("0000.png", "remove", sha256=held[0]),
            row("0001.png", "remove", sha256="ab" * 32),
            row("0001.png", "keep", "Bea", sha256="ab" * 32),
            row("0002.png", "keep", sha256="ab" * 32),
            row("0002.png", "remove", "Bea", sha256=held[2]),
            row("gone.png", "remove"),
        ]
    )
    found = image_verdicts(ledger, run)
    assert {name: verdict.unwanted for name, verdict in found.by_image.items()} == {"0000.png": True, "0002.png": True}
    assert found.n_elsewhere == 2
    assert ratings(ledger, run).names == ("0000.png", "0002.png")
    (part,) = Decider(run, Policy.VERDICTS, verdicts=found)
    assert [str(reason) for reason in part.reasons] == ["verdict", "flagged", "verdict"]
