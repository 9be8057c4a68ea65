"""An image tower brought to the speed of its device: the batch size, the compiler, the recording.

Imports torch; it needs the torch extra. Each step is checked against the plain tower, and left out with a warning where it fails.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from clipsieve.encoders.torch_images import ImageTower
from clipsieve.encoders.torch_runner import (
    BatchRunner,
    CapturedTower,
    Compute,
    find_batch_size,
    on_device,
    seconds_for,
)

__all__ = ["TunedTower"]

LEAST_COSINE = 0.999  # between rows of the plain tower and of a faster way; bf16 itself rounds by 0.4 %

# Layers are compiled in torch's default mode: products stay with the vendor's library, what lies between them is fused. The
# modes that try out kernels take minutes, and what they choose, and so the last digits, may be another the next time.
COMPILE_OPTIONS = {"backend": "inductor"}


class TunedTower:
    """Encodes images on one device, from several threads at once.

    Parameters
    ----------
    tower : ImageTower
        On the device.
    device : torch.device
        Where.
    side_px, dim : int
        Of the images and the rows.
    batch_size : int, optional
        The one length that the device works in; found by trying when it is first needed.
    compile_options : dict, optional
        For `torch.compile`; nothing is compiled without them.
    captured : bool, default=False
        Whether the kernels are recorded and replayed: on a GPU.
    n_slots : int, default=1
        How many batches may be on their way at once.
    """

    def __init__(
        self,
        tower: ImageTower,
        device: torch.device,
        *,
        side_px: int,
        dim: int,
        batch_size: int | None = None,
        compile_options: dict[str, Any] | None = None,
        captured: bool = False,
        n_slots: int = 1,
    ) -> None:
        self._tower, self._device = tower, device
        self._side_px, self._dim, self._n_slots = side_px, dim, n_slots
        self._batch_size = batch_size
        self._compile_options, self._captured = compile_options, captured
        self._runner: BatchRunner | None = None
        self._lock = threading.RLock()
        self._facts: dict[str, object] = {}

    @property
    def batch_size(self) -> int:
        """Images in a batch; the first time, this takes a few seconds of trying."""
        with self._lock, on_device(self._device):
            if self._batch_size is None:
                self._batch_size, rates = find_batch_size(self._rate)
                self._facts["images_per_s"] = rates
                self._give_back()
            return self._batch_size

    @property
    def facts(self) -> dict[str, object]:
        """What was found out and done: batch size, rates, compiled, captured, seconds of preparation."""
        with self._lock:
            return {"batch_size": self._batch_size, **self._facts}

    def encode(self, pixels: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n d"]:
        """Return one unit-norm row for each image; any thread may call.

        Where the device's memory does not suffice, batches are halved for good, and no row is lost.

        Raises
        ------
        torch.OutOfMemoryError
            If not even one image fits.
        """
        rows = np.empty((len(pixels), self._dim), dtype=np.float32)
        start = 0
        while start < len(pixels):
            runner = self._ready()
            done = _run_if_there_is_room(runner, pixels[start : start + runner.batch_size])
            if done is None:
                self._halve(runner)
                continue
            rows[start : start + len(done)] = done
            start += len(done)
        return rows

    def _ready(self) -> BatchRunner:
        with self._lock, on_device(self._device), torch.inference_mode():
            while self._runner is None:
                self._runner = self._make_if_there_is_room(self.batch_size)
                if self._runner is None:
                    self._take_half()
            return self._runner

    def _make_if_there_is_room(self, size: int) -> BatchRunner | None:
        start = time.perf_counter()
        try:
            return BatchRunner(
                self._prepare(size),
                self._device,
                batch_size=size,
                side_px=self._side_px,
                dim=self._dim,
                n_slots=self._n_slots,
            )
        except torch.OutOfMemoryError:
            return None
        finally:
            self._facts["prepare_s"] = time.perf_counter() - start

    def _halve(self, failed: BatchRunner) -> None:
        """Take half the batch from now on; of several threads that ran out of memory together, one does it."""
        with self._lock, on_device(self._device):
            if self._runner is failed:
                self._take_half()
                self._runner = None
                failed.close()  # before the next one is made, which needs its memory; calls in other threads end first
                self._give_back()

    def _take_half(self) -> None:
        if self.batch_size == 1:
            raise torch.OutOfMemoryError("the device has no room for a single image")
        self._batch_size = self.batch_size // 2
        self._give_back()

    def _prepare(self, size: int) -> Compute:
        trial = self._noise(size)
        if self._compile_options is not None:  # perhaps compiled already, for a longer batch
            self._tower.as_written()
        plain = self._tower(trial).clone()
        if self._compile_options is not None:
            self._tower.compile_layers(**self._compile_options)
            if self._try("compiled", lambda: self._tower, trial, plain) is None:
                self._compile_options = None
                self._tower.as_written()
        captured = None
        if self._captured:
            # Recorded with other images than it is tried with: a recording that takes no new ones would pass otherwise.
            black = torch.zeros_like(trial)
            captured = self._try("captured", lambda: CapturedTower(self._tower, black), trial, plain)
            self._captured = captured is not None
        return captured or self._tower

    def _try(self, step: str, make: Callable[[], Compute], trial: torch.Tensor, plain: torch.Tensor) -> Compute | None:
        """Return a faster way if it can be made and gives the plain tower's rows; else None, and a person reads why."""
        try:
            compute = make()
            found = compute(trial)
            reason = None if _agree(found, plain) else "its rows are not those of the plain tower"
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - compilers raise everything, and the plain tower always works
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        self._facts[step] = reason or True
        if reason is None:
            return compute
        warnings.warn(
            f"the image tower cannot be {step} on `{self._device}` and runs without, more slowly: {reason}",
            RuntimeWarning,
            stacklevel=2,
        )
        return None

    def _rate(self, size: int) -> float:
        with torch.inference_mode():
            return size / seconds_for(self._tower, self._noise(size))

    def _noise(self, size: int) -> torch.Tensor:
        random = torch.Generator().manual_seed(0)
        shape = (size, self._side_px, self._side_px, 3)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=random).to(self._device)

    def _give_back(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _run_if_there_is_room(runner: BatchRunner, pixels: np.ndarray) -> np.ndarray | None:
    # A function of its own: once it has returned, no exception holds the buffers of the call that failed.
    try:
        return runner.run(pixels)
    except torch.OutOfMemoryError:
        return None


def _agree(found: torch.Tensor, plain: torch.Tensor) -> bool:
    cosine = (found * plain).sum(dim=1)
    has_none = plain.isnan().any(dim=1)  # weights that are no numbers are told elsewhere
    return bool(((cosine > LEAST_COSINE) | has_none).all())
