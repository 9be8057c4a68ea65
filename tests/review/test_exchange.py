"""Verdicts as files: nothing is lost, nothing is added twice, nothing is half."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.engines import read_image_verdicts
from clipsieve.errors import UsageError
from clipsieve.review.consensus import Board
from clipsieve.review.exchange import import_verdicts, read_verdict_file, verdicts_as_text
from clipsieve.review.keys import run_key
from clipsieve.review.label_studio import read_label_studio, write_label_studio
from clipsieve.review.ledger import open_ledger
from clipsieve.review.records import Choice, VerdictRow, Voice
from clipsieve.review.verdict_csv import read_csv, write_csv, write_current_csv
from scored_runs import write_scored_run
from verdict_rows import row

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
ODD = st.sampled_from(
    ["two\nlines", 'a "quoted" name', "\u202eevil", "=1+1", "+1", "-1", "@x", "a\r\nb", "\r", "🙂", "x" * 10_000]
)
WITHOUT_NUL = (TEXT | ODD).filter(lambda text: "\0" not in text)  # which tables of verdicts do not hold
NAMES = TEXT | ODD.filter(lambda text: len(text) <= 80)
FRACTIONS = st.floats(0, 1)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


FIELDS_DRAWN = st.fixed_dictionaries(
    {
        "verdict_id": st.uuids().map(str),
        "image_id": TEXT | ODD,
        "sha256": st.none() | st.just("ab" * 32),
        "annotator": NAMES,
        "choice": st.sampled_from(list(Choice)),
        "made": TIMES,
        "voice": st.sampled_from(list(Voice)),
        "concepts": st.lists(TEXT, max_size=2).map(tuple),
        "note": st.just("") | NAMES | st.just("n" * 2000),
        "guideline": st.just("") | NAMES,
        "classifier": st.none() | NAMES,
        "score": st.none() | FRACTIONS,
        "duration_s": st.none() | st.floats(0, 1e6),
        "queue": st.none() | st.just("audit"),
        "group_id": st.none() | NAMES,
    }
)
SEVERAL = st.lists(FIELDS_DRAWN, max_size=4, unique_by=lambda each: each["verdict_id"])


@settings(max_examples=60)
@given(SEVERAL)
def test_every_row_comes_back_as_it_was(drawn):
    # Made here: the checks of types ask for random numbers, which a strategy must not.
    rows = [VerdictRow(**each, undoes="x" if each["choice"] is Choice.UNDO else None) for each in drawn]
    assert read_csv(write_csv(rows), name="v.csv") == rows
    again = read_label_studio(write_label_studio(rows), name="v.json")
    assert sorted(again, key=lambda each: each.verdict_id) == sorted(rows, key=lambda each: each.verdict_id)


@settings(max_examples=40)
@given(
    st.dictionaries(
        (TEXT | ODD).filter(lambda text: "\0" not in text),
        st.sampled_from(["keep", "remove", "unsure"]),
        min_size=1,
        max_size=4,
    )
)
def test_one_line_for_each_image_is_what_other_commands_read(tmp_path_factory, said):
    board = Board()
    board.add(row(image_id, choice) for image_id, choice in said.items())
    path = tmp_path_factory.mktemp("current") / "v.csv"
    path.write_text(write_current_csv(board.all()), encoding="utf-8", newline="")
    found = read_image_verdicts(path).by_image
    words = {"keep": False, "remove": True, "unsure": None}
    assert {image_id: v.unwanted for image_id, v in found.items()} == {i: words[choice] for i, choice in said.items()}
    assert all(v.annotators == ("Ann",) for v in found.values())


@pytest.fixture
def run(tmp_path):
    return write_scored_run(tmp_path / "run", [0.9, 0.1, 0.4], threshold=0.5)


@pytest.fixture
def ledger(run):
    with open_ledger(run.path / "verdicts.db", run_key(run)) as opened:
        yield opened


def bring(run, ledger, path, **told):
    return import_verdicts(run, ledger, read_verdict_file(path, **told), name=path.name)


@pytest.mark.parametrize("form", ["csv", "label-studio"])
def test_a_ledger_moves_to_another_place_once_and_as_a_whole(run, ledger, tmp_path, form):
    taken = row("0001.png", "remove", "Bea", note="-1", concepts=("weapons",), duration_s=1.5)
    rows = [row("0000.png", "keep"), taken, row("0001.png", "undo", "Bea", at=1, undoes=taken.verdict_id)]
    ledger.append(rows)
    path = tmp_path / "file"
    text, n = verdicts_as_text(run, ledger, form=form)
    path.write_text(text, encoding="utf-8", newline="")
    assert n == 3
    with open_ledger(tmp_path / "other.db", run_key(run)) as other:
        first, second = (bring(run, other, path) for _ in range(2))
        assert (first.n_rows, first.n_new, first.n_images, second.n_new) == (3, 3, 2, 0)
        assert [each for _, each in other.rows()] == rows
    assert bring(run, ledger, path).n_new == 0


def test_a_table_without_ids_adds_nothing_the_second_time(run, ledger, tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("image_id;verdict;annotator\n0000.png;Remove;Ann\n0001.png;;Ann\n0002.png;0;\n")
    with pytest.raises(UsageError, match=r"line 4: it does not say who") as refusal:
        bring(run, ledger, path)
    assert "--annotator" in str(refusal.value.hint)
    assert [bring(run, ledger, path, annotator="Bea").n_new for _ in range(2)] == [2, 0]
    said = [(each.image_id, each.choice, each.annotator, each.queue) for _, each in ledger.rows()]
    assert said == [("0000.png", Choice.REMOVE, "Ann", "import"), ("0002.png", Choice.KEEP, "Bea", "import")]


def test_images_of_another_run_are_refused_and_nothing_is_half(run, ledger, tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("image_id,verdict,annotator\n0000.png,keep,Ann\n./0001.png,keep,Ann\nother.png,keep,Ann\n")
    with pytest.raises(UsageError, match="not in the run") as refusal:
        bring(run, ledger, path)
    assert "2 of 3 images are not there" in str(refusal.value)
    assert ledger.rows() == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"choice": "maybe"}, "`choice` is none of the known words"),
        ({"score": "1.5"}, "`score` makes no sense"),
        ({"score": "nan"}, "`score` makes no sense"),
        ({"duration_s": "-1"}, "`duration_s` makes no sense"),
        ({"made": "yesterday"}, "`made` is no time"),
        ({"annotator": "x" * 81}, "`annotator` is too long"),
        ({"note": "x" * 2001}, "`note` is too long"),
        ({"undoes": "abc"}, "`undoes` names the row"),
        ({"concepts": "weapons"}, "`concepts` is no list of names"),
        ({"concepts": "[" * 100_000}, "`concepts` is no list of names"),
        ({"verdict_id": ""}, "`verdict_id` is empty"),
        ({"image_id": ""}, "`image_id` is empty"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(change, words):
    from clipsieve.review.verdict_fields import FIELDS, texts_of

    texts = texts_of(row("a.png", "keep")) | change
    cells = ",".join('"' + texts[name].replace('"', '""') + '"' for name in FIELDS)
    with pytest.raises(UsageError, match=f"`v.csv`, line 2: {words}"):
        read_csv(f"{','.join(FIELDS)}\n{cells}\n", name="v.csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no table of verdicts"),
        ("a,b\n1,2\n", "no table of verdicts"),
        ("image_id,verdict,verdict\n", "two columns of one name"),
        ("image_id,verdict\na\n", "number of values"),
        ('image_id,verdict\n"a,keep\n', "is no CSV file"),
        ("image_id,verdict\na,perhaps\n", "none of the known words"),
        ("[1]", "no export of Label Studio"),
        ("{}", "no export of Label Studio"),
        ("[{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('[{"id": 1, "choice": "keep"}]', "no `data`"),
        ('[{"data": {}, "annotations": [3]}]', "is no table"),
        ('[{"data": {"id": 1}, "annotations": [{"result": [{"type": "choices", "value": 3}]}]}]', "a result is not"),
        ('[{"data": {}, "annotations": [{"clipsieve": {"score": 1}}]}]', "no table of texts"),
    ],
)
def test_a_file_that_is_none_of_both_is_refused_in_words(tmp_path, text, words):
    (tmp_path / "file").write_text(text)
    with pytest.raises(UsageError, match=words):
        read_verdict_file(tmp_path / "file")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"image_id,verdict\n\xff,keep\n")
    with pytest.raises(UsageError, match="no text in UTF-8"):
        read_verdict_file(tmp_path / "file")
    with pytest.raises(UsageError, match="there is no file"):
        read_verdict_file(tmp_path / "none")


def annotation(choices, **facts):
    """Return an annotation as Label Studio 1.x exports it."""
    region = {"id": "Dx_aB91ISN", "from_name": "sentiment", "to_name": "img", "type": "choices", "origin": "manual"}
    given = {
        "id": 1001,
        "completed_by": 10,
        "result": [region | {"value": {"choices": choices}}],
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2021-03-09T22:16:08.728353Z",
        "updated_at": "2021-03-09T22:16:08.728378Z",
        "draft_created_at": None,
        "lead_time": 4.288,
        "prediction": {},
        "result_count": 1,
        "unique_id": "8a5a6b1c-93a2-4b41-8d7d-0ac4a2b4a111",
        "task": 1,
        "project": 83,
    }
    return given | facts


def exported(*annotations, **data):
    task = {"id": 1, "created_at": "2021-03-09T21:52:49.513742Z", "project": 83, "predictions": []}
    return json.dumps(
        [task | {"data": {"image": "https://example.com/1.jpg"} | data, "annotations": list(annotations)}]
    )


def test_an_export_of_label_studio_is_read():
    mail = {"id": 3, "email": "bea@example.com", "first_name": "Bea", "last_name": "B"}
    text = exported(
        annotation(["Remove"]),
        annotation(["keep"], completed_by=mail, unique_id=None, id=1002),
        annotation(["keep"], was_cancelled=True),
        annotation([], result=[]),
        image_id="0000.png",
    )
    first, second = read_label_studio(text, name="v.json")
    assert (first.image_id, first.choice, first.annotator) == ("0000.png", Choice.REMOVE, "label-studio-10")
    assert (first.verdict_id, first.duration_s) == ("8a5a6b1c-93a2-4b41-8d7d-0ac4a2b4a111", 4.288)
    assert first.made == datetime(2021, 3, 9, 22, 16, 8, 728353, UTC)
    assert (second.annotator, second.choice) == ("bea@example.com", Choice.KEEP)
    assert [each.verdict_id for each in read_label_studio(text, name="again.json")] == [
        first.verdict_id,
        second.verdict_id,
    ]
    assert read_label_studio(text, name="v.json", annotator="Ann")[0].annotator == "Ann"


def test_which_image_a_task_is_about_can_be_told():
    text = exported(annotation(["keep"]), name="0001.png")
    with pytest.raises(UsageError, match="does not say which image") as refusal:
        read_label_studio(text, name="v.json")
    assert "--id-key" in str(refusal.value.hint)
    assert read_label_studio(text, name="v.json", id_key="name")[0].image_id == "0001.png"
    assert read_label_studio(exported(annotation(["keep"]), id=7), name="v.json")[0].image_id == "7"


@pytest.mark.parametrize("words", [["cat"], ["keep", "remove"], ["cat", "dog"]])
def test_choices_that_say_neither_are_refused(words):
    with pytest.raises(UsageError, match="1 annotations in `v.json` say neither".replace(".", r"\.")):
        read_label_studio(exported(annotation(words), image_id="a"), name="v.json")
    with_other = read_label_studio(exported(annotation(["cat", "keep"]), image_id="a"), name="v.json")
    assert [each.choice for each in with_other] == [Choice.KEEP]


def test_what_was_taken_back_is_cancelled_for_label_studio(run, ledger):
    taken = row("0001.png", "remove")
    ledger.append([taken, row("0001.png", "undo", at=1, undoes=taken.verdict_id), row("0001.png", "keep", at=2)])
    (task,) = json.loads(verdicts_as_text(run, ledger, form="label-studio")[0])
    assert [each["was_cancelled"] for each in task["annotations"]] == [True, True, False]
    assert task["data"] == {"image": "0001.png", "image_id": "0001.png", "sha256": None}  # no path of this machine
    for each in task["annotations"]:
        del each["clipsieve"]  # as it comes back from Label Studio
    (found,) = read_label_studio(json.dumps([task]), name="v.json")
    assert (found.choice, found.annotator, found.verdict_id) == (
        Choice.KEEP,
        "Ann",
        task["annotations"][2]["unique_id"],
    )


def test_half_of_a_surrogate_pair_is_no_image(run, ledger, tmp_path):
    (tmp_path / "v.json").write_text(exported(annotation(["keep"]), image_id="\ud800"))
    with pytest.raises(UsageError, match="not in the run"):
        bring(run, ledger, tmp_path / "v.json")


def test_two_rows_of_one_id_that_differ_are_refused(run, ledger):
    rows = [row("0000.png", "keep", verdict_id="x"), row("0001.png", "keep", verdict_id="x")]
    with pytest.raises(UsageError, match="have the id 'x'"):
        import_verdicts(run, ledger, rows, name="v.csv")
