"""The encoder of a scan on a cluster: loaded there once by a worker, which says what it is and tries it out."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from clipsieve.encoders import Encoder
from clipsieve.encoders.load import EncoderChoice
from clipsieve.engines.ray.cluster import in_words
from clipsieve.engines.ray.layout import Layout
from clipsieve.errors import EngineError
from clipsieve.types import EncoderIdentity

__all__ = ["RayEncoder"]

_log = logging.getLogger("clipsieve.engines")

PATIENCE_S = 20.0
START_S = 900.0  # to find room on the cluster, to start a process and to load a model, which may have to be fetched


@dataclass(frozen=True, slots=True)
class _Told:
    """What a worker says of the encoder that it has loaded."""

    identity: EncoderIdentity
    location: str
    logit_scale: float
    batch_size: int
    n_parallel: int


class _Loaded:
    """What runs on the worker."""

    def __init__(self, choice: EncoderChoice) -> None:
        self._choice = (
            choice  # loaded by a call and not here: Ray tells of what goes wrong here as a death without a cause
        )

    @cached_property
    def _encoder(self) -> Encoder:
        return self._choice.load()

    def tell(self) -> _Told:
        """Return what it is; on a GPU, the size of a batch is found by trying."""
        encoder = self._encoder
        return _Told(
            encoder.identity, encoder.location, encoder.logit_scale, encoder.best_batch_size, encoder.n_parallel
        )

    def call(self, name: str, value: Any) -> np.ndarray:  # noqa: ANN401
        """Encode images or texts."""
        found: np.ndarray = getattr(self._encoder, name)(value)
        return found


class RayEncoder(Encoder):
    """An encoder that one worker of a cluster holds, for trying out and for short work; a scan loads its own on every worker.

    Parameters
    ----------
    choice : EncoderChoice
        What to load; the model's files are where the workers find them.
    layout : Layout
        What the worker is given, and what a scan with this encoder uses.

    Raises
    ------
    clipsieve.errors.ClipsieveError
        What loading raises on the worker.
    EngineError
        If no worker could be started.
    """

    def __init__(self, choice: EncoderChoice, layout: Layout) -> None:
        self.choice = choice
        self.layout = layout
        self.n_images: int | None = None
        self._actor: Any = None
        with in_words():
            self._told: _Told = self._get(self._worker().tell.remote())

    def _worker(self) -> Any:  # noqa: ANN401
        if self._actor is None:
            import ray

            room = {"num_cpus": self.layout.cpus_per_encoder, "num_gpus": self.layout.gpus_per_encoder}
            self._actor = ray.remote(_Loaded).options(**room).remote(self.choice)
        return self._actor

    @staticmethod
    def _get(reference: Any) -> Any:  # noqa: ANN401
        import ray

        if not ray.wait([reference], timeout=PATIENCE_S)[0]:
            _log.warning("waiting for a worker of the cluster: all may be at work, or a model is being fetched")
        try:
            return ray.get(reference, timeout=START_S)
        except ray.exceptions.GetTimeoutError as error:
            raise EngineError(
                f"no worker of the cluster has answered within {START_S / 60:g} minutes",
                expected="room for one encoder",
                state="nothing was written",
                hint="`ray status` shows what is free, and what else is at work; wait for it, or ask for less",
            ) from error

    @property
    def identity(self) -> EncoderIdentity:
        """What the worker says."""
        return self._told.identity

    @property
    def location(self) -> str:
        """Where the worker found it."""
        return self._told.location

    @property
    def logit_scale(self) -> float:
        """What the worker says."""
        return self._told.logit_scale

    @property
    def n_parallel(self) -> int:
        """Calls at once that suit each worker."""
        return self._told.n_parallel

    @property
    def best_batch_size(self) -> int:
        """What suits the worker."""
        return self._told.batch_size

    def expect(self, *, n_images: int | None = None, batch_size: int | None = None) -> None:  # noqa: ARG002
        """Keep what is to come for the encoders of the scan."""
        self.n_images = n_images or self.n_images

    def encode_images(self, pixels: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n d"]:
        """Encode on the worker; see `Encoder.encode_images`."""
        self.check_size(pixels)
        with in_words():
            return np.asarray(self._get(self._worker().call.remote("encode_images", pixels)))

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Encode on the worker; see `Encoder.encode_texts`."""
        with in_words():
            return np.asarray(self._get(self._worker().call.remote("encode_texts", list(texts))))

    def close(self) -> None:
        """End the worker, so that what it was given is free for others; the next call starts one anew."""
        if self._actor is not None:
            import ray

            with contextlib.suppress(Exception):
                ray.kill(self._actor)
            self._actor = None
