"""What the options of `clipsieve scan` say, and the encoder and engine that they mean."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsieve.cli import options
from clipsieve.cli.engine_options import ClusterOptions
from clipsieve.errors import UsageError

if TYPE_CHECKING:
    from clipsieve.encoders import Encoder, EncoderChoice
    from clipsieve.engines import Engine, Redo, ScanOptions

__all__ = ["ScanChoices"]


@dataclass(frozen=True, slots=True)
class ScanChoices:
    """The options of a scan as they were given; those of a cluster by themselves."""

    model: str
    backend: str
    device: str
    precision: str
    batch_size: int | None
    workers: int | None
    part_size: int | None
    max_pixels: int
    max_bytes: int
    max_seconds: float
    hash_list: Path | None
    max_failures: str
    exact: bool
    stale_only: bool
    overwrite: bool
    retry_failed: bool
    dry_run: bool
    price: float | None
    currency: str | None
    cluster: ClusterOptions

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> ScanChoices:
        """Return the choices among the values of options, by name."""
        cluster = ClusterOptions(**{each.name: told[each.name] for each in fields(ClusterOptions)})
        return cls(**{each.name: told[each.name] for each in fields(cls) if each.name != "cluster"}, cluster=cluster)

    def check(self) -> None:
        """Refuse what cannot be before anything is looked at."""
        if self.stale_only and self.overwrite:
            raise UsageError("`--stale-only` and `--overwrite` exclude each other")
        self.cluster.check()
        if self.cluster.engine == "ray" and self.workers is not None:
            raise UsageError(
                "`--workers` counts the decoding processes of this machine",
                hint="with `--engine ray`, `--cpus-per-decoder` says what each is given",
            )
        if self.price is not None and not self.dry_run:
            raise UsageError(
                "`--price` means nothing to a scan", hint="add `--dry-run`: it says what the scan would cost"
            )
        options.money(self.price, self.currency)
        if self.price is not None and not 0 <= self.price < math.inf:
            raise UsageError(f"the price is {self.price:g}", expected="0 or more, and finite")
        if self.precision == "int8":
            self._require_no_cluster()
            from clipsieve.encoders.quantize import require_int8

            require_int8(self.backend, self.device)

    def _require_no_cluster(self) -> None:
        if self.cluster.engine == "ray":
            raise UsageError(
                "an int8 form is made on one machine, and the others of a cluster do not have it",
                expected="--precision fp32, or bf16",
                state="nothing was written",
                hint="bf16 on CPUs takes some two thirds more time than int8, and needs nothing to be made",
            )

    @property
    def redo(self) -> Redo:
        """What to do with a run of another encoder or other options."""
        return "all" if self.overwrite else "stale" if self.stale_only else "never"

    def scan_options(self) -> ScanOptions:
        """Return what decides the rows."""
        from clipsieve.engines import BlockList, DecodeLimits, MaxFailures, ScanOptions, load_block_list

        return ScanOptions(
            part_size=self.part_size or 1000,
            limits=DecodeLimits(max_pixels=self.max_pixels, max_seconds=self.max_seconds),
            block_list=load_block_list(self.hash_list) if self.hash_list else BlockList(),
            max_failures=MaxFailures.parse(self.max_failures),
            exact=self.exact,
        )

    @contextmanager
    def open(self) -> Iterator[tuple[Encoder, Engine]]:
        """Yield the encoder and the engine."""
        if self.cluster.engine == "ray":
            from clipsieve.engines.ray import open_ray

            with open_ray(self._choice(self.device), self.cluster.ray_address, self.cluster.wanted) as found:
                yield found
            return
        from clipsieve.engines import LocalEngine, split_devices

        devices = split_devices(self.device)
        with self._many(devices) if len(devices) > 1 else self._choice(devices[0]).load() as encoder:
            yield encoder, LocalEngine(workers=self.workers, batch_size=self.batch_size)

    def _many(self, devices: list[str]) -> Encoder:
        from clipsieve.engines import EncoderProcesses

        told = {"backend": self.backend, "precision": self.precision, "batch_size": self.batch_size}
        return EncoderProcesses(self.model, devices, **told)

    def _choice(self, device: str) -> EncoderChoice:
        from clipsieve.encoders import EncoderChoice

        return EncoderChoice(self.model, self.backend, device, self.precision, batch_size=self.batch_size)
