"""Work on all parts of a run: on the cores of this machine, or on whatever an engine has."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

from clipsieve.cores import one_core_each
from clipsieve.engines.base import Engine
from clipsieve.store import Run

__all__ = ["map_parts"]

Result = TypeVar("Result")


def map_parts(run: Run, work: Callable[[int], Result], engine: Engine | None) -> Generator[Result, None, None]:
    """Yield what `work` makes of the number of each part, in order; several are under way at once.

    Without an engine the threads of this process do it: one for each core, or as many as suit the service that holds the run.
    Whoever does not go through to the end closes it, so that nothing more is begun.

    Parameters
    ----------
    run : Run
        Whose parts are counted.
    work : callable
        As for `Engine.map`; a cluster may do a part twice at the same time.
    engine : Engine or None
        None for this machine.

    Raises
    ------
    ClipsieveError
        What `work` raises, once the results before it were yielded.
    """
    numbers = range(run.manifest.n_parts)
    if engine is not None:
        yield from engine.map(work, numbers)
        return
    with one_core_each(run.n_at_once) as threads:
        yield from threads.map(work, numbers)
