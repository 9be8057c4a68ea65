"""`clipsieve report` and `clipsieve datasheet` as a person types them."""

import csv
import json

import pytest
from click.testing import CliRunner

from clipsieve import write_demo_data
from clipsieve.cli.datasheet import command as datasheet
from clipsieve.cli.report import command as report
from clipsieve.encoders import load_encoder
from clipsieve.engines import LocalEngine, scan, score
from clipsieve.engines.classify import load_classifier_for
from clipsieve.errors import UsageError
from clipsieve.sources import open_source
from clipsieve.store import Run

pytestmark = pytest.mark.slow  # a scan, and pages of everything


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """Return a folder with a scored run of demo images."""
    root = tmp_path_factory.mktemp("report")
    write_demo_data(root / "photos", n_images=80)
    with load_encoder("pictogram") as encoder:
        scan(open_source(root / "photos"), root / "run", encoder, engine=LocalEngine(workers=1))
    run = Run.open(root / "run")
    named = load_classifier_for(run, "positive-negative")
    score(run, named.classifier, name=named.name)
    return root


@pytest.fixture
def place(scanned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").symlink_to(scanned / "run")
    return tmp_path


def call(command, *words: str):
    return CliRunner().invoke(command, list(words), catch_exceptions=False)


def flagged(place) -> list[dict[str, str]]:
    with (place / "report" / "flagged.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_page_and_the_same_for_machines(place):
    done = call(report, "run", "-q")
    assert "scanned   80" in done.stdout
    assert "needs no network" in done.stdout
    page = (place / "report.html").read_text(encoding="utf-8")
    facts = json.loads((place / "report" / "report.json").read_text(encoding="utf-8"))
    figures = {figure["id"]: figure["value"] for figure in facts["figures"]}
    assert (figures["n_listed"], figures["n_scanned"], figures["n_failed"]) == (83, 80, 3)
    assert len(flagged(place)) == figures["n_flagged"] > 5
    assert page.count("data:image/webp;base64,") == len(facts["examples"]) > 5
    assert "thumbnail" not in facts["examples"][0]
    assert sum(concept["n"] for concept in facts["taxonomy"]["concepts"]) == figures["n_flagged"]
    assert len((place / "report.html").read_bytes()) < 1_000_000


def test_no_thumbnails_means_no_image(place):
    call(report, "run", "-o", "bare.html", "--no-thumbnails", "-q")
    page = (place / "bare.html").read_text(encoding="utf-8")
    assert "image/webp" not in page
    assert flagged_names(page)


def flagged_names(page: str) -> bool:
    return "pictogram_000" in page


def test_json_on_stdout_is_what_the_file_says(place):
    said = json.loads(call(report, "run", "-q", "--json", "--taxonomy", "none").stdout)
    assert said == json.loads((place / "report" / "report.json").read_text(encoding="utf-8"))
    assert said["taxonomy"] is None


def test_verdicts_are_counted(place):
    call(report, "run", "-q", "--no-thumbnails")
    first, second, *_ = flagged(place)
    (place / "v.csv").write_text(f"image_id,verdict\n{first['image_id']},remove\n{second['image_id']},keep\n")
    call(report, "run", "-q", "--no-thumbnails", "--verdicts", "v.csv")
    facts = json.loads((place / "report" / "report.json").read_text(encoding="utf-8"))
    figures = {figure["id"]: figure for figure in facts["figures"]}
    assert figures["n_flagged_reviewed"]["value"] == 2
    assert (figures["share_confirmed"]["value"], figures["share_confirmed"]["confidence"]) == (0.5, 0.95)
    assert {row["verdict"] for row in flagged(place)} == {"unwanted", "wanted", ""}


def test_a_taxonomy_of_ones_own(place):
    (place / "mine.toml").write_text(
        'name = "mine"\ntemplates = ["{}"]\n[[concepts]]\nname = "a"\ntitle = "Anger & co"\nprompts = ["anger"]\n'
        '[[concepts]]\nname = "rest"\ntitle = "The rest"\nprompts = ["flower"]\nother = true\n'
    )
    call(report, "run", "-q", "--no-thumbnails", "--taxonomy", "mine.toml")
    facts = json.loads((place / "report" / "report.json").read_text(encoding="utf-8"))
    assert [concept["title"] for concept in facts["taxonomy"]["concepts"]] == ["Anger & co", "The rest"]
    assert "Anger &amp; co" in (place / "report.html").read_text(encoding="utf-8")


def test_an_encoder_that_is_gone_costs_the_concepts_alone(place):
    done = call(report, "run", "-q", "--no-thumbnails", "--model", "no-such-folder")
    assert "no concepts" in done.stderr
    facts = json.loads((place / "report" / "report.json").read_text(encoding="utf-8"))
    assert facts["taxonomy"]["concepts"] == []
    assert facts["taxonomy"]["problem"]


def test_what_makes_no_sense(place):
    with pytest.raises(UsageError, match=r"ends in `\.html`"):
        call(report, "run", "-o", "report.txt")
    with pytest.raises(UsageError, match="there is no file"):
        call(report, "run", "--verdicts", "none.csv")
    assert not (place / "report").exists()


def test_the_answer_goes_to_stdout(place):
    done = call(datasheet, "run", "-q")
    assert done.stdout.startswith("# Datasheet")
    assert "threatening, or might otherwise cause anxiety" in done.stdout
    assert list(place.iterdir()) == [place / "run"]


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")
def test_all_forms_of_the_answer(place):
    import mlcroissant

    done = call(datasheet, "run", "-q", "-o", "sheet")
    assert "datasheet.md" in done.stdout
    dataset = mlcroissant.Dataset(jsonld=str(place / "sheet" / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    figures = json.loads((place / "sheet" / "report.json").read_text(encoding="utf-8"))["figures"]
    n_flagged = next(figure["value"] for figure in figures if figure["id"] == "n_flagged")
    assert len(list(dataset.records(next(iter(dataset.metadata.record_sets)).uuid))) == n_flagged


def test_somebodys_own_card_and_croissant_are_added_to_and_never_changed(place):
    card = "---\nlicense: mit\n---\n# Mine\n\nWords of my own.\n"
    (place / "README.md").write_text(card)
    own = {"@context": {"@language": "en", "@vocab": "https://schema.org/"}, "@type": "sc:Dataset", "name": "mine"}
    (place / "own.json").write_text(json.dumps(own))
    call(datasheet, "run", "-q", "-o", "sheet", "--card", "README.md", "--croissant", "own.json")
    made = (place / "sheet" / "dataset-card.md").read_text(encoding="utf-8")
    assert "license: mit" in made
    assert "Words of my own." in made
    assert (place / "README.md").read_text() == card
    joined = json.loads((place / "sheet" / "croissant.json").read_text(encoding="utf-8"))
    assert joined["name"] == "mine"
    assert any(key.startswith("rai:") for key in joined)
    with pytest.raises(UsageError, match="no JSON"):
        call(datasheet, "run", "-q", "-o", "sheet", "--croissant", "README.md")


def test_a_card_needs_a_place(place):
    done = CliRunner().invoke(datasheet, ["run", "--card", "README.md"])
    assert done.exit_code == 2
    assert "need `-o`" in done.output
