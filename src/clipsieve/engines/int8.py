"""Int8 on a person's own images: calibrated on some, compared with fp32 on others, and refused where it is too far off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from clipsieve.cores import n_cores
from clipsieve.encoders import Encoder, load_encoder
from clipsieve.encoders.folder import ModelFolder
from clipsieve.encoders.place import find_graphs
from clipsieve.encoders.quantize import FEWEST_IMAGES, quantize, require_int8
from clipsieve.encoders.quantize_towers import Towers, precision_of
from clipsieve.engines.fidelity import Comparison, Fidelity, FidelityBar
from clipsieve.engines.pool import DecodePool
from clipsieve.engines.sample import sample
from clipsieve.errors import ModelError, RunError, SourceError
from clipsieve.images import BlockList, DecodeLimits
from clipsieve.sources import Source
from clipsieve.store import Run, RunPath
from clipsieve.types import DecodedImage

__all__ = ["Int8Report", "int8_of_run", "prepare_int8"]

N_CALIBRATION, N_MEASURED = FEWEST_IMAGES, 200
FEWEST_APART = 50  # images left when those for calibration are taken away; where there are fewer, all are measured
N_CALIBRATION_PASSES = 3  # of each calibration image: for the ranges, and through two graphs


@dataclass(frozen=True, slots=True)
class Int8Report:
    """How the int8 form of an encoder does on a person's images.

    Attributes
    ----------
    model, source : str
        What was asked for.
    precision : str
        "int8-" and 12 hex digits; :func:`clipsieve.load_encoder` takes it.
    graph : str
        The file of the int8 image tower.
    is_new : bool
        Whether the tower was made by this call.
    n_skipped : int
        Images that could not be read, or are blocked.
    is_apart : bool
        Whether the images measured are others than those for calibration.
    fidelity : Fidelity
        Against fp32.
    """

    model: str
    source: str
    precision: str
    graph: str
    is_new: bool
    n_skipped: int
    is_apart: bool
    fidelity: Fidelity


def int8_of_run(run_path: RunPath, model: str) -> str | None:
    """Return the int8 precision with which a run of a model can go on.

    Parameters
    ----------
    run_path : Path or UPath
        A run, or what may become one.
    model : str
        What encodes from now on.

    Returns
    -------
    str or None
        None where the run was not begun with these weights in int8, or its tower is not on this machine, or damaged.

    Raises
    ------
    ModelError
        If there is no such model, or it has no ONNX graphs.
    """
    try:
        encoder = Run.open(run_path).manifest.encoder
    except RunError:
        return None
    if not encoder.precision.startswith("int8-"):
        return None
    folder = find_graphs(model)
    is_same = ModelFolder.open(folder).weights_sha256() == encoder.weights_sha256
    return encoder.precision if is_same and Towers(folder).has(encoder.precision) else None


def prepare_int8(
    source: Source,
    model: str,
    *,
    bar: FidelityBar | None = None,
    force: bool = False,
    workers: int | None = None,
    limits: DecodeLimits | None = None,
    block_list: BlockList | None = None,
    exact: bool = False,
    on_progress: Callable[[int, int], object] = lambda _n_done, _n_total: None,
) -> Int8Report:
    """Make the int8 form of an encoder, unless it is there, and measure how it does on a source's images.

    Takes 232 images, evenly spread: 32 to calibrate it, 200 to measure. Those that cannot be read are left out.

    Parameters
    ----------
    source : Source
        Only read. Of tar files, some are opened and the others are not.
    model : str
        As :func:`clipsieve.load_encoder` takes it; with ONNX graphs.
    bar : FidelityBar, optional
        What is asked of it.
    force : bool, default=False
        Whether to make another one, calibrated on these images, which is taken from then on. Runs keep theirs.
    workers : int, optional
        Decoding processes; one for each core by default.
    limits : DecodeLimits, optional
        What an image may cost.
    block_list : BlockList, optional
        Images that no decoder sees.
    exact : bool, default=False
        How images are decoded; see `ScanOptions`.
    on_progress : callable
        Called with the steps done and, as far as is known, those in all: an image decoded, or through one of the graphs.

    Returns
    -------
    Int8Report
        What was found.

    Raises
    ------
    ModelError
        If int8 is below the bar, there are fewer than 32 images to calibrate it with, or the model has no ONNX graphs. A new
        tower is not kept then; one that was there stays, for other images.
    SourceError
        If no image of the source can be read.
    MissingExtraError
        If OpenVINO or onnx is not installed.
    UsageError
        If the processor has no instructions for int8.
    """
    require_int8()
    bar = bar or FidelityBar()
    folder = find_graphs(model)
    steps = _Steps(on_progress)
    with load_encoder(model, backend="onnx", device="cpu") as fp32:
        n_workers = workers or n_cores()
        with DecodePool(
            n_workers,
            fp32.recipe,
            limits or DecodeLimits(),
            window=2 * n_workers,
            blocked=block_list,
            exact=exact,
        ) as pool:
            pixels, n_skipped = _decode(source, pool, steps)
        calibration, measured, is_apart = _share(pixels)
        steps.left(N_CALIBRATION_PASSES * len(calibration) + 2 * len(measured))
        comparison = Comparison(fp32, measured, bar.cosine_mean, steps)
        new: list[Fidelity] = []
        graph = quantize(
            folder,
            calibration,
            check=lambda made: new.append(_measure(comparison, folder, made, bar, is_new=True)),
            force=force,
            on_image=partial(steps, 1),
        )
    fidelity = new[0] if new else _measure(comparison, folder, graph, bar, is_new=False)
    steps.left(0)
    return Int8Report(model, source.location, precision_of(graph), str(graph), bool(new), n_skipped, is_apart, fidelity)


class _Steps:
    """Counts images: each one decoded, and each one through a graph."""

    def __init__(self, on_progress: Callable[[int, int], object]) -> None:
        self._on_progress = on_progress
        self._n_done = 0
        self._n_total = N_CALIBRATION * (1 + N_CALIBRATION_PASSES) + 3 * N_MEASURED

    def __call__(self, n: int) -> None:
        self._n_done += n
        self._n_total = max(self._n_total, self._n_done)
        self._on_progress(self._n_done, self._n_total)

    def left(self, n: int) -> None:
        """Set how many are still to come."""
        self._n_total = self._n_done + n
        self(0)


def _decode(source: Source, pool: DecodePool, steps: _Steps) -> tuple[UInt8[np.ndarray, "n s s 3"], int]:
    """Return images of the source, and how many more were left out."""
    images, n_skipped = [], 0
    for result in pool.map(sample(source, N_CALIBRATION + N_MEASURED)):
        if isinstance(result, DecodedImage):
            images.append(result.pixels)
        else:
            n_skipped += 1
        steps(1)
    if not images:
        raise SourceError(
            "int8 cannot be tried: none of the images that were taken can be read",
            found=f"{n_skipped:,} failed, or are blocked",
            hint="`clipsieve scan` without `--precision int8` records the reason of each",
        )
    return np.stack(images), n_skipped


def _share(pixels: UInt8[np.ndarray, "n s s 3"]) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return the images for calibration, those for measuring, and whether they are others."""
    chosen = np.zeros(len(pixels), dtype=bool)
    chosen[np.linspace(0, len(pixels) - 1, min(N_CALIBRATION, len(pixels))).round().astype(np.int64)] = True
    is_apart = int((~chosen).sum()) >= FEWEST_APART
    return pixels[chosen], pixels[~chosen] if is_apart else pixels, is_apart


