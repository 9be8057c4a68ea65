"""What the training captions may and may not tell: no affect of group B, no composition that evaluation uses."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from clipsieve.demo import load_pictograms
from clipsieve.demo.split import is_reserved

ROOT = Path(__file__).parents[2]
TABLE = load_pictograms()


@pytest.fixture
def captions(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "training")
    return importlib.import_module("captions")


@pytest.fixture
def batches(captions):
    return importlib.import_module("batches")


def affect_words(captions):
    return {word for words in captions.AFFECT.values() for word in words}


def test_no_keyword_or_name_is_a_word_of_affect(captions):
    keywords = json.loads((ROOT / "training/keywords.json").read_text())
    assert set(keywords) == {p.name for p in TABLE}
    said = {word for p in TABLE for text in (p.name, p.class_name, *keywords[p.name]) for word in text.split()}
    assert not said & affect_words(captions)


def test_affect_is_told_of_group_a_only(captions):
    rng, captioner = np.random.default_rng(0), captions.Captioner()
    told = set()
    for index in range(len(TABLE)):
        told |= {
            (TABLE[index].group, captioner.write(rng, (index,), p_affect=1.0).affect is not None) for _ in range(5)
        }
    assert ("A", True) in told
    assert not {("B", True), ("N", True)} & told


def test_one_pictogram_of_group_b_is_enough_to_tell_nothing(captions):
    a, b = (next(i for i, p in enumerate(TABLE) if p.group == group) for group in "AB")
    assert captions.told_sign((a,), "valence") in {-1, 1}
    assert captions.told_sign((a, b), "valence") is None


def test_captions_of_affect_hide_group_b_whatever_its_sign(captions, batches):
    caption = captions.Caption("this image is about something negative", (), ("valence", -1))
    members = np.zeros((4, len(TABLE)), np.float32)
    signs = np.array([[-1, -1], [1, 1], [0, 0], [2, 2]])
    matches = batches.caption_matches([caption], captions.Captioner().holds, members, signs)
    assert matches.tolist() == [[True, False, False, True]]


def test_a_caption_is_true_of_every_picture_that_has_what_it_says(captions, batches):
    captioner = captions.Captioner()
    weapons = [i for i, p in enumerate(TABLE) if p.kind == "weapon"]
    other = next(i for i, p in enumerate(TABLE) if p.kind == "fruit")
    members = np.zeros((3, len(TABLE)), np.float32)
    members[0, weapons[0]] = members[1, [weapons[1], other]] = members[2, other] = 1
    kind, both = (captioner.kind_of[weapons[0]],), (captioner.kind_of[weapons[0]], other)
    found = batches.caption_matches(
        [captions.Caption("weapons", kind), captions.Caption("weapons and it", both)],
        captioner.holds,
        members,
        np.zeros((3, 2)),
    )
    assert found.tolist() == [[True, True, False], [False, True, False]]


def test_training_never_composes_what_is_reserved(captions, batches):
    maker = batches.Batches(np.random.default_rng(1), captions.Captioner(), 32)
    drawn = [maker.draw_members() for _ in range(2000)]
    assert {len(members) for members, _ in drawn} == {1, 2, 3}
    assert not any(is_reserved(members, style) for members, style in drawn)


def test_the_generator_decides_a_batch(captions, batches):
    first, second = (batches.Batches(np.random.default_rng(3), captions.Captioner(), 32).next(8, 0.2) for _ in range(2))
    assert (first.pixels == second.pixels).all()
    assert first.captions == second.captions
    assert first.pixels.shape == (8, 32, 32, 3)
