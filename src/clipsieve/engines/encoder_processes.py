"""One encoder on several devices, each in a process of its own that loads the model itself."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from clipsieve.cores import n_cores
from clipsieve.encoders import Encoder
from clipsieve.engines.encoder_process import EncoderProcess, Slot
from clipsieve.engines.encoder_worker import Shared
from clipsieve.errors import EncoderMismatchError, UsageError
from clipsieve.types import EncoderIdentity, Preprocessing

__all__ = ["EncoderProcesses", "split_devices"]


def split_devices(device: str) -> list[str]:
    """Return the devices that `cuda:0,cuda:1` names; "cuda" means every GPU that torch can use.

    Raises
    ------
    UsageError
        If a name is empty or there twice.
    """
    names = [name.strip() for name in device.split(",")]
    if names == ["cuda"]:
        with contextlib.suppress(ModuleNotFoundError):  # without torch, loading the model says what is missing
            from clipsieve.encoders.torch import visible_gpus

            return visible_gpus() or names
    if "" in names or len(set(names)) < len(names):
        raise UsageError(
            f"`{device}` does not name devices", expected="a device, or several with commas: `cuda:0,cuda:1`"
        )
    return names


class EncoderProcesses(Encoder):
    """The same encoder on several devices: each call of `encode_images` goes to one that is free.

    Parameters
    ----------
    model : str
        As for :func:`clipsieve.load_encoder`, which each process calls for itself.
    devices : sequence of str
        "cuda:0", "cuda:1"; one process each.
    **options
        Of `load_encoder`: backend, precision, threads, batch_size and so on.

    Raises
    ------
    ClipsieveError
        What `load_encoder` raises in a process.
    EngineError
        If a process cannot be started, or dies.
    """

    def __init__(self, model: str, devices: Sequence[str], **options: Any) -> None:  # noqa: ANN401 - load_encoder's own
        if not devices:
            raise UsageError("no device was named to encode on")
        self._processes: list[EncoderProcess] = []
        self._slots: list[Slot] = []
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        try:
            for device in devices:  # all of them load at the same time
                self._processes.append(EncoderProcess(model, {**_shared_cores(devices), **options, "device": device}))
            self._told = [process.wait_until_ready() for process in self._processes]
            self._identity = _only(self._told, devices)
            self._hand_over()
        except BaseException:
            self.close()
            raise

    def _hand_over(self) -> None:
        side_px, dim = self.recipe.size_px, self._identity.embedding_dim
        self._longest = self._batch_size = min(int(told["batch_size"]) for told in self._told)
        of_each = [
            process.share(Shared(told["n_parallel"], self._longest, side_px, dim))
            for process, told in zip(self._processes, self._told, strict=True)
        ]
        self._slots = [slot for slots in of_each for slot in slots]
        for turn in range(max(map(len, of_each))):  # in turn, so that no device waits while another has several batches
            for slots in of_each:
                if turn < len(slots):
                    self._free.put(slots[turn])

    @property
    def identity(self) -> EncoderIdentity:
        """What all processes say of theirs."""
        return self._identity

    @property
    def location(self) -> str:
        """A name, or the absolute path of the folder."""
        return str(self._told[0]["location"])

    @property
    def logit_scale(self) -> float:
        """The first process's."""
        return float(self._told[0]["logit_scale"])

    @property
    def n_parallel(self) -> int:
        """The sum over the processes."""
        return len(self._slots)

    @property
    def best_batch_size(self) -> int:
        """The smallest of the processes', or a smaller one that they were told to expect."""
        return self._batch_size

    def encode_images(self, pixels: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n d"]:
        """Encode on a device that is free, or the next one that will be; see `Encoder.encode_images`."""
        self.check_size(pixels)
        step = self.best_batch_size
        parts = [self._encode(pixels[start : start + step]) for start in range(0, len(pixels), step)]
        return np.concatenate(parts) if parts else np.zeros((0, self._identity.embedding_dim), dtype=np.float32)

    def _encode(self, pixels: np.ndarray) -> np.ndarray:
        slot = self._free.get()
        try:
            return slot.encode(pixels)
        finally:
            self._free.put(slot)

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Encode in the first process; see `Encoder.encode_texts`."""
        content = self._processes[0].tell({"texts": list(texts)})
        return np.frombuffer(content, dtype=np.float32).reshape(len(texts), self._identity.embedding_dim).copy()

    def expect(self, *, n_images: int | None = None, batch_size: int | None = None) -> None:
        """Tell every process what comes.

        Parameters
        ----------
        n_images : int, optional
            In the whole job.
        batch_size : int, optional
            Images in a batch from now on; no more than the shared memory was made for, which is the `batch_size` of the
            options, or what the processes were fastest with. Longer batches are cut.
        """
        if batch_size is not None:
            batch_size = self._batch_size = min(batch_size, self._longest)
        for process in self._processes:
            process.tell({"n_images": n_images, "batch_size": batch_size})

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.end()
        for slot in self._slots:
            slot.close()
        self._processes, self._slots = [], []


def _shared_cores(devices: Sequence[str]) -> dict[str, int]:
    """Return how many threads each process may have: on GPUs one, since the cores are for decoding."""
    if all(device.startswith("cuda") for device in devices):
        return {"threads": 1}
    return {"threads": max(1, n_cores() // len(devices))}


def _only(told: Sequence[dict[str, Any]], devices: Sequence[str]) -> EncoderIdentity:
    """Return the one identity of all processes; EncoderMismatchError if the files changed while they loaded."""
    found = [
        EncoderIdentity(
            **{**one["identity"], "preprocessing": Preprocessing.from_json(one["identity"]["preprocessing"])}
        )
        for one in told
    ]
    for identity, device in zip(found, devices, strict=True):
        if identity != found[0]:
            raise EncoderMismatchError(
                "the processes have loaded different encoders",
                expected=f"{found[0].description}, as on `{devices[0]}`",
                found=f"{identity.description} on `{device}`",
            )
    return found[0]
