"""Prompt sets: the built-in ones, and how words become a classifier."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from clipsieve.classifiers import (
    PromptClass,
    PromptSet,
    build_zero_shot,
    builtin_prompt_set,
    builtin_prompt_set_text,
    builtin_prompt_sets,
    load_prompt_set,
)
from clipsieve.classifiers.prompt_files import parse_prompt_set
from clipsieve.errors import EmbeddingError
from clipsieve.types import EncoderIdentity, Preprocessing

D = 12
IDENTITY = EncoderIdentity("tiny", "a" * 64, Preprocessing(8, "shortest", "bicubic", (0.5,) * 3, (0.5,) * 3), "fp32", D)


def vector(text):
    """Return a direction that only depends on the text, in float64."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    values = np.random.default_rng(seed).normal(size=D)
    return values / np.linalg.norm(values)


def encode(texts):
    return np.array([vector(text) for text in texts], dtype=np.float32).reshape(len(texts), D)


def prompt_set(classes, templates=("{}",)):
    made = tuple(PromptClass(name, tuple(prompts), unwanted) for name, prompts, unwanted in classes)
    return PromptSet("mine", "", "", tuple(templates), made)


TWO_UNWANTED = prompt_set(
    [("fine", ["a meadow", "a cake"], False), ("rude", ["an insult"], True), ("cruel", ["a trap", "a whip"], True)],
    ["{}", "a drawing of {}", "{} from afar"],
)


def naive_class(prompts, templates):
    """Return the mean over prompts and templates, step by step, at unit norm."""
    total, n = np.zeros(D), 0
    for prompt in prompts:
        for template in templates:
            before, after = template.split("{}")
            total += vector(before + prompt + after)
            n += 1
    return (total / n) / np.linalg.norm(total / n)


def test_a_class_is_the_mean_over_its_prompts_in_all_templates():
    classifier = build_zero_shot(TWO_UNWANTED, encode, identity=IDENTITY, logit_scale=20.0)
    for row, c in zip(classifier.class_embeddings, TWO_UNWANTED.classes, strict=True):
        np.testing.assert_allclose(row, naive_class(c.prompts, TWO_UNWANTED.templates), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(classifier.class_embeddings, axis=1), 1, atol=1e-6)


def test_each_prompt_counts_alike_however_long_its_embedding():
    def shouting(texts):
        return encode(texts) * np.array([[3.0 if "cake" in text else 1.0] for text in texts], dtype=np.float32)

    plain = build_zero_shot(TWO_UNWANTED, encode, identity=IDENTITY)
    loud = build_zero_shot(TWO_UNWANTED, shouting, identity=IDENTITY)
    np.testing.assert_allclose(plain.class_embeddings, loud.class_embeddings, atol=1e-6)


def test_two_unwanted_classes_add_up():
    classifier = build_zero_shot(TWO_UNWANTED, encode, identity=IDENTITY, logit_scale=20.0)
    images = encode([f"image {i}" for i in range(40)])
    logits = (
        20
        * images.astype(np.float64)
        @ np.stack([naive_class(c.prompts, TWO_UNWANTED.templates) for c in TWO_UNWANTED.classes]).T
    )
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = classifier.predict_proba(images)
    np.testing.assert_allclose(found[:, 1], shares[:, 1] + shares[:, 2], atol=1e-5)
    np.testing.assert_allclose(found[:, 0], shares[:, 0], atol=1e-5)


def test_the_classifier_knows_where_it_comes_from():
    classifier = build_zero_shot(TWO_UNWANTED, encode, identity=IDENTITY, logit_scale=20.0)
    assert classifier.class_names == ("fine", "rude", "cruel")
    assert classifier.unwanted == (False, True, True)
    assert (classifier.encoder_name, classifier.encoder_weights_sha256) == ("tiny", "a" * 64)
    assert (classifier.logit_scale, classifier.threshold) == (20.0, 0.5)
    assert classifier.provenance["prompt_set"] == "mine"
    assert classifier.provenance["templates"] == ["{}", "a drawing of {}", "{} from afar"]
    assert classifier.provenance["prompts"]["cruel"] == ["a trap", "a whip"]


def test_prompts_that_cancel_each_other_are_refused():
    def opposite(texts):
        return np.array([[1.0, 0.0] if "left" in text else [-1.0, 0.0] for text in texts], dtype=np.float32)

    both = prompt_set([("ways", ["left", "right"], False), ("one", ["left again"], True)])
    with pytest.raises(EmbeddingError, match="cannot be normalized"):
        build_zero_shot(both, opposite, identity=IDENTITY)


def test_braces_in_a_prompt_are_only_text():
    odd = prompt_set([("a", ["{}", "{0} {name}"], False), ("b", ["%s"], True)], ["see {}"])
    assert odd.texts(odd.classes[0]) == ["see {}", "see {0} {name}"]
    assert odd.texts(odd.classes[1]) == ["see %s"]


# The built-in sets


def test_there_are_four_built_in_sets_and_the_papers_comes_first():
    names = [found.name for found in builtin_prompt_sets()]
    assert names == ["positive-negative", "offensive", "pleasant-unpleasant", "praiseworthy-blameworthy"]


def test_the_papers_words_are_exactly_the_papers():
    found = builtin_prompt_set("positive-negative")
    assert [found.texts(c) for c in found.classes] == [
        ["This image is about something positive"],
        ["This image is about something negative"],
    ]
    assert [c.unwanted for c in found.classes] == [False, True]


@pytest.mark.parametrize("found", builtin_prompt_sets(), ids=lambda found: found.name)
def test_every_built_in_set_explains_itself_and_makes_a_classifier(found, tmp_path):
    assert found.description.endswith("?")
    assert found.source
    assert re.fullmatch(r"[a-z-]+", found.name)
    texts = [text for c in found.classes for text in found.texts(c)]
    assert len(set(texts)) == len(texts)
    classifier = build_zero_shot(found, encode, identity=IDENTITY)
    assert classifier.predict_proba(encode(["a", "b"])).shape == (2, 2)


@pytest.mark.parametrize("name", [found.name for found in builtin_prompt_sets()])
def test_what_is_shown_reads_back_as_the_same_set(name, tmp_path):
    path = tmp_path / f"{name}.toml"
    path.write_text(builtin_prompt_set_text(name), encoding="utf-8")
    assert load_prompt_set(path) == builtin_prompt_set(name)


def test_the_offensive_set_covers_the_definition():
    (_, offensive) = builtin_prompt_set("offensive").classes
    said = " ".join(offensive.prompts)
    for kind in (
        "law",
        "regulation",
        "code of conduct",
        "defamatory",
        "false",
        "abusive",
        "indecent",
        "obscene",
        "menacing",
    ):
        assert kind in said


# The documentation

GUIDE = Path(__file__).parents[2] / "docs/guides/prompts.md"


def test_the_file_in_the_guide_is_a_prompt_set():
    (text,) = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    found = parse_prompt_set(text, where="the guide", name="guide")
    assert [c.name for c in found.classes] == ["peaceful", "menacing"]


def test_the_guide_describes_every_key():
    keys = set(
        re.findall(r"`([a-z.]+)`", "".join(re.findall(r"^\| (`[^|]*) \|", GUIDE.read_text("utf-8"), re.MULTILINE)))
    )
    assert keys == {
        "name", "description", "source", "templates", "classes", "classes.name", "classes.prompts", "classes.unwanted",
    }  # fmt: skip
