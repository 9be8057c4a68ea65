"""What is asked of the embedded model: names, affect in words, free text, a drawing style it never saw."""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from benchmarks._pictogram_model import ShippedModel
from clipsieve.demo import load_pictograms, write_demo_data
from clipsieve.demo.compose import compose
from clipsieve.demo.dataset import Scene, draw_scene
from clipsieve.demo.split import is_reserved
from clipsieve.demo.sprites import STYLES, drawn_in
from clipsieve.demo.table import UNWANTED_BELOW, WANTED_ABOVE, mean_rating

__all__ = ["PROMPTS", "area_under_roc", "demo_figures", "free_text", "names_found", "zero_shot"]

PROMPTS = ("This image is about something negative", "This image is about something positive")
NAME_TEMPLATE = "a picture of {}"
_FACE_KINDS = {"happiness", "sadness", "fear", "anger", "monster"}
_N_SCENES = 1000


def area_under_roc(score: Float[np.ndarray, "n"], positive: Bool[np.ndarray, "n"]) -> float:
    """Return the share of (positive, negative) pairs in the right order; ties count half."""
    higher = np.sort(score[~positive])
    below, upto = np.searchsorted(higher, score[positive]), np.searchsorted(higher, score[positive], side="right")
    return float((below + upto).mean() / 2 / len(higher))


def _draw(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    height, width = (int(side) for side in rng.integers(96, 161, 2))
    return compose(rng, scene.members, scene.style, height_px=height, width_px=width)


def names_found(model: ShippedModel, styles: tuple[str, ...] = STYLES, seed: int = 1) -> dict[str, object]:
    """Return recall at 1 and 5 of the right name among all names, one fresh picture for each pictogram and style."""
    rng, table = np.random.default_rng(seed), load_pictograms()
    scenes = [Scene((i,), style) for style in styles for i in sorted(drawn_in(style))]
    images = model.encode_images([_draw(rng, scene) for scene in scenes])
    similarity = images @ model.encode_texts([NAME_TEMPLATE.format(p.name) for p in table]).T
    truth = np.array([scene.members[0] for scene in scenes])
    rank = (similarity > similarity[np.arange(len(truth)), truth][:, None]).sum(1)
    new = np.array([is_reserved(scene.members, scene.style) for scene in scenes])
    style_of = np.array([scene.style for scene in scenes])
    parts = {"all": np.ones(len(rank), bool), "reserved": new} | {style: style_of == style for style in styles}
    return {"n_names": len(table)} | {
        name: {"n": int(part.sum()), "r1": float((rank[part] < 1).mean()), "r5": float((rank[part] < 5).mean())}
        for name, part in parts.items()
        if part.any()
    }


def _affect(margin: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    return {
        "n": len(wanted),
        "wanted_share": float(wanted.mean()),
        "accuracy": float(((margin > 0) == wanted).mean()),
        "balanced_accuracy": float(((margin > 0)[wanted].mean() + (margin <= 0)[~wanted].mean()) / 2),
        "auc": area_under_roc(margin, wanted),
    }


def _margin(model: ShippedModel, images: np.ndarray, prompts: tuple[str, str]) -> np.ndarray:
    unwanted, wanted = model.encode_texts(prompts)
    return images @ (wanted - unwanted)


def zero_shot(
    model: ShippedModel, group: str, pairs: tuple[tuple[str, str], ...], styles: tuple[str, ...] = STYLES, seed: int = 2
) -> list[dict[str, object]]:
    """Return, for each pair of prompts, how well it tells wanted from unwanted pictures in compositions not trained on.

    1,000 pictures with at least one pictogram of the group, neutral ones beside it, whose mean rating in the table is
    below 2.5 or above 3.5; the decision is for the higher cosine.
    """
    rng, scenes = np.random.default_rng([seed, ord(group)]), []
    while len(scenes) < _N_SCENES:
        scene = draw_scene(rng, group=group, styles=styles)
        clear = not UNWANTED_BELOW <= mean_rating(scene.members) <= WANTED_ABOVE
        if clear and any(load_pictograms()[i].group == group for i in scene.members):
            scenes.append(scene)
    images = model.encode_images([_draw(rng, scene) for scene in scenes])
    wanted = np.array([mean_rating(scene.members) > WANTED_ABOVE for scene in scenes])
    faceless = np.array([not any(_is_face(i) for i in scene.members) for scene in scenes])
    figures = []
    for prompts in pairs:
        margin = _margin(model, images, prompts)
        figures.append({**_affect(margin, wanted), "without_faces": _affect(margin[faceless], wanted[faceless])})
    return figures


def _is_face(index: int) -> bool:
    pictogram = load_pictograms()[index]
    return pictogram.kind in _FACE_KINDS or "face" in pictogram.name or "cat" in pictogram.name.split()


def _read_demo(seed: int) -> tuple[list[dict[str, str]], list[np.ndarray]]:
    with TemporaryDirectory() as folder:
        data = write_demo_data(Path(folder) / "demo", seed=seed)
        with data.ratings_path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return rows, [np.asarray(Image.open(data.directory / row["file"]).convert("RGB")) for row in rows]


def demo_figures(model: ShippedModel, seed: int = 0) -> tuple[dict[str, object], list[dict[str, str]], np.ndarray]:
    """Return the figures of the demo data set by group, with its rows and embeddings; its own ratings decide."""
    rows, pictures = _read_demo(seed)
    images = model.encode_images(pictures)
    margin = _margin(model, images, PROMPTS)
    rating = np.array([float(row["valence_mean"]) for row in rows])
    group = np.array([row["group"] for row in rows])
    clear = (rating < UNWANTED_BELOW) | (rating > WANTED_ABOVE)
    wanted = rating > WANTED_ABOVE
    parts = {"all": clear, "A": clear & (group == "A"), "B": clear & (group == "B")}
    return {name: _affect(margin[part], wanted[part]) for name, part in parts.items()}, rows, images


def free_text(
    model: ShippedModel, rows: list[dict[str, str]], images: np.ndarray, searches_path: Path
) -> dict[str, object]:
    """Return the mean precision among the first ten answers to searches in words that no caption used as a whole."""
    table = load_pictograms()
    shown = [set(row["pictograms"].split(" + ")) for row in rows]
    precision, chance = [], []
    searches = tomllib.loads(searches_path.read_text())["search"]
    for search in searches:
        kinds, names = search.get("kinds", ()), search.get("names", ())
        right = {p.name for p in table if p.kind in kinds or p.name in names}
        answers = np.array([bool(right & names_shown) for names_shown in shown])
        best = np.argsort(-(images @ model.encode_texts([search["query"]])[0]), kind="stable")[:10]
        precision.append(answers[best].mean())
        chance.append(answers.mean())
    return {
        "n_searches": len(searches),
        "precision_at_10": float(np.mean(precision)),
        "by_chance": float(np.mean(chance)),
    }
