"""Batches of one fixed length through a device, several on their way at once.

Imports torch; it needs the torch extra. On a GPU, each call copies on a stream of its own through pinned memory, and all of them
compute on one stream, in turn: while one computes, others copy.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float32, UInt8

__all__ = ["BatchRunner", "CapturedTower", "Compute", "find_batch_size", "on_device", "seconds_for"]

Compute: TypeAlias = Callable[[torch.Tensor], torch.Tensor]

FIRST_BATCH, LARGEST_BATCH = 32, 1024
WORTH = 1.05  # twice the batch must bring at least so much more
WARM_UP_RUNS = 3


def on_device(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Make a GPU the current one of this thread: streams, graphs and pinned memory belong to the current one."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


class CapturedTower:
    """A tower whose kernels were recorded once for one length and are replayed by one call: no launch waits for Python.

    Parameters
    ----------
    tower : callable
        From pixels to rows.
    example : tensor
        Pixels of the length that it is recorded for.
    """

    def __init__(self, tower: Compute, example: torch.Tensor) -> None:
        self._pixels = example.clone()
        stream = torch.cuda.Stream(example.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(example.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_RUNS):  # libraries choose their kernels and take their memory now
                tower(self._pixels)
        stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        # thread_local: what other threads ask of the GPU meanwhile is no part of the recording, and allowed.
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
            self._rows = tower(self._pixels)
        stream.synchronize()

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the rows' one place: copy from there, on the same stream, before the next call."""
        self._pixels.copy_(pixels)
        self._graph.replay()
        return self._rows


class _Slot:
    """The buffers of one call. On a CPU nothing overlaps: a copy is done when it returns."""

    def __init__(self, batch_size: int, side_px: int, dim: int, device: torch.device) -> None:
        pinned = device.type == "cuda"
        self.sent = torch.zeros((batch_size, side_px, side_px, 3), dtype=torch.uint8, pin_memory=pinned)
        self.received = torch.zeros((batch_size, dim), dtype=torch.float32, pin_memory=pinned)
        self.pixels = torch.zeros_like(self.sent, device=device)
        self.rows = torch.zeros_like(self.received, device=device)

    def fill(self, pixels: UInt8[np.ndarray, "n s s 3"]) -> None:
        # What an earlier batch left behind it fills the rest: rows do not depend on their neighbours, and those are dropped.
        np.copyto(self.sent.numpy()[: len(pixels)], pixels)

    def run(self, compute: Compute, turn: threading.Lock) -> None:
        self.pixels.copy_(self.sent)
        with turn:
            self.rows.copy_(compute(self.pixels))
        self.received.copy_(self.rows)


class _CudaSlot(_Slot):
    """The buffers of one call on a GPU, with a stream for its copies."""

    def __init__(
        self, batch_size: int, side_px: int, dim: int, device: torch.device, computing: torch.cuda.Stream
    ) -> None:
        super().__init__(batch_size, side_px, dim, device)
        self._computing = computing
        self._copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._is_there, self._is_done, self._is_back = (_event() for _ in range(3))
        torch.cuda.synchronize(device)  # the zeros above were written on another stream

    def run(self, compute: Compute, turn: threading.Lock) -> None:
        try:
            self._ask_for(compute, turn)
        except BaseException:
            # What was asked for before may still be under way, and whoever has the buffers next may fill or free them.
            self._copying.synchronize()
            self._computing.synchronize()
            raise
        self._is_back.synchronize()

    def _ask_for(self, compute: Compute, turn: threading.Lock) -> None:
        with torch.cuda.stream(self._copying):
            self.pixels.copy_(self.sent, non_blocking=True)
            self._is_there.record(self._copying)
        # Only the order of what is asked for is locked; nothing below waits for the GPU.
        with turn, torch.cuda.stream(self._computing):
            self._computing.wait_event(self._is_there)
            self.rows.copy_(compute(self.pixels))
            self._is_done.record(self._computing)
        with torch.cuda.stream(self._copying):
            self._copying.wait_event(self._is_done)
            self.received.copy_(self.rows, non_blocking=True)
            self._is_back.record(self._copying)


def _event() -> torch.cuda.Event:
    # blocking: who waits sleeps, and leaves the core to the decoders.
    return torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]


class BatchRunner:
    """Runs batches of one length; shorter ones are padded, longer ones cut.

    Parameters
    ----------
    compute : callable
        From uint8 (batch_size, s, s, 3) to float32 (batch_size, d), both on the device.
    device : torch.device
        Where.
    batch_size : int
        The one length, >= 1.
    side_px, dim : int
        s and d.
    n_slots : int
        How many calls may be on their way at once; more wait.
    """

    def __init__(
        self, compute: Compute, device: torch.device, *, batch_size: int, side_px: int, dim: int, n_slots: int
    ) -> None:
        self.batch_size = batch_size
        self._compute: Compute | None = compute
        self._device = device
        self._n_slots = n_slots
        self._turn = threading.Lock()
        self._slots: queue.SimpleQueue[_Slot | None] = queue.SimpleQueue()
        sizes = (batch_size, side_px, dim, device)
        with on_device(device):
            computing = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
            for _ in range(n_slots):
                self._slots.put(_Slot(*sizes) if computing is None else _CudaSlot(*sizes, computing))

    @torch.inference_mode()
    def run(self, pixels: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n d"] | None:
        """Return one row for each image; 1 <= n <= batch_size. Any thread may call. None if it was closed meanwhile.

        Raises
        ------
        torch.OutOfMemoryError
            If the device has no room for this length.
        """
        slot = self._slots.get()
        try:
            compute = self._compute
            if slot is None or compute is None:
                return None
            slot.fill(pixels)
            with on_device(self._device):
                slot.run(compute, self._turn)
            return slot.received[: len(pixels)].numpy().copy()
        finally:
            self._slots.put(slot)

    def close(self) -> None:
        """Wait for the calls under way and release the buffers and what computes, whoever still holds the runner."""
        if self._compute is None:
            return
        self._compute = None
        for _ in range(self._n_slots):
            self._slots.get()
        self._slots.put(None)  # for those that wait for a slot: each hands it on


def seconds_for(compute: Compute, pixels: torch.Tensor, *, at_least_s: float = 0.2) -> float:
    """Return the seconds of one call on ready tensors, the mean of enough of them."""
    compute(pixels)
    n = 1
    while True:
        _wait(pixels.device)
        start = time.perf_counter()
        for _ in range(n):
            compute(pixels)
        _wait(pixels.device)
        elapsed = time.perf_counter() - start
        if elapsed >= at_least_s:
            return elapsed / n
        n = max(2 * n, int(n * at_least_s / max(elapsed, 1e-6)) + 1)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def find_batch_size(rate: Callable[[int], float]) -> tuple[int, dict[int, float]]:
    """Return the smallest batch size that is about as fast as larger ones, and the rates that were seen.

    Doubles from 32 while that brings 5 % more and memory suffices; where not even 32 fit, halves.

    Parameters
    ----------
    rate : callable
        From a batch size to images per second; torch.OutOfMemoryError if it does not fit.

    Raises
    ------
    torch.OutOfMemoryError
        If not even one image fits.
    """
    rates: dict[int, float] = {}
    best = size = FIRST_BATCH
    while size <= LARGEST_BATCH:
        with contextlib.suppress(torch.OutOfMemoryError):
            rates[size] = rate(size)
        if size not in rates or (rates and rates[size] < WORTH * rates.get(size // 2, 0.0)):
            break
        best, size = size, 2 * size
    size = FIRST_BATCH // 2
    while not rates:
        try:
            rates[size] = rate(size)
            best = size
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
    return best, rates
