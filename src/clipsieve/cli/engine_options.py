"""Options that say which machines do the work, and the engine that they mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clipsieve.errors import UsageError

if TYPE_CHECKING:
    from clipsieve.engines import Engine
    from clipsieve.engines.ray import Wanted

__all__ = ["ByteCount", "ClusterOptions", "cluster", "engine", "open_engine"]

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class ByteCount(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions alone
    """A number of bytes, such as `2GiB` or `500MB`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        """Return the bytes; click's error for anything else."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", str(value).strip().lower())
        if found is None or found[2] not in _UNITS or float(found[1]) == 0:
            self.fail(f"`{value}` is no size: expected such as `2GiB` or `500MB`", param, ctx)
        return int(float(found[1]) * _UNITS[found[2]])


def engine(command: F) -> F:
    """Add `--engine` and `--ray-address`."""
    for option in (
        click.option(
            "--ray-address",
            metavar="ADDRESS",
            help="Of the Ray cluster: auto, HOST:6379.  [default: $RAY_ADDRESS, else one that runs on this machine]",
        ),
        click.option(
            "--engine",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help="What does the work: this machine, or a Ray cluster.",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What `--engine`, `--ray-address` and the options of a cluster say."""

    engine: str
    ray_address: str | None
    encoders: int | None
    gpus_per_encoder: float | None
    cpus_per_encoder: float | None
    cpus_per_decoder: float | None
    object_store_memory: int | None

    def check(self) -> None:
        """Refuse what only a cluster understands, where there is none."""
        given = [each.name for each in fields(self)[1:] if getattr(self, each.name) is not None]
        if self.engine == "local" and given:
            named = ", ".join("`--" + name.replace("_", "-") + "`" for name in given)
            raise UsageError(
                f"{named}: on one machine that means nothing",
                hint="add `--engine ray`, or leave it away",
            )

    @property
    def wanted(self) -> Wanted:
        """What is asked of the cluster."""
        from clipsieve.engines.ray import Wanted

        return Wanted(
            self.encoders,
            self.gpus_per_encoder,
            self.cpus_per_encoder,
            self.cpus_per_decoder,
            self.object_store_memory,
        )


def cluster(command: F) -> F:
    """Add what says how a scan uses a cluster."""
    share = click.FloatRange(0, 1024, min_open=True)
    for option in (
        click.option(
            "--object-store-memory",
            type=ByteCount(),
            metavar="SIZE",
            help="What may be under way between workers, over all machines.  [default: what Ray leaves]",
        ),
        click.option(
            "--cpus-per-decoder",
            type=share,
            metavar="X",
            help="CPUs for each image that is decoded at once.  [default: 1]",
        ),
        click.option(
            "--cpus-per-encoder",
            type=share,
            metavar="X",
            help="CPUs for each encoder.  [default: 1 with a GPU, else up to 8]",
        ),
        click.option(
            "--gpus-per-encoder",
            type=share,
            metavar="X",
            help="GPUs for each encoder; 0.5: two share one.  [default: 1]",
        ),
        click.option("--encoders", type=click.IntRange(1), metavar="N", help="Loaded encoders.  [default: what fits]"),
    ):
        command = option(command)
    return command


@contextmanager
def open_engine(name: str, ray_address: str | None) -> Iterator[Engine | None]:
    """Yield the engine for work on a run's parts; None for this machine, where each kind of work has its own way."""
    if name == "local":
        ClusterOptions(name, ray_address, None, None, None, None, None).check()
        yield None
        return
    from clipsieve.engines.ray import RayCluster, RayEngine

    with RayCluster(ray_address) as cluster:
        yield RayEngine(cluster)
