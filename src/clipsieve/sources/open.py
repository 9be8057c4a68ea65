"""From what a person typed to a source."""

from __future__ import annotations

from pathlib import Path

from clipsieve.errors import SourceError
from clipsieve.sources.base import Source
from clipsieve.sources.folder import FolderSource

__all__ = ["open_source"]


def open_source(location: str | Path) -> Source:
    """Return the source that lies at a path.

    Parameters
    ----------
    location : str or Path
        A folder of images, nested or not.

    Raises
    ------
    SourceError
        If nothing lies there, or it is no folder.
    """
    path = Path(location)
    if not path.exists():
        raise SourceError(
            f"there is no folder `{location}`", hint="check the spelling; paths are relative to where you are"
        )
    if not path.is_dir():
        raise SourceError(f"`{location}` is not a folder", expected="a folder of images", found="a file")
    return FolderSource(path)
