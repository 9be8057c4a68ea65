"""From what a person typed to a source."""

from __future__ import annotations

import os
import stat
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
    try:
        mode = os.stat(location).st_mode  # noqa: PTH116 - a Path would take an empty name for the folder one is in
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(
            f"there is no folder `{location}`", hint="check the spelling; paths are relative to where you are"
        ) from None
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else error
        raise SourceError(f"cannot open the folder `{location}`: {words}") from error
    if not stat.S_ISDIR(mode):
        raise SourceError(f"`{location}` is not a folder", expected="a folder of images", found="a file")
    return FolderSource(Path(location))
