"""The key of a run: what its verdicts are filed under in a ledger, wherever the run's folder is moved to."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from pathlib import Path

from clipsieve.errors import RunCorruptError, RunError
from clipsieve.review.local_run import local_folder
from clipsieve.store import Run
from clipsieve.store.files import read_text

__all__ = ["KEY_FILE", "find_run_key", "run_key"]

KEY_FILE = "review.json"


def find_run_key(run: Run) -> str | None:
    """Return the key of a run, or None if its review has never begun; then no ledger holds verdicts on it.

    Raises
    ------
    RunCorruptError
        If the file of the key is damaged.
    """
    file = run.path / KEY_FILE
    try:
        key = json.loads(read_text(file))["run_key"]
        if uuid.UUID(hex=key).hex != key:
            raise ValueError(f"{key!r:.60} is no key")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunCorruptError(
            f"`{file}` is damaged: {error}",
            expected="the key under which a ledger holds the verdicts on this run",
            hint="bring the file back from a copy: without it the verdicts are there, and nobody finds them",
        ) from error
    return str(key)


def run_key(run: Run) -> str:
    """Return the key of a run, 32 hex digits; made at the first time, and the same ever after.

    Raises
    ------
    RunCorruptError
        If the file of the key is damaged.
    RunError
        If it cannot be written.
    UsageError
        If it was never made, and the run lies behind a URL.
    """
    return find_run_key(run) or _make(run)


def _make(run: Run) -> str:
    folder, key = local_folder(run), uuid.uuid4().hex
    file, temporary = folder / KEY_FILE, folder / f".{KEY_FILE}.{key}.tmp"
    try:
        _write_through(temporary, json.dumps({"run_key": key}) + "\n")
        # A link is made only where nothing is: of two processes that begin at once, one makes the key and both read it.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, file)
    except OSError as error:
        raise RunError(f"cannot write `{file}`: {error.strerror}", hint="mend the permissions of the run") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    found = find_run_key(run)
    if found is None:
        raise RunError(f"`{file}` was removed while it was read", hint="give the same command again")
    return found


def _write_through(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
