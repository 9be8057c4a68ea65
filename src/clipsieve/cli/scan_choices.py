"""What the options of `clipsieve scan` say, and the encoder and engine that they mean."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    currency: str
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
        if self.price is not None and not 0 <= self.price < math.inf:
            raise UsageError(f"the price is {self.price:g}", expected="0 or more, and finite")
        if self.precision == "int8":
            from clipsieve.encoders.quantize import require_int8

            require_int8(self.backend, self.device)

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
            with self._open_cluster() as found:
                yield found
            return
        from clipsieve.engines import LocalEngine, split_devices

        devices = split_devices(self.device)
        with self._many(devices) if len(devices) > 1 else self._encoder_choice(devices[0]).load() as encoder:
            yield encoder, LocalEngine(workers=self.workers, batch_size=self.batch_size)

    def _many(self, devices: list[str]) -> Encoder:
        from clipsieve.engines import EncoderProcesses

        told = {"backend": self.backend, "precision": self.precision, "batch_size": self.batch_size}
        return EncoderProcesses(self.model, devices, **told)

    @contextmanager
    def _open_cluster(self) -> Iterator[tuple[Encoder, Engine]]:
        from clipsieve.engines.ray import RayCluster, RayEncoder, RayEngine, lay_out

        with RayCluster(self.cluster.ray_address) as cluster:
            on_gpu = self._is_on_gpu(any(node.gpus for node in cluster.nodes))
            layout = lay_out(cluster.nodes, self.cluster.wanted, on_gpu=on_gpu)
            choice = self._encoder_choice("cuda" if on_gpu else "cpu", threads=layout.threads)
            with RayEncoder(choice, layout) as encoder:
                yield encoder, RayEngine(cluster, batch_size=self.batch_size)

    def _is_on_gpu(self, has_gpus: bool) -> bool:  # noqa: FBT001
        """Return whether the encoders of a cluster are to use its GPUs: only torch does."""
        if self.device == "auto":
            return bool(self.cluster.gpus_per_encoder) or (has_gpus and self.backend == "torch")
        if self.device not in ("cpu", "cuda"):
            raise UsageError(
                f"`--device {self.device}` names a device of one machine",
                expected="auto, cpu or cuda",
                hint="which GPU an encoder gets is for the cluster to say",
            )
        return self.device == "cuda"

    def _encoder_choice(self, device: str, threads: int | None = None) -> EncoderChoice:
        from clipsieve.encoders import EncoderChoice

        return EncoderChoice(self.model, self.backend, device, self.precision, threads, self.batch_size)
