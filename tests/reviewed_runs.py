"""A small run of drawn images that can be reviewed: real files, the embedded encoder, scores in words."""

import shutil
from atexit import register
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

from clipsieve.demo import write_demo_data
from clipsieve.encoders import load_encoder
from clipsieve.engines import load_classifier_for, scan, score
from clipsieve.review.records import OpenedSession, Role
from clipsieve.sources import open_source
from clipsieve.store import Run

__all__ = ["copy_run", "make_run", "session"]


def make_run(place: Path, n_images: int) -> Run:
    """Draw images into `place/images`, scan them into `place/run`, and score them in words."""
    write_demo_data(place / "images", n_images=n_images)
    with load_encoder("pictogram") as encoder:
        scan(open_source(str(place / "images")), place / "run", encoder)
    run = Run.open(place / "run")
    score(run, load_classifier_for(run, "positive-negative").classifier, name="positive-negative")
    return run


@lru_cache(maxsize=2)
def _template(n_images: int) -> Path:
    place = Path(mkdtemp(prefix="clipsieve-reviewed-"))
    register(shutil.rmtree, place, ignore_errors=True)
    make_run(place, n_images)
    return place


def copy_run(place: Path, n_images: int = 60) -> Run:
    """Give a test a run of its own; the images are shared, since nothing writes to them."""
    shutil.copytree(_template(n_images) / "run", place)
    return Run.open(place)


def session(name: str = "ann", role: Role = Role.ADJUDICATOR) -> OpenedSession:
    """Return somebody who has logged in."""
    return OpenedSession(name, role, "csrf", datetime.now(UTC) + timedelta(hours=1))
