"""Every error that clipsieve raises on purpose.

::

    ClipsieveError                    something is wrong that a person can mend
    ├── UsageError                    an argument makes no sense (exit status 2)
    ├── SourceError                   a source cannot be listed or read as a whole
    ├── ModelError                    a model cannot be used
    │   ├── ModelNotFoundError        nothing lies there, or the name is unknown
    │   ├── ModelFileError            a file is missing, corrupt, or not what was pinned
    │   └── HubError                  the model hub cannot be reached, or refuses
    ├── EmbeddingError                an array of embeddings has the wrong width, dtype or norm
    ├── PromptSetError                a prompt file is malformed
    ├── ClassifierFileError           a classifier file is malformed
    │   └── UnsafeFileError           it holds more than plain arrays, and nothing of it was run
    ├── EncoderMismatchError          a classifier and a run, or two runs, come from different encoders
    ├── RunError                      a run folder cannot be used
    │   ├── RunNotFoundError          there is no run there
    │   ├── RunConflictError          the folder holds another run, or other files
    │   └── RunCorruptError           a file of the run does not hold what it should
    ├── ExportError                   a place cannot be written, or holds something else
    ├── LedgerError                   verdicts cannot be read or written down
    ├── NotAllowedError               a person may not do that (the review page)
    ├── EngineError                   the processes that do the work cannot be started
    ├── TooManyFailuresError          more images failed than were allowed (exit status 3)
    └── MissingExtraError             an optional dependency is not installed

One image that cannot be read is no error: it is a :class:`clipsieve.types.Failure`, and a row of the run.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ClassifierFileError",
    "ClipsieveError",
    "EmbeddingError",
    "EncoderMismatchError",
    "EngineError",
    "ExportError",
    "HubError",
    "LedgerError",
    "MissingExtraError",
    "ModelError",
    "ModelFileError",
    "ModelNotFoundError",
    "NotAllowedError",
    "PromptSetError",
    "RunConflictError",
    "RunCorruptError",
    "RunError",
    "RunNotFoundError",
    "SourceError",
    "TooManyFailuresError",
    "UnsafeFileError",
    "UsageError",
]


class ClipsieveError(Exception):
    """Something is wrong that a person can mend.

    Parameters
    ----------
    what : str
        What is wrong and where, in one sentence without a full stop.
    expected, found : str, optional
        What should have been there, and what was.
    state : str, optional
        What is left behind: "nothing was written", "12 finished parts are kept".
    hint : str, optional
        What to do next, as a person would say it.
    """

    exit_status: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        expected: str | None = None,
        found: str | None = None,
        state: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.found = found
        self.state = state
        self.hint = hint

    def __str__(self) -> str:
        """Return the whole message: what, expected, found, state; a blank line; the hint."""
        lines = [self.what]
        if self.expected is not None:
            lines.append(f"  expected: {self.expected}")
        if self.found is not None:
            lines.append(f"  found:    {self.found}")
        if self.state is not None:
            lines.append(f"  {self.state}")
        if self.hint is not None:
            lines.append(f"\nhint: {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by state, since the arguments are keywords: errors cross process borders."""
        return (_rebuild, (type(self), self.what, self.expected, self.found, self.state, self.hint))


def _rebuild(
    kind: type[ClipsieveError],
    what: str,
    expected: str | None,
    found: str | None,
    state: str | None,
    hint: str | None,
) -> ClipsieveError:
    return kind(what, expected=expected, found=found, state=state, hint=hint)


class UsageError(ClipsieveError):
    """An argument makes no sense."""

    exit_status = 2


class SourceError(ClipsieveError):
    """A source cannot be listed or read as a whole."""


class ModelError(ClipsieveError):
    """A model cannot be used."""


class ModelNotFoundError(ModelError):
    """Nothing lies at the given path, or the name is unknown."""


class ModelFileError(ModelError):
    """A file of a model is missing, corrupt, or not the one that was pinned."""


class HubError(ModelError):
    """The model hub cannot be reached, or refuses."""


class EmbeddingError(ClipsieveError):
    """An array of embeddings has the wrong width, dtype or norm."""


class PromptSetError(ClipsieveError):
    """A prompt file is malformed."""


class ClassifierFileError(ClipsieveError):
    """A classifier file is malformed."""


class UnsafeFileError(ClassifierFileError):
    """A file holds more than plain arrays; nothing of it was run."""


class EncoderMismatchError(ClipsieveError):
    """A classifier and a run, or two runs, come from different encoders."""


class RunError(ClipsieveError):
    """A run folder cannot be used."""


class RunNotFoundError(RunError):
    """There is no run in that folder."""


class RunConflictError(RunError):
    """The folder holds another run, or other files."""


class RunCorruptError(RunError):
    """A file of the run does not hold what it should."""


class ExportError(ClipsieveError):
    """A place for an export cannot be written, or holds something else."""


class LedgerError(ClipsieveError):
    """Verdicts cannot be read or written down: no database, another version, no room."""


class NotAllowedError(ClipsieveError):
    """A person may not do that: it is for another role."""


class EngineError(ClipsieveError):
    """The processes that do the work cannot be started."""


class TooManyFailuresError(ClipsieveError):
    """More images failed than were allowed; all finished parts are kept."""

    exit_status = 3


class MissingExtraError(ClipsieveError):
    """An optional dependency is not installed."""
