"""Learning from verdicts: better scores where there is something to learn, and no flattery."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from clipsieve.classifiers import SoftPrompts, load_classifier
from clipsieve.engines import load_classifier_for, read_score_facts, score
from clipsieve.errors import UsageError
from clipsieve.review.comparing import compare
from clipsieve.review.consensus import Board
from clipsieve.review.learning import learn
from clipsieve.review.records import CurrentVerdict
from clipsieve.store import Run
from model_folders import WIDTH, make_onnx_folder
from rated_runs import TWO, draw_embeddings, draw_ratings, write_run
from verdict_rows import row

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

N = 80
RATING = draw_ratings(N)
UNLIKE = 1.5  # no cosine is so high: in so few dimensions, images that have nothing to do with each other are alike


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with a model, and a run without image 3; people find unwanted what the prompts find good."""
    root = tmp_path_factory.mktemp("learning")
    (root / "two.toml").write_text(TWO)
    embeddings = draw_embeddings(RATING, WIDTH, signal=1.5)
    run = write_run(root / "run", make_onnx_folder(root / "model"), embeddings, broken=[3])
    score(run, load_classifier_for(run, str(root / "two.toml")).classifier, name="two")
    return root


@pytest.fixture
def run(folder, tmp_path) -> Run:
    shutil.copytree(folder / "run", tmp_path / "run")
    return Run.open(tmp_path / "run")


def verdicts(first: int = 0, last: int = N) -> list[CurrentVerdict]:
    said = [CurrentVerdict(f"{i:04d}.png", bool(RATING[i] > 3), {}) for i in range(first, last)]
    return [*said, CurrentVerdict("unsure.png", None, {})]


def test_what_people_decided_makes_the_scores_better(run):
    images = (run.path / "images" / "part-00000.parquet").read_bytes()
    found = learn(run, "two", verdicts(), min_similarity=UNLIKE, ledger_sha256="ab" * 32)
    assert (found.name, found.began_with, found.method) == ("learned-1", "two", "soft-prompts")
    assert (found.n_train, found.n_held_out) == (N - 1, N - 1)
    assert found.n_unwanted == sum(RATING > 3) - (RATING[3] > 3)
    assert found.after.roc_auc.value > 0.85 > found.before.roc_auc.value
    assert found.after.accuracy.low <= found.after.accuracy.value <= found.after.accuracy.high
    assert found.accuracy_gain[1] > 0
    assert found.sentence.endswith("after learning: better")
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["before"]["accuracy"]["value"] < 1
    saved = load_classifier(run.path / "review" / "learned-1.safetensors")
    assert isinstance(saved, SoftPrompts)
    assert saved.provenance["verdicts"]["ledger_sha256"] == "ab" * 32
    assert saved.provenance["verdicts"]["n_images"] == N - 1
    assert saved.provenance["prompts"] == {"good": ["good"], "bad": ["bad"]}
    facts = read_score_facts(run, "learned-1")
    assert len(facts.tuned_on) == N - 1
    assert facts.is_origin_known
    assert (run.path / "images" / "part-00000.parquet").read_bytes() == images


def test_learning_again_begins_with_the_words_and_says_what_was_known(run):
    learn(run, "two", verdicts(0, 40), min_similarity=UNLIKE)
    again = learn(run, "learned-1", verdicts(), min_similarity=UNLIKE)
    assert (again.name, again.method, again.n_train) == ("learned-2", "soft-prompts", N - 1)
    assert again.n_held_out == 40
    assert "the present classifier was tuned on 39 of these verdicts; the comparison leaves them out" in again.notes
    flattered = learn(run, "learned-1", verdicts(0, 42), min_similarity=UNLIKE)
    assert (flattered.name, flattered.n_held_out) == ("learned-3", 41)
    assert any("which flatters it" in note for note in flattered.notes)
    saved = load_classifier(run.path / "review" / "learned-2.safetensors")
    assert "begins_with" not in saved.provenance


def test_the_same_verdicts_teach_the_same(run):
    one, other = learn(run, "two", verdicts()), learn(run, "two", verdicts()[::-1])
    assert (one.before, one.after, one.n_flagged) == (other.before, other.after, other.n_flagged)


def test_a_classifier_without_words_is_followed_by_a_probe(run):
    facts = run.score_facts("two")
    run.write_score_facts("two", facts | {"method": "network", "provenance": {}})
    found = learn(run, "two", verdicts())
    assert found.method == "linear-probe"
    assert any("a linear probe was fitted instead" in note for note in found.notes)
    assert found.after.roc_auc.value > 0.8


def test_an_encoder_that_is_gone_is_no_reason_not_to_learn(run, tmp_path):
    found = learn(run, "two", verdicts(), model=str(tmp_path / "gone"))
    assert found.method == "linear-probe"
    assert any(note.startswith("the prompts cannot be read") for note in found.notes)


