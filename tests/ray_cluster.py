"""A Ray cluster of several machines, as far as Ray can tell, on this one: each has its raylet, workers and object store.

A machine can be killed as by pulling its plug: SIGKILL to all of its processes, which had no time to say goodbye.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from clipsieve.encoders import Encoder, EncoderChoice, load_encoder
from clipsieve.sources.folder import FolderSource
from clipsieve.types import EncoderIdentity, ImageRef, Shard
from tiny_encoder import TinyEncoder

OBJECT_STORE_BYTES = 100 * 1024**2

# A machine is given up for dead within 2 s; in a real cluster, after some 15 s. Heavy load must not look like death.
SETTINGS: dict[str, int] = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 5000,
    "health_check_failure_threshold": 3,
    "worker_niceness": 0,  # 15 by default: on a machine that others use as well, nothing would go on
}


def descendants(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they started."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


def title(pid: int) -> str:
    """Return how a process calls itself: Ray's workers say what they are doing."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def is_alive(pid: int) -> bool:
    """Return whether a process is there and has not ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def patiently(start: Callable[[], Any], give_up: Callable[[], object] = lambda: None) -> Any:
    """Return what a start gives, tried three times: Ray waits 30 s for its own processes, and a busy machine may take longer."""
    for n_left in (2, 1, 0):
        try:
            return start()
        except Exception:
            if not n_left:
                raise
            give_up()
            time.sleep(5)
    raise AssertionError


class RayMachines:
    """A cluster with a head and some more machines, of one CPU each; it ends with the block.

    Parameters
    ----------
    n : int
        Machines, the head among them.
    cpus, gpus : int
        Of each; Ray takes our word for GPUs, and gives them away as if they were there.
    object_store_bytes : int
        Of each.
    environment : mapping, optional
        Variables that all of their processes see.
    """

    def __init__(
        self,
        n: int = 3,
        *,
        cpus: int = 1,
        gpus: int = 0,
        object_store_bytes: int = OBJECT_STORE_BYTES,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._n = n
        # What workers unpickle lies in this folder.
        self._environment = {"PYTHONPATH": str(Path(__file__).parent), **(environment or {})}
        self._room = {"num_cpus": cpus, "num_gpus": gpus, "object_store_memory": object_store_bytes}
        self._cluster: Any = None

    def __enter__(self) -> RayMachines:
        from ray.cluster_utils import Cluster

        logging.getLogger("ray").setLevel(logging.ERROR)
        # A folder of its own, so that whoever looks for a cluster on this machine does not find this one. Sockets lie there,
        # and their paths must be short.
        self._scratch = tempfile.mkdtemp(prefix="r-", dir="/tmp")
        self._before = os.environ.get("RAY_TMPDIR")
        os.environ["RAY_TMPDIR"] = self._scratch
        self._cluster = Cluster()
        for _ in range(self._n):
            self.add()
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        ray.shutdown()
        processes = [pid for node in self._cluster.list_all_nodes() for pid in self.processes(node)]
        self._cluster.shutdown()
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        del os.environ["RAY_TMPDIR"]
        if self._before is not None:
            os.environ["RAY_TMPDIR"] = self._before
        shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def address(self) -> str:
        """Where the cluster answers."""
        return str(self._cluster.address)

    @property
    def scratch(self) -> Path:
        """Where the cluster keeps its logs, and what it spills."""
        return Path(self._scratch)

    @property
    def workers(self) -> list[Any]:
        """The machines but for the head, in no order."""
        return list(self._cluster.worker_nodes)

    @property
    def head(self) -> Any:
        """The machine that holds the cluster together."""
        return self._cluster.head_node

    def add(self, core: int | None = None, environment: Mapping[str, str] | None = None) -> Any:
        """Add a machine and return it; all of its processes keep to one core, if one is named."""
        is_head = self._cluster.head_node is None
        more: dict[str, Any] = {"_system_config": SETTINGS, "include_dashboard": False} if is_head else {}
        allowed = os.sched_getaffinity(0)
        with contextlib.ExitStack() as stack:
            if core is not None:
                stack.callback(os.sched_setaffinity, 0, allowed)
                os.sched_setaffinity(0, {core})
            told = self._environment | dict(environment or {})
            return patiently(lambda: self._cluster.add_node(**self._room, **more, env_vars=told))

    def processes(self, node: Any) -> list[int]:
        """Return the processes of a machine, each with what it started."""
        own = [each.process.pid for kind in node.all_processes.values() for each in kind]
        return [pid for first in own for pid in (first, *descendants(first))]

    def kill(self, node: Any) -> None:
        """Kill all that runs on a machine, at once; nobody is told."""
        for signal_ in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, so that none starts another meanwhile
            for pid in self.processes(node):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal_)
        self._cluster.remove_node(node, allow_graceful=False)

    def named(self, text: str) -> list[int]:
        """Return the processes of all machines whose title begins with a text."""
        nodes = self._cluster.list_all_nodes()
        return sorted({pid for node in nodes for pid in self.processes(node) if title(pid).startswith(text)})


@dataclass(frozen=True, slots=True)
class WatchedChoice(EncoderChoice):
    """An encoder that writes down how many images each call is given, in a file of which many processes write at once.

    It may also be slowed down, so that what happens in mid-run does.
    """

    log_path: str = ""
    pause_s: float = 0.0

    def load(self) -> Encoder:
        """Return the encoder, watched."""
        return Watched(self._inner(), self.log_path, self.pause_s)

    def _inner(self) -> Encoder:
        return load_encoder(**{each.name: getattr(self, each.name) for each in fields(EncoderChoice)})

    @property
    def n_encoded(self) -> int:
        """Images of all calls that have begun so far."""
        return sum(map(int, Path(self.log_path).read_text().split())) if Path(self.log_path).exists() else 0


class Watched(Encoder):
    """Does what another encoder does, and writes down how often."""

    def __init__(self, inner: Encoder, log_path: str, pause_s: float) -> None:
        self._inner, self._log_path, self._pause_s = inner, log_path, pause_s

    @property
    def identity(self) -> EncoderIdentity:
        return self._inner.identity

    @property
    def location(self) -> str:
        return self._inner.location

    @property
    def logit_scale(self) -> float:
        return self._inner.logit_scale

    @property
    def n_parallel(self) -> int:
        return self._inner.n_parallel

    @property
    def best_batch_size(self) -> int:
        return self._inner.best_batch_size

    def expect(self, *, n_images: int | None = None, batch_size: int | None = None) -> None:
        self._inner.expect(n_images=n_images, batch_size=batch_size)

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        with Path(self._log_path).open(
            "ab", buffering=0
        ) as log:  # appended whole: lines of several processes do not mix
            log.write(b"%d\n" % len(pixels))
        time.sleep(self._pause_s)
        return self._inner.encode_images(pixels)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return self._inner.encode_texts(texts)


@dataclass(frozen=True, slots=True)
class ToldChoice(WatchedChoice):
    """An encoder that writes down each loading too: the process that did it, and the GPUs that Ray lets it see."""

    def load(self) -> Encoder:
        """Return the encoder, watched."""
        with Path(f"{self.log_path}.loads").open("ab", buffering=0) as log:
            log.write(f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n".encode())
        return super(ToldChoice, self).load()

    @property
    def loads(self) -> list[tuple[str, str]]:
        """What was written down: process and GPUs of each loading."""
        lines = Path(f"{self.log_path}.loads").read_text().splitlines()
        return [(pid, gpus) for pid, _, gpus in (line.partition(" ") for line in lines)]


MOST_DEATHS = 20  # were that many not noticed, a test would wait for ever


class Deaths:
    """Ends the processes of a cluster that come here, as want of memory would, and counts them."""

    def __init__(self, log_path: str) -> None:
        self._log = Path(f"{log_path}.deaths")
        self._log.touch()
        self._spared = os.getpid()

    @property
    def n(self) -> int:
        return self._log.stat().st_size

    def come(self) -> None:
        if os.getpid() != self._spared and self.n < MOST_DEATHS:
            with self._log.open("ab", buffering=0) as log:
                log.write(b"x")
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class DeadlyChoice(WatchedChoice):
    """An encoder that ends its process when it is given an image of so much red; another one takes it long."""

    deaths: Deaths | None = None
    deadly: int = 0
    slow: int = 0

    def load(self) -> Encoder:
        """Return the encoder."""
        return Deadly(self._inner(), self)


class Deadly(Watched):
    """Ends at some image, and encodes the others."""

    def __init__(self, inner: Encoder, choice: DeadlyChoice) -> None:
        super().__init__(inner, choice.log_path, choice.pause_s)
        self._choice = choice

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        reds = pixels[:, 0, 0, 0]
        if self._choice.deadly in reds and self._choice.deaths is not None:
            time.sleep(self._pause_s / 2)
            self._choice.deaths.come()
        if self._choice.slow in reds:
            time.sleep(3 * self._pause_s)
        return super().encode_images(pixels)


class DeadlyFolder(FolderSource):
    """A folder of which one part ends the process that reads it."""

    def __init__(self, root: Path, deaths: Deaths, deadly: int) -> None:
        super().__init__(root)
        self._deaths, self._deadly = deaths, deadly

    def read(self, shard: Shard) -> Iterator[ImageRef]:
        if shard.index == self._deadly:
            self._deaths.come()
        yield from super().read(shard)


@dataclass(frozen=True, slots=True)
class LargePixelsChoice(WatchedChoice):
    """An encoder of 224 px that does next to nothing: what travels is large, and what is done with it is not."""

    def _inner(self) -> Encoder:
        return LargePixels()


class LargePixels(TinyEncoder):
    """The mean of each ninth of an image, as a direction."""

    @property
    def identity(self) -> EncoderIdentity:
        found = super().identity
        assert found.preprocessing is not None
        recipe = replace(found.preprocessing, size_px=224)
        return replace(found, preprocessing=recipe, embedding_dim=27)

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        rows = pixels[:, :222, :222].reshape(-1, 3, 74, 3, 74, 3).mean(axis=(2, 4)).reshape(len(pixels), -1) + 1
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class BrimChoice(WatchedChoice):
    """A torch encoder that works as on a GPU, of a memory for so many images and no more."""

    n_room: int = 3

    def load(self) -> Encoder:
        """Return the encoder; its log says how long each batch was that the tower was asked for, in vain or not."""
        return Brim(self._inner(), self.log_path, self.n_room)


class Brim(Watched):
    """Takes the way of a GPU, on a CPU: batches of one length, halved for good when memory does not suffice."""

    def __init__(self, inner: Any, log_path: str, n_room: int) -> None:
        super().__init__(inner, log_path, 0.0)
        self._tuned, self._n_room = inner._tuned(), n_room
        self._tower, self._tuned._tower = self._tuned._tower, self._compute

    def _compute(self, pixels: Any) -> Any:
        import torch

        with Path(self._log_path).open("ab", buffering=0) as log:
            log.write(b"%d\n" % len(pixels))
        if len(pixels) > self._n_room:
            raise torch.OutOfMemoryError("no room")
        return self._tower(pixels)

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        rows: np.ndarray = self._tuned.encode(pixels)
        return rows
