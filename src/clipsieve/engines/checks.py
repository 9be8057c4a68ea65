"""What a scan makes sure of at the place of its run, before it opens an image."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from upath import UPath

from clipsieve.encoders import Encoder
from clipsieve.errors import RunError
from clipsieve.remote.whole import is_put_whole
from clipsieve.store import Run, RunPath
from clipsieve.store.files import ask, is_folder, names_in, put_bytes, remove
from clipsieve.store.layout import part_facts, part_name
from clipsieve.store.lock import cannot_write, is_a_file
from clipsieve.store.paths import is_remote
from clipsieve.types import FailureCode, Plan, Shard

__all__ = ["PASSING", "check_room", "check_writable", "is_done", "try_out"]

# Failures that may go better the next time: they lie with the place and not with the image.
PASSING = frozenset(
    {
        FailureCode.NOT_FOUND,
        FailureCode.NOT_PERMITTED,
        FailureCode.READ_ERROR,
        FailureCode.TIMED_OUT,
        FailureCode.DECODER_CRASHED,
        FailureCode.OUT_OF_MEMORY,
    }
)


def check_writable(place: RunPath) -> None:
    """Put a small file where a run is to lie, and remove it again: no folder is left, and nothing that was there is touched.

    A scan itself finds out by taking the lock of the run.

    Raises
    ------
    RunConflictError
        If a file is in the way.
    RunError
        If that cannot be done; says why.
    """
    if is_remote(place):
        _try_url(place)
        return
    assert isinstance(place, Path)  # noqa: S101 - the other kind is dealt with
    folder = _nearest(place)
    if folder == place.absolute() and not place.is_dir():
        raise is_a_file(place)
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".clipsieve-") as file:
            file.write(bytes(4096))
    except OSError as error:
        raise cannot_write(folder, error) from error


def _try_url(place: UPath) -> None:
    probe = place / f".clipsieve-{secrets.token_hex(8)}"
    made = [] if is_put_whole(str(place.protocol)) else _missing(place)  # an object store has no folders
    try:
        put_bytes(probe, b"clipsieve looks whether it can write here\n")
        remove(probe)
    finally:
        for folder in made:
            with contextlib.suppress(FileNotFoundError, RunError):
                ask(folder, lambda fs, name=folder.path: fs.rmdir(name), "remove")  # type: ignore[misc]


def _missing(folder: UPath) -> list[UPath]:
    """Return the folders on the way to a place that are not there, the innermost first."""
    found: list[UPath] = []
    while folder != folder.parent and not is_folder(folder):
        found.append(folder)
        folder = folder.parent
    return found


def _nearest(place: Path) -> Path:
    """Return a folder, or what is there of the way to it."""
    place = place.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def check_room(place: RunPath, plan: Plan, embedding_dim: int) -> None:
    """Make sure that a disk of this machine holds the embeddings that are to come; what takes the place of a part is not counted.

    Nothing is known of what lies behind a URL.

    Raises
    ------
    RunError
        If it does not, however well everything else is packed.
    """
    if is_remote(place):
        return
    assert isinstance(place, Path)  # noqa: S101 - the other kind is dealt with
    there = set(names_in(place / "images"))
    n_new = sum(shard.n_images for shard in plan.shards if part_name(shard.index) not in there)
    needed, free = 2 * embedding_dim * n_new, shutil.disk_usage(_nearest(place)).free
    if needed > free:
        raise RunError(
            f"there is not enough room for the run at `{place}`",
            expected=f"{needed:,} bytes for the embeddings of {n_new:,} images, and some more for their names",
            found=f"{free:,} bytes are free",
            state="nothing was written",
            hint="choose another disk with `-o`, or make room",
        )


def is_done(run: Run, shard: Shard, part: pa.Table | None) -> bool:
    """Return whether a part that is there is what a scan would make of a shard today."""
    if part is None or part.num_rows != shard.n_images:
        return False
    facts = part_facts(part.schema)
    return facts.get("clipsieve.inputs") == shard.fingerprint and run.is_current(facts)


def try_out(encoder: Encoder) -> None:
    """Encode one black image: a damaged model leaves no empty run."""
    side = encoder.recipe.size_px
    encoder.encode_images(np.zeros((1, side, side, 3), dtype=np.uint8))
