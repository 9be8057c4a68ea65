"""What holds, from what each said."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.review.consensus import Board
from clipsieve.review.records import Choice, CurrentVerdict, VerdictRow, Voice

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEEP, REMOVE, UNSURE, UNDO = Choice.KEEP, Choice.REMOVE, Choice.UNSURE, Choice.UNDO
JUDGE = {"voice": Voice.ADJUDICATION}


def row(number, annotator, choice, *, at_s=None, image_id="a", **more):
    made = NOON + timedelta(seconds=number if at_s is None else at_s)
    return VerdictRow(f"v{number:03d}", image_id, None, annotator, choice, made, **more)


def board_of(*rows):
    board = Board()
    board.add(rows)
    return board


@pytest.mark.parametrize(
    ("choices", "unwanted", "is_disputed"),
    [
        ([REMOVE], True, False),
        ([KEEP], False, False),
        ([UNSURE], None, False),
        ([REMOVE, KEEP], None, True),
        ([REMOVE, UNSURE], None, True),
        ([UNSURE, UNSURE], None, True),
        ([REMOVE, REMOVE, KEEP], True, False),
        ([REMOVE, REMOVE, KEEP, KEEP], None, True),
        ([REMOVE, REMOVE, UNSURE, KEEP], None, True),  # half is not more than half
        ([KEEP, KEEP, UNSURE], False, False),
        ([UNSURE, UNSURE, KEEP], None, True),
    ],
)
def test_more_than_half_decide(choices, unwanted, is_disputed):
    current = board_of(*(row(number, f"p{number}", choice) for number, choice in enumerate(choices))).current("a")
    assert current.unwanted is unwanted
    assert current.is_disputed is is_disputed
    assert list(current.by_annotator.values()) == choices


def test_the_latest_of_each_counts_whenever_it_arrives():
    late, early = row(1, "Ann", KEEP, at_s=10), row(2, "Ann", REMOVE, at_s=5)
    board = board_of(late, early)
    assert board.current("a") == CurrentVerdict("a", False, {"Ann": KEEP})
    assert board.latest("a", "Ann") == late
    assert board.latest("a", "Bob") is None
    assert board.voices("a") == [late]


def test_of_two_at_one_moment_the_greater_id_counts():
    assert board_of(row(2, "Ann", KEEP, at_s=1), row(1, "Ann", REMOVE, at_s=1)).current("a").unwanted is False


def test_voices_stand_in_the_order_in_which_they_first_spoke():
    board = board_of(row(1, "Bob", KEEP), row(2, "Ann", KEEP), row(3, "Bob", REMOVE))
    assert list(board.current("a").by_annotator) == ["Bob", "Ann"]


def test_what_was_taken_back_never_counts_again():
    board = board_of(row(1, "Ann", KEEP), row(2, "Ann", REMOVE), row(3, "Ann", UNDO, undoes="v002"))
    assert board.current("a").unwanted is False  # the one before counts
    board.add([row(4, "Ann", UNDO, undoes="v003")])  # an undo cannot be taken back
    assert board.current("a").unwanted is False
    board.add([row(5, "Ann", UNDO, undoes="v001", at_s=-1)])  # whatever the clock says
    assert board.current("a") is None
    assert board.latest("a", "Ann") is None
    assert board.images_of("Ann") == set()
    assert list(board.all()) == []


def test_nobody_takes_back_what_another_said_or_what_is_said_of_another_image():
    board = board_of(
        row(1, "Ann", REMOVE),
        row(2, "Bob", UNDO, undoes="v001"),
        row(3, "Ann", UNDO, undoes="v001", image_id="b"),
        row(4, "Ann", UNDO, undoes="unknown"),
    )
    assert board.current("a").unwanted is True
    assert board.current("b") is None
    assert board.images_of("Bob") == set()


def test_an_adjudicator_settles_it_until_they_take_it_back():
    board = board_of(row(1, "Ann", KEEP), row(2, "Bob", REMOVE), row(3, "Jo", REMOVE, **JUDGE))
    settled = board.current("a")
    assert (settled.unwanted, settled.is_adjudicated, settled.adjudicator) == (True, True, "Jo")
    assert settled.by_annotator == {"Ann": KEEP, "Bob": REMOVE}
    assert not settled.is_disputed
    board.add([row(4, "Cem", KEEP), row(5, "Dee", KEEP)])
    assert board.current("a").unwanted is True  # a majority does not overrule it
    board.add([row(6, "Kim", KEEP, **JUDGE)])
    assert (board.current("a").unwanted, board.current("a").adjudicator) == (False, "Kim")
    board.add([row(7, "Kim", UNDO, undoes="v006", **JUDGE)])
    assert (board.current("a").unwanted, board.current("a").adjudicator) == (True, "Jo")
    board.add([row(8, "Jo", UNDO, undoes="v003", **JUDGE)])
    assert (board.current("a").unwanted, board.current("a").is_adjudicated) == (False, False)


def test_an_adjudicators_voice_is_not_a_reviewers():
    board = board_of(row(1, "Jo", KEEP), row(2, "Jo", UNSURE, **JUDGE))
    assert board.current("a") == CurrentVerdict("a", None, {"Jo": KEEP}, is_adjudicated=True, adjudicator="Jo")
    assert board.images_of("Jo") == {"a"}
    assert board_of(row(1, "Jo", KEEP, **JUDGE)).images_of("Jo") == set()


def test_concepts_are_those_of_the_rows_that_count():
    board = board_of(
        row(1, "Ann", KEEP, concepts=("old",)),
        row(2, "Ann", KEEP, concepts=("knife", "blood")),
        row(3, "Bob", KEEP, concepts=("knife",)),
        row(4, "Jo", KEEP, concepts=("kitchen",), **JUDGE),
    )
    assert board.current("a").concepts == ("blood", "kitchen", "knife")


def test_adding_tells_which_images_changed():
    board = Board()
    rows = [row(1, "Ann", KEEP), row(2, "Ann", KEEP, image_id="b")]
    assert board.add(rows) == {"a", "b"}
    assert board.add(rows) == set()
    assert board.add([row(3, "Ann", UNDO, undoes="v002", image_id="b")]) == {"b"}
    assert board.images_of("Ann") == {"a"}
    board.images_of("Ann").clear()
    assert board.images_of("Ann") == {"a"}  # what was given is the caller's own
    assert board.current("unknown") is None


FACTS = st.tuples(
    st.sampled_from("AB"), st.sampled_from(Choice), st.integers(0, 3), st.integers(0, 14), st.sampled_from("ab"),
    st.sampled_from(Voice),
)  # fmt: skip
HISTORIES = st.lists(FACTS, max_size=14)


def rows_of(history):
    return [
        row(
            number, who, choice, at_s=at_s, undoes=f"v{undoes:03d}" if choice is UNDO else None, image_id=image_id,
            voice=voice, concepts=(f"c{number}",),
        )
        for number, (who, choice, at_s, undoes, image_id, voice) in enumerate(history)
    ]  # fmt: skip


def seen(board):
    return [
        (board.current(image_id), list((board.current(image_id) or CurrentVerdict("", None, {})).by_annotator),
         board.voices(image_id), [board.latest(image_id, name) for name in "AB"])
        for image_id in "ab"
    ] + [board.images_of(name) for name in "AB"]  # fmt: skip


@given(HISTORIES, st.lists(st.integers(0, 13), max_size=5), st.randoms(use_true_random=False))
def test_any_order_and_any_doubling_give_the_same_board(history, again, order):
    rows = rows_of(history)
    doubled = rows + [rows[number] for number in again if number < len(rows)]
    order.shuffle(doubled)
    at_once, one_by_one = board_of(*rows), Board()
    for one in doubled:
        one_by_one.add([one])
    assert seen(one_by_one) == seen(at_once)
    assert sorted(map(repr, one_by_one.all())) == sorted(map(repr, at_once.all()))


@given(HISTORIES)
def test_the_board_agrees_with_a_plain_reading_of_the_rules(history):
    rows = rows_of(history)
    board = board_of(*rows)
    for image_id in "ab":
        about = [one for one in rows if one.image_id == image_id]
        undone = {(one.undoes, one.annotator) for one in about if one.choice is UNDO}
        counting = [one for one in about if one.choice is not UNDO and (one.verdict_id, one.annotator) not in undone]
        latest = {}
        for one in sorted(counting, key=lambda one: (one.made, one.verdict_id)):
            latest[one.voice, one.annotator] = one.choice
            latest[one.voice] = one.choice
        reviews = {name: latest[Voice.REVIEW, name] for name in "AB" if (Voice.REVIEW, name) in latest}
        decided = latest.get(Voice.ADJUDICATION) or next(
            (choice for choice in (KEEP, REMOVE) if list(reviews.values()).count(choice) * 2 > len(reviews)), UNSURE
        )
        current = board.current(image_id)
        assert (current is None) == (not counting)
        if current:
            assert current.by_annotator == reviews
            assert current.unwanted is {KEEP: False, REMOVE: True, UNSURE: None}[decided]
        assert {name for name in "AB" if image_id in board.images_of(name)} == set(reviews)