@pytest.mark.parametrize(("n_keep", "n_remove"), [(0, 0), (4, 9), (9, 4)])
def test_too_few_verdicts_are_refused_in_words(run, n_keep, n_remove):
    kept, removed = np.flatnonzero(RATING <= 3)[:n_keep], np.flatnonzero(RATING > 3)[:n_remove]
    said = [CurrentVerdict(f"{i:04d}.png", i in removed, {}) for i in [*kept, *removed]]
    with pytest.raises(UsageError, match="too few verdicts to learn from") as refusal:
        learn(run, "two", said)
    assert f"{n_keep} to keep and {n_remove} to remove" in str(refusal.value)
    assert not (run.path / "review").exists()
    assert run.score_names() == ["two"]


def test_images_that_are_held_back_teach_nothing(run):
    found = learn(run, "two", verdicts(), held_back=[f"{i:04d}.png" for i in range(40, N)])
    assert found.n_train == 39
    assert len(read_score_facts(run, "learned-1").tuned_on) == 39


def test_images_of_one_decision_are_never_on_both_sides(run):
    board = Board()
    groups = {i: f"g{i // 4}" for i in range(N)}
    board.add(row(f"{i:04d}.png", "remove" if RATING[i] > 3 else "keep", group_id=groups[i]) for i in range(N))
    seen = []

    def watch(*given, **told):
        held, fit = given[2], given[3]

        def watched(used):
            seen.append(set(used.image_ids))
            return fit(used)

        return compare(given[0], given[1], held, watched, **told)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clipsieve.review.learning.compare", watch)
        found = learn(run, "two", board, min_similarity=UNLIKE)
    assert found.n_held_out == N - 1
    assert len(seen) == 2 * 5
    for trained in seen:
        for group in set(groups.values()):
            members = {f"{i:04d}.png" for i in range(N) if groups[i] == group and i != 3}
            assert members <= trained or not members & trained


def test_where_nothing_can_be_held_out_nothing_is_claimed(run):
    board = Board()
    board.add(
        row(f"{i:04d}.png", "remove" if RATING[i] > 3 else "keep", group_id="one" if RATING[i] > 3 else None)
        for i in range(N)
    )
    found = learn(run, "two", board)
    assert (found.before, found.after, found.n_held_out) == (None, None, 0)
    assert found.sentence == "it cannot be said yet whether this is better"
    assert run.score_names() == ["learned-1", "two"]


def test_labels_of_noise_are_not_called_better(run):
    rng = np.random.default_rng(0)
    said = [CurrentVerdict(f"{i:04d}.png", bool(rng.random() < 0.5), {}) for i in range(N)]
    found = learn(run, "two", said)
    assert not found.sentence.endswith("better")


def test_a_threshold_that_was_set_for_recall_makes_nothing_look_worse(run):
    honest = learn(run, "two", verdicts(), min_similarity=UNLIKE)
    facts = run.score_facts("two")
    run.write_score_facts("two", facts | {"threshold": 0.001})
    found = learn(run, "two", verdicts(), min_similarity=UNLIKE)
    assert (found.before, found.accuracy_gain) == (honest.before, honest.accuracy_gain)
    note = "the operating points must be set anew for `learned-2`, with `clipsieve threshold`: its thresholds promise nothing"
    assert note in found.notes
    assert not any("operating points" in text for text in honest.notes)


def test_near_duplicates_that_were_decided_one_by_one_teach_once_and_are_tested_apart(tmp_path, folder):
    rng = np.random.default_rng(6)
    centres, source = rng.standard_normal((40, WIDTH)), np.repeat(np.arange(40), 4)
    embeddings = centres[source] + 0.02 * rng.standard_normal((160, WIDTH))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    near = write_run(tmp_path / "near", folder / "model", embeddings.astype(np.float32))
    score(near, load_classifier_for(near, str(folder / "two.toml")).classifier, name="two")
    said = [CurrentVerdict(f"{i:04d}.png", bool(source[i] % 2), {}) for i in range(160)]
    found = learn(near, "two", said)
    # Labels of noise: whoever has seen a copy knows them all.
    assert found.after.roc_auc.value < 0.65
    assert found.sentence.endswith("no clear difference yet")
    assert "near-duplicates with the same verdict teach once: 120 of the decided images were left out" in found.notes
    assert learn(near, "two", said, min_similarity=UNLIKE).after.roc_auc.value > 0.7


def test_images_that_are_gone_are_passed_over_and_a_note_says_so(run):
    gone = [CurrentVerdict(f"gone-{i}.png", bool(i % 2), {}) for i in range(20)]
    found = learn(run, "two", [*verdicts(), *gone])
    assert found.n_train == N - 1
    assert "21 decided images are not in the run any more, or have no embedding: they were passed over" in found.notes
    with pytest.raises(UsageError, match="too few verdicts to learn from") as refusal:
        learn(run, "two", gone)
    assert "0 to keep and 0 to remove with an embedding in this run" in str(refusal.value)


def test_the_fewest_verdicts_teach_and_claim_nothing(run):
    kept, removed = np.flatnonzero((RATING < 2) & (np.arange(N) != 3))[:5], np.flatnonzero(RATING > 4)[:5]
    said = [CurrentVerdict(f"{i:04d}.png", i in removed, {}) for i in [*kept, *removed]]
    found = learn(run, "two", said, min_similarity=UNLIKE)
    assert (found.n_train, found.n_held_out) == (10, 10)
    assert found.sentence.endswith("no clear difference yet")
