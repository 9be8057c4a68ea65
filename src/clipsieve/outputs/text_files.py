"""Texts written as files that are whole or absent."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from clipsieve.errors import ExportError

__all__ = ["write_text"]


def write_text(path: Path, text: str) -> Path:
    """Write a text in UTF-8 under another name, then rename it; return the path.

    Raises
    ------
    ExportError
        If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise ExportError(
            f"cannot write `{path}`: {error.strerror or error}",
            state="every file that is there is whole",
            hint="make room or mend the permissions, or name another place, and give the same command again",
        ) from error
    return path
