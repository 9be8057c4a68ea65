"""Write the pictogram data set: class folders, ratings, and a few files that are broken on purpose."""

from __future__ import annotations

import csv
import functools
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from clipsieve.demo.compose import compose
from clipsieve.demo.ratings import COLUMNS, group_of, rate
from clipsieve.demo.split import is_reserved, tuning_part
from clipsieve.demo.sprites import STYLES, drawn_in
from clipsieve.demo.table import load_pictograms
from clipsieve.errors import RunConflictError, UsageError

__all__ = ["DemoData", "Scene", "draw_scene", "write_demo_data"]

_GROUPS = {"A": ("A", "N"), "B": ("B", "N"), "any": ("A", "B", "N")}
_SIZES = (0.45, 0.35, 0.2)  # the shares of one, two and three pictograms
_FORMATS: dict[str, tuple[str, dict[str, int]]] = {
    "png": ("PNG", {"compress_level": 3}),
    "jpg": ("JPEG", {"quality": 90}),
    "webp": ("WEBP", {"quality": 90, "method": 2}),
}


@dataclass(frozen=True, slots=True)
class DemoData:
    """What was written.

    Attributes
    ----------
    directory : Path
        Holds one folder for each class and the ratings.
    ratings_path : Path
        `ratings.csv`, one row for each good image.
    n_images, n_broken, n_classes : int
        Good images, files broken on purpose, class folders.
    """

    directory: Path
    ratings_path: Path
    n_images: int
    n_broken: int
    n_classes: int


@dataclass(frozen=True, slots=True)
class Scene:
    """Which pictograms (positions in the table) a picture shows, and in which style."""

    members: tuple[int, ...]
    style: str

    @property
    def class_name(self) -> str:
        """The class of the first pictogram."""
        return load_pictograms()[self.members[0]].class_name


def draw_scene(rng: np.random.Generator, *, group: str = "any", styles: tuple[str, ...] = STYLES) -> Scene:
    """Return a composition that training never saw (:func:`clipsieve.demo.split.is_reserved`).

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides the composition.
    group : {"any", "A", "B"}
        Which pictograms may occur beside neutral ones.
    styles : tuple of str
        The drawing styles to choose from.
    """
    table, n = load_pictograms(), int(rng.choice(3, p=_SIZES)) + 1
    while True:
        style = styles[int(rng.integers(len(styles)))]
        pool = _pool(style, group)
        first = pool[int(rng.integers(len(pool)))]
        near = _pool(style, group, table[first].kind)
        pools = [near if rng.random() < 0.5 else pool for _ in range(n - 1)]
        others = [members[int(rng.integers(len(members)))] for members in pools]
        members = tuple(dict.fromkeys((first, *others)))
        if len(members) == n and is_reserved(members, style):
            return Scene(members, style)


@functools.cache
def _pool(style: str, group: str, kind: str | None = None) -> tuple[int, ...]:
    """Return the positions of the pictograms that a style has, of some groups and perhaps one kind."""
    table = load_pictograms()
    return tuple(
        i for i in sorted(drawn_in(style)) if table[i].group in _GROUPS[group] and kind in (None, table[i].kind)
    )


def write_demo_data(directory: Path, *, n_images: int = 1200, seed: int = 0) -> DemoData:
    """Draw the pictogram data set into a new or empty folder, the same files for the same seed.

    Pictures of 96 to 160 pixels in PNG, JPEG and WebP, one folder for each class; `ratings.csv` in the columns of
    SMID's norms file (Crone et al. 2018, doi:10.1371/journal.pone.0190954) and a few more; three broken files that
    have no rating.

    Parameters
    ----------
    directory : Path
        Where to write; made if it is missing.
    n_images : int, default=1200
        Good pictures. >= 1.
    seed : int, default=0
        Decides everything. >= 0.

    Returns
    -------
    DemoData
        Counts and paths.

    Raises
    ------
    UsageError
        If `n_images` or `seed` is out of range.
    RunConflictError
        If the folder holds anything, or is a file; nothing is written.
    """
    _check(directory, n_images, seed)
    directory.mkdir(parents=True, exist_ok=True)
    rows = [_write_image(directory, seed, index) for index in range(n_images)]
    ratings_path = directory / "ratings.csv"
    with ratings_path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    n_broken = _write_broken(directory, rows[0]["file"])
    n_classes = sum(path.is_dir() for path in directory.iterdir())
    return DemoData(directory, ratings_path, n_images, n_broken, n_classes)


def _check(directory: Path, n_images: int, seed: int) -> None:
    if n_images < 1 or seed < 0:
        raise UsageError(
            "the demo data set cannot be drawn so",
            expected="n_images >= 1 and seed >= 0",
            found=f"n_images = {n_images}, seed = {seed}",
            state="nothing was written",
        )
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise RunConflictError(
            f"`{directory}` is not empty",
            expected="a new or empty folder",
            found="other files" if directory.is_dir() else "a file",
            state="nothing was written",
            hint="name another folder, or remove this one first",
        )


def _write_image(directory: Path, seed: int, index: int) -> dict[str, str]:
    rng = np.random.default_rng([seed, index])
    scene = draw_scene(rng, group=("A", "B", "any")[int(rng.choice(3, p=[0.4, 0.4, 0.2]))])
    height, width = (int(side) for side in rng.integers(96, 161, 2))
    pixels = compose(rng, scene.members, scene.style, height_px=height, width_px=width)
    suffix, (pillow_name, options) = list(_FORMATS.items())[int(rng.integers(len(_FORMATS)))]
    name = f"pictogram_{index:05d}"
    path = directory / scene.class_name / f"{name}.{suffix}"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path, pillow_name, **options)
    return {
        "img_name": name,
        **rate(rng, scene.members),
        "group": group_of(scene.members),
        "file": f"{scene.class_name}/{path.name}",
        "pictograms": " + ".join(load_pictograms()[i].name for i in scene.members),
        "style": scene.style,
        "split": tuning_part(scene.members, scene.style),
    }


def _write_broken(directory: Path, good_file: str) -> int:
    """Write a truncated JPEG, a text with an image's name and an empty file beside the first good image."""
    folder = (directory / good_file).parent
    whole = io.BytesIO()
    with Image.open(directory / good_file) as image:
        image.convert("RGB").save(whole, "JPEG", quality=90)
    broken = {
        "broken_truncated.jpg": whole.getvalue()[: len(whole.getvalue()) // 2],
        "broken_text.png": b"This is a text, whatever its name says.\n",
        "broken_empty.webp": b"",
    }
    for name, content in broken.items():
        (folder / name).write_bytes(content)
    return len(broken)
