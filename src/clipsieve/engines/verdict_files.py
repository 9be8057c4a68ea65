"""What people have said of single images, from a table with one row for each verdict, or from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clipsieve.engines.rating_tables import Cells, RatingTable
from clipsieve.engines.verdicts import EXPECTED_VERDICTS, NEEDED, VERDICT_WORDS, Verdict, read_verdicts
from clipsieve.errors import UsageError

__all__ = ["LEDGER_FILE", "ImageVerdict", "ImageVerdicts", "check_known", "read_image_verdicts"]

LEDGER_FILE = "verdicts.db"  # in the run's folder; also what a database elsewhere is called before people


@dataclass(frozen=True, slots=True)
class ImageVerdict:
    """What people said of one image.

    Attributes
    ----------
    unwanted : bool or None
        None if somebody was unsure, or two of them differ: nobody has decided.
    annotators : tuple of str
        Who said it, in the order of the file, each once; empty if the file does not say.
    n_verdicts : int
        How many there are, >= 1.
    """

    unwanted: bool | None
    annotators: tuple[str, ...]
    n_verdicts: int


@dataclass(frozen=True, slots=True)
class ImageVerdicts:
    """The verdicts of one file or database.

    Attributes
    ----------
    path : Path
        The file; of a database elsewhere, a name for people to which nothing needs to lie.
    sha256 : str
        Hex digest of its bytes, or of the rows in a database.
    by_image : mapping of str to ImageVerdict
        By image id; images without a verdict yet are not among them.
    sample : tuple of Verdict or None
        The random sample of `clipsieve prevalence` that they are about, images without a verdict included; None if they are
        about none, or it cannot be read.
    sample_problem : str or None
        Why a sample cannot be read; names the file and the line.
    is_file : bool
        Whether they come from a file that another person can be given; False for a database behind a URL.
    n_elsewhere : int
        Images whose verdicts were left out: they are about a file that was replaced since, or is gone.
    """

    path: Path
    sha256: str
    by_image: Mapping[str, ImageVerdict]
    sample: tuple[Verdict, ...] | None = None
    sample_problem: str | None = None
    is_file: bool = True
    n_elsewhere: int = 0

    @property
    def is_sample(self) -> bool:
        """Whether they are about a random sample, usable or not: then some images were likelier to be looked at."""
        return self.sample is not None or self.sample_problem is not None


def read_image_verdicts(path: str | Path) -> ImageVerdicts:
    """Read a file of verdicts: CSV or Parquet with the columns `image_id` and `verdict`, and `annotator` if it is known.

    The sample that `write_plan` writes is such a file. Other columns are passed over.

    Raises
    ------
    UsageError
        If it cannot be read, a column is missing, or a word makes no sense; names the line and what was expected.
    """
    table = RatingTable.open(Path(path), what="verdicts")
    names = ["image_id", "verdict", *(["annotator"] if "annotator" in table.names else [])]
    for name in names:
        table.check_column(name)
    cells = table.read(names)
    _check(cells)
    said: dict[str, list[bool | None]] = {}
    annotators: dict[str, dict[str, None]] = {}
    who = cells.columns.get("annotator") or [""] * len(cells.lines)
    for image_id, word, name in zip(cells.columns["image_id"], cells.columns["verdict"], who, strict=True):
        if word.strip():
            said.setdefault(image_id, []).append(_meaning(word))
            annotators.setdefault(image_id, {}).update({name.strip(): None} if name.strip() else {})
    sample, problem = _sample(table)
    return ImageVerdicts(
        path=table.path,
        sha256=table.sha256,
        by_image={
            image_id: ImageVerdict(words[0] if len(set(words)) == 1 else None, tuple(annotators[image_id]), len(words))
            for image_id, words in said.items()
        },
        sample=sample,
        sample_problem=problem,
    )


def _sample(table: RatingTable) -> tuple[tuple[Verdict, ...] | None, str | None]:
    """Return the lines of a sample, of which `uri` is only for people; or why they make none, if they look like one."""
    if table.unit != "line" or not set(NEEDED) <= set(table.names):
        return None, None
    try:
        return tuple(read_verdicts(table.path)), None
    except UsageError as error:
        return None, error.what


def _check(cells: Cells) -> None:
    nameless = (i for i, image_id in enumerate(cells.columns["image_id"]) if not image_id)
    cells.refuse("image_id", nameless, "names no image", expected="the image's id, as in the run")
    words = enumerate(cells.columns["verdict"])
    unknown = (i for i, word in words if word.strip() and word.strip().lower() not in VERDICT_WORDS)
    cells.refuse("verdict", unknown, "is none of the known words", expected=f"{EXPECTED_VERDICTS}, or nothing")


def _meaning(word: str) -> bool | None:
    return VERDICT_WORDS[word.strip().lower()]


def check_known(verdicts: ImageVerdicts, n_found: int) -> None:
    """Raise UsageError unless every image with a verdict is one of the run; `n_found` of them are."""
    n_strange = len(verdicts.by_image) - n_found
    if n_strange:
        raise UsageError(
            f"`{verdicts.path}` has verdicts on images that are not in the run",
            expected="ids of the run, letter by letter",
            found=f"{n_strange:,} of {len(verdicts.by_image):,} images are not there",
            state="nothing was written",
            hint="name the run that the verdicts are about; did a spreadsheet change the ids?",
        )