def _measure(comparison: Comparison, folder: Path, graph: Path, bar: FidelityBar, *, is_new: bool) -> Fidelity:
    """Return how an int8 tower does; ModelError below the bar."""
    with _int8_encoder(folder, graph) as int8:
        fidelity = comparison.with_int8(int8)
    shortfalls = bar.shortfalls(fidelity)
    if shortfalls:
        raise ModelError(
            f"int8 is too far from fp32 on {fidelity.n_measured:,} of these images",
            expected="; ".join(expected for expected, _ in shortfalls),
            found="; ".join(found for _, found in shortfalls),
            state="no int8 form was kept" if is_new else "the int8 form that is there was calibrated on other images",
            hint="`--precision bf16`, or fp32"
            + ("" if is_new else "; or calibrate another one with `clipsieve models quantize … --force`"),
        )
    return fidelity


def _int8_encoder(folder: Path, graph: Path) -> Encoder:
    """Return the encoder of a graph that nothing else may find yet."""
    from clipsieve.encoders.onnx import OnnxEncoder
    from clipsieve.encoders.openvino import OpenVinoGraph

    return OnnxEncoder(
        folder,
        name=folder.name,
        location=str(folder),
        precision="int8",
        open_image_graph=partial(OpenVinoGraph, precision="int8"),
        image_graph=graph,
    )
