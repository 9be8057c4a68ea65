"""`clipsieve verdicts`, and ledgers where other commands take verdicts or ratings."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from clipsieve.cli.entry import group
from clipsieve.engines import plan_prevalence
from clipsieve.errors import UsageError
from clipsieve.review.keys import find_run_key, run_key
from clipsieve.review.ledger import open_ledger
from clipsieve.store import Run
from scored_runs import write_scored_run
from verdict_rows import START, row


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    drawn = np.random.default_rng(3).beta(0.5, 1.5, 60).astype(np.float32).tolist()
    monkeypatch.chdir(tmp_path)
    return write_scored_run(tmp_path / "run", drawn, threshold=0.5)


def give(*words: str):
    done = CliRunner().invoke(group, list(words), catch_exceptions=False, standalone_mode=False)
    assert done.exit_code == 0, done.output
    return done


def review(run: Run, *rows, place=None, key=None):
    with open_ledger(place or run.path / "verdicts.db", key or run_key(run)) as ledger:
        ledger.append(rows)


def test_verdicts_are_counted_and_agreement_is_told(run):
    assert give("verdicts", "list", "run").stdout == "nobody has decided on an image yet\n"
    assert find_run_key(run) is None  # reading makes nothing
    both = ["keep", "keep", "remove", "remove"]
    review(run, *(row(f"000{i}.png", word) for i, word in enumerate(both)), row("0000.png", "keep", "Bea\x1b[31m"))
    review(run, row("0001.png", "remove", "Bea\x1b[31m"), row("0002.png", "remove", "Bea\x1b[31m"))
    done = give("verdicts", "list", "run")
    assert "decided   4 images: 1 to keep, 2 to remove, 1 undecided" in done.stdout
    assert "disputed  1 image" in done.stdout
    assert "0.40 (Cohen's kappa) Ann and Bea\\x1b[31m, on 3" in done.stdout
    facts = json.loads(give("verdicts", "list", "run", "--json").stdout)
    assert facts["by_annotator"][0] == {"annotator": "Ann", "keep": 2, "remove": 2}
    assert (facts["n_disputed"], facts["cohen"][0]["n"]) == (1, 3)


def test_export_and_import_go_round(run, tmp_path):
    with pytest.raises(UsageError, match="no verdicts on this run"):
        give("verdicts", "export", "run", "-o", "v.csv")
    review(run, row("0000.png", "keep"), row("0001.png", "remove", "Bea"))
    assert give("verdicts", "export", "run", "-o", "v.csv").stdout == "wrote     2 rows to v.csv\n"
    give("verdicts", "export", "run", "-o", "now.csv", "--current")
    give("verdicts", "export", "run", "-o", "tasks.json", "--as", "label-studio")
    assert (tmp_path / "now.csv").read_text().splitlines()[0] == '"image_id","verdict","annotator"'
    for name, added in (("v.csv", "2 verdicts"), ("tasks.json", "0 verdicts"), ("now.csv", "2 verdicts")):
        done = give("verdicts", "import", "run", name, "--ledger", "other.db")
        assert f"added     {added} on 2 images" in done.stdout
    assert "known     2 verdicts" in give("verdicts", "import", "run", "v.csv").stdout
    with pytest.raises(UsageError, match="there is no ledger"):
        give("verdicts", "list", "run", "--ledger", "none.db")


def test_an_export_uses_the_ledger_of_the_run_and_says_so(run):
    review(run, row("0000.png", "remove"), row("0001.png", "unsure"))
    words = ("export", "run", "clean", "--as", "csv", "--undecided", "keep", "-q")
    done = give(*words)
    assert "using the verdicts in" in done.stderr
    assert "2 images, 1 of them undecided" in done.stderr
    decided = {each["image_id"]: each for each in pq.read_table("clean/manifest.parquet").to_pylist()}
    assert decided["0000.png"]["decision"] == "remove"
    assert decided["0000.png"]["reason"] == "verdict"
    done = give(*words[:2], "other", *words[3:], "--verdicts", "none")
    assert "verdicts" not in done.stderr
    decided = {each["image_id"]: each for each in pq.read_table("other/manifest.parquet").to_pylist()}
    assert decided["0000.png"]["reason"] != "verdict"


def test_a_report_names_the_ledger_so_that_its_command_can_be_given_again(run):
    review(run, row("0000.png", "remove"))
    report = json.loads(give("report", "run", "--no-thumbnails", "--taxonomy", "none", "--json", "-q").stdout)
    assert report["method"]["verdicts"]["file"] == "verdicts.db"
    assert report["method"]["commands"][-1].split("--verdicts ")[1].startswith("run/verdicts.db")
    words = ("report", "run", "--no-thumbnails", "--taxonomy", "none", "--json", "-q", "--verdicts", "none")
    assert "--verdicts none" in json.loads(give(*words).stdout)["method"]["commands"][-1]
    given = json.loads(give(*words[:-1], str(run.path / "verdicts.db")).stdout)["method"]
    assert str(run.path.parent) not in json.dumps(given["commands"] + [given["verdicts"]])


def test_a_ledger_behind_a_url_is_called_by_what_is_in_it(run, tmp_path):
    url = f"sqlite:///{tmp_path}/secret/team.db"
    review(run, row("0000.png", "remove"), place=url)
    words = ("report", "run", "--no-thumbnails", "--taxonomy", "none", "--json", "-q", "--verdicts", url)
    method = json.loads(give(*words).stdout)["method"]
    assert method["verdicts"]["file"] == "verdicts.db"
    assert f"--verdicts VERDICTS --taxonomy none  # VERDICTS: {method['verdicts']['sha256']}" in method["commands"][-1]
    assert "secret" not in json.dumps([method["commands"], method["verdicts"]])


def test_a_ledger_of_another_run_says_nothing_of_this_one(run):
    review(run, row("0000.png", "remove"), key="another")
    words = ("export", "run", "clean", "--as", "csv", "--undecided", "keep", "--dry-run", "-q")
    assert "verdicts" not in give(*words).stderr
    done = give(*words, "--verdicts", "run/verdicts.db")
    assert "holds no verdicts on this run" in " ".join(done.stderr.split())


def audit(run: Run, n: int | None = None):
    plan = plan_prevalence(run, width=0.3)
    with open_ledger(run.path / "verdicts.db", run_key(run)) as ledger:
        ledger.samples.save(plan.images, plan.scores_name, START)
        ledger.append([row(each.image_id, "remove" if i % 3 else "keep") for i, each in enumerate(plan.images)][:n])
    return plan


def test_prevalence_comes_from_the_audit(run):
    with pytest.raises(UsageError, match="there is no file"):
        give("prevalence", "run", "--verdicts", "run/verdicts.db")
    review(run, row("0000.png", "remove"))
    with pytest.raises(UsageError, match="no verdicts on a random sample"):
        give("prevalence", "run", "--verdicts", "run/verdicts.db")
    plan = audit(run)
    found = json.loads(give("prevalence", "run", "--verdicts", "run/verdicts.db", "--json").stdout)
    assert found["n_judged"] == len(plan.images)


def test_a_threshold_comes_from_the_audit_alone(run):
    threshold = (
        "threshold",
        "run",
        "--recall",
        "0.5",
        "--confidence",
        "0.8",
        "--ratings",
        "run/verdicts.db",
        "--dry-run",
    )
    review(run, *(row(f"{i:04d}.png", "remove" if i % 2 else "keep") for i in range(60)))
    with pytest.raises(UsageError, match="no verdicts on a random sample") as refusal:
        give(*threshold)
    assert "audit" in str(refusal.value.hint)
    plan = audit(run)
    found = json.loads(give(*threshold, "--json").stdout)
    assert 0 < found["n_labels"] <= len(plan.images)
    with pytest.raises(UsageError, match="`--scale`, `--low`: a ledger of verdicts has no use for it"):
        give(*threshold, "--scale", "harm", "--low", "2")


def test_a_classifier_is_tuned_on_all_that_was_decided(run, tmp_path):
    from clipsieve.cli.rating_options import load_ratings

    names = ("image_column", "rating_column", "label_column", "scale", "low", "high", "reverse")
    given = dict.fromkeys(names)
    review(run, *(row(f"{i:04d}.png", "remove" if i % 2 else "keep") for i in range(10)))
    found = load_ratings([run], ratings="run/verdicts.db", **given)
    assert found.labels.tolist().count(1) == 5
    other = write_scored_run(tmp_path / "other", [0.5], threshold=0.5)
    with pytest.raises(UsageError, match="holds no verdicts on this run"):
        load_ratings([other], ratings="run/verdicts.db", **given)


def test_how_far_the_audit_is_is_said(run):
    plan = plan_prevalence(run, width=0.3)
    n = len(plan.images)
    with open_ledger(run.path / "verdicts.db", run_key(run)) as ledger:
        ledger.samples.save(plan.images, plan.scores_name, START)
        ledger.append([row(plan.images[-1].image_id, "remove", queue="highest")])
        prevalence = ("prevalence", "run", "--verdicts", "run/verdicts.db")
        with pytest.raises(UsageError, match="no verdicts on a random sample") as refusal:
            give(*prevalence)
        assert "nobody has worked on the queue `audit` yet" in str(refusal.value.found)
        images = plan.images[: n - 2]
        ledger.append([row(i.image_id, "remove" if i.flagged else "keep", queue="audit") for i in images])
    said = f"random audit: judged up to image {n - 2} of {n}; later ones do not count yet"
    found = give(*prevalence, "--json")
    assert said in " ".join(found.stderr.split())
    assert (json.loads(found.stdout)["n_judged"], json.loads(found.stdout)["n_open"]) == (n - 2, 2)
    threshold = ("threshold", "run", "--recall", "0.5", "--ratings", "run/verdicts.db", "--dry-run", "-c", "test")
    assert said in " ".join(give(*threshold).stderr.split())


def test_an_audit_of_another_state_of_the_run_is_refused_with_a_way_out(run, tmp_path):
    audit(run)
    grown = write_scored_run(tmp_path / "grown", [0.1, 0.6] * 50, threshold=0.5)
    (grown.path / "review.json").write_bytes((run.path / "review.json").read_bytes())
    for words in (("prevalence", "grown", "--verdicts"), ("threshold", "grown", "--recall", "0.5", "--ratings")):
        with pytest.raises(UsageError, match="another state of the run") as refusal:
            give(*words, "run/verdicts.db")
        assert "`clipsieve review grown` draws a new sample" in str(refusal.value.hint)


def test_the_advice_to_go_on_is_given_only_where_something_is_open(run):
    drawn = np.random.default_rng(3).beta(0.5, 1.5, 600).astype(np.float32).tolist()
    large = write_scored_run(run.path.parent / "large", drawn, threshold=0.5)
    plan = plan_prevalence(large, width=0.2)
    rows = [row(image.image_id, "remove" if image.flagged else "keep", queue="audit") for image in plan.images]
    words = (
        "threshold",
        "large",
        "--recall",
        "0.5",
        "--confidence",
        "0.8",
        "--dry-run",
        "--ratings",
        "large/verdicts.db",
    )
    said = []
    with open_ledger(large.path / "verdicts.db", run_key(large)) as ledger:
        ledger.samples.save(plan.images, plan.scores_name, START)
        for some in (rows[:90], rows[90:]):
            ledger.append(some)
            said.append(" ".join(give(*words).stderr.split()))
    assert all("so that each stratum is drawn from as often" in text for text in said)
    assert ["go on with the audit" in text for text in said] == [True, False]
