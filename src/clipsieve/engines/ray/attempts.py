"""How often work was begun: what ends every worker that it is given to must not go on for ever.

When a worker ends, Ray Data gives what it had to another one, as often as it takes: a machine may die. But if the work is what
ended it, for want of memory say, the scan would load one encoder after the other and never say why.
"""

from __future__ import annotations

import socket
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from clipsieve.errors import EngineError

__all__ = ["Attempts", "counted", "is_started_anew", "worker_id"]

ATTEMPTS = 10  # at one piece of work
ANSWER_S = 30.0


class _Counts:
    """The counts of one scan, in a process beside the one that began it: for each piece of work, how often on which machine."""

    def __init__(self) -> None:
        self._begun: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def begin(self, work: str, machine: str) -> Counter[str]:
        self._begun[work][machine] += 1
        return self._begun[work]

    def finish(self, work: str) -> None:
        self._begun.pop(work, None)

    def begun(self, least: int) -> frozenset[str]:
        return frozenset(work for work, machines in self._begun.items() if machines.total() >= least)


class Attempts:
    """Where the workers of a scan tell what they begin, and are told whether they may.

    Parameters
    ----------
    counts : ray.actor.ActorHandle
        Of `_Counts`.
    most : int
        Attempts at one piece of work.
    """

    def __init__(self, counts: Any, most: int) -> None:  # noqa: ANN401
        self._counts, self._most = counts, most

    @contextmanager
    def over(self, work: str, what: Callable[[], str]) -> Iterator[None]:
        """Count an attempt at some work; one that ends with its worker, or in an error, is never told of as finished.

        Parameters
        ----------
        work : str
            Its name, the same in every worker.
        what : callable
            Returns it in words, for an error.

        Raises
        ------
        EngineError
            If it has been begun too often.
        """
        before = self._ask(self._counts.begin, work, socket.gethostname(), default=Counter())
        if before.total() > self._most:
            before[socket.gethostname()] -= 1  # this one
            where = ", ".join(f"{machine} (at least {n} times)" for machine, n in before.most_common() if n)
            raise EngineError(
                "one worker of the cluster after the other has ended in the middle of the same work",
                found=f"{what()}, on {where}",
                state="finished parts are kept",
                hint="Ray's logs say how they ended. If it was for want of memory, fewer --encoders, a smaller --batch-size or"
                " more --cpus-per-decoder leave more of it; the same command again goes on",
            )
        yield
        self._counts.finish.remote(work)

    def suspects(self) -> frozenset[str]:
        """Return what may be about to be refused: it was begun half as often as it may be, and not finished."""
        found: frozenset[str] = self._ask(self._counts.begun, self._most // 2, default=frozenset())
        return found

    def _ask(self, method: Any, *told: object, default: Any) -> Any:  # noqa: ANN401
        """Return an answer; if the counts have gone with their machine, the default, and then nobody is blamed."""
        import ray
        from ray.exceptions import RayError

        try:
            return ray.get(method.remote(*told), timeout=ANSWER_S)
        except RayError:
            return default


@contextmanager
def counted() -> Iterator[Attempts]:
    """Give what counts the attempts of a scan, on this machine while it is there; it ends with the block."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    start: Any = ray.remote(_Counts).options(
        num_cpus=0, max_restarts=-1, scheduling_strategy=here, enable_task_events=False
    )
    counts = start.remote()
    try:
        yield Attempts(counts, ATTEMPTS)
    finally:
        with suppress(Exception):  # it may have gone with its cluster
            ray.kill(counts)


def is_started_anew() -> bool:
    """Return whether this worker of a pool ended before, and is another process now.

    One that never did need not count what it begins, so that a scan in which nothing ends costs the counts nothing.
    """
    import ray

    return bool(ray.get_runtime_context().was_current_actor_reconstructed)


def worker_id() -> str:
    """Return what tells this worker of a pool from the others, and stays when its process is started anew."""
    import ray

    return str(ray.get_runtime_context().get_actor_id())
