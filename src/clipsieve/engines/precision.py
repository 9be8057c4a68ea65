"""Int8 on a person's own images: calibrated on some, compared with fp32 on others, and refused where it is too far off."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from clipsieve.encoders import Encoder, load_encoder, model_info
from clipsieve.engines.fidelity import Comparison, Fidelity, FidelityBar
from clipsieve.engines.pool import DecodePool
from clipsieve.errors import ModelError, RunError, SourceError
from clipsieve.images import DecodeLimits
from clipsieve.sources import Source
from clipsieve.store import Run
from clipsieve.types import DecodedImage, ImageRef, Plan, Preprocessing

__all__ = ["PrecisionReport", "is_begun_in_int8", "prepare_int8"]

N_CALIBRATION, N_MEASURED = 32, 200
FEWEST_APART = (
    50  # images left for measuring once those for calibration are taken away; where there are fewer, all are measured
)
PART_SIZE = 1000  # of a plan that is made here alone


@dataclass(frozen=True, slots=True)
class PrecisionReport:
    """How the int8 form of an encoder does on a person's images.

    Attributes
    ----------
    model, source, graph : str
        What was asked for; the file of the int8 image tower.
    is_new : bool
        Whether the tower was made by this call.
    n_skipped : int
        Images that could not be read.
    is_apart : bool
        Whether the images measured are others than those for calibration.
    fidelity : Fidelity
        Against fp32.
    """

    model: str
    source: str
    graph: str
    is_new: bool
    n_skipped: int
    is_apart: bool
    fidelity: Fidelity


def is_begun_in_int8(run_path: Path) -> bool:
    """Return whether there is a run in int8: it was compared with fp32 before it was begun."""
    try:
        return Run.open(run_path).manifest.encoder.precision.startswith("int8-")
    except RunError:
        return False


def prepare_int8(
    source: Source,
    model: str,
    *,
    plan: Plan | None = None,
    bar: FidelityBar | None = None,
    force: bool = False,
    workers: int | None = None,
    limits: DecodeLimits | None = None,
    exact: bool = False,
) -> PrecisionReport:
    """Make the int8 form of an encoder, unless it is there, and measure how it does on a source's images.

    Takes 232 images, evenly spread: 32 to calibrate it, 200 to measure. Those that cannot be read are left out.

    Parameters
    ----------
    source : Source
        Only read.
    model : str
        As :func:`clipsieve.load_encoder` takes it; with ONNX graphs.
    plan : Plan, optional
        The source's, where it was listed already.
    bar : FidelityBar, optional
        What is asked of it.
    force : bool, default=False
        Whether to make it anew, calibrated on these images.
    workers : int, optional
        Decoding processes; one for each core by default.
    limits : DecodeLimits, optional
        What an image may cost.
    exact : bool, default=False
        How images are decoded; see `ScanOptions`.

    Returns
    -------
    PrecisionReport
        Kept beside the graph as well.

    Raises
    ------
    ModelError
        If int8 is below the bar, or the model has no ONNX graphs. A new tower is not kept then; one that was there stays, for
        other images.
    SourceError
        If no image of the source can be read.
    MissingExtraError
        If OpenVINO or onnx is not installed.
    """
    from clipsieve.encoders.openvino import require_openvino
    from clipsieve.encoders.quantize import quantize, write_fidelity

    require_openvino("int8")
    bar = bar or FidelityBar()
    folder = _folder(model)
    with load_encoder(model, backend="onnx", device="cpu") as fp32:
        pixels, n_skipped = _sample(source, plan, fp32.recipe, workers, limits or DecodeLimits(), exact=exact)
        calibration, measured, is_apart = _share(pixels)
        comparison = Comparison(fp32, measured, bar.margin)
        new: list[Fidelity] = []
        graph = quantize(
            folder,
            calibration,
            check=lambda made: new.append(_measure(comparison, folder, made, bar, is_new=True)),
            force=force,
        )
    fidelity = new[0] if new else _measure(comparison, folder, graph, bar, is_new=False)
    report = PrecisionReport(model, source.location, str(graph), bool(new), n_skipped, is_apart, fidelity)
    write_fidelity(graph, asdict(report))
    return report


def _folder(model: str) -> Path:
    info = model_info(model)
    if info.backend != "onnx":
        raise ModelError(
            f"`{model}` has no ONNX graphs, which int8 is made from",
            expected="`visual/model.onnx` and `textual/model.onnx`",
            hint=f"export it with `clipsieve models export {model} FOLDER`, and take that folder as the model",
        )
    return Path(info.path)


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
            + ("" if is_new else "; or calibrate it anew with `clipsieve models quantize … --force`"),
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


def _sample(
    source: Source,
    plan: Plan | None,
    recipe: Preprocessing,
    workers: int | None,
    limits: DecodeLimits,
    *,
    exact: bool,
) -> tuple[UInt8[np.ndarray, "n s s 3"], int]:
    """Return images of the source, evenly spread, and how many more could not be read."""
    plan = plan or source.plan(PART_SIZE)
    n_workers = workers or len(os.sched_getaffinity(0))
    with DecodePool(n_workers, recipe, limits, window=2 * n_workers, exact=exact) as pool:
        results = list(pool.map(_spread(source, plan, N_CALIBRATION + N_MEASURED)))
    images = [result.pixels for result in results if isinstance(result, DecodedImage)]
    if not images:
        raise SourceError(
            "int8 cannot be tried: none of the images that were taken can be read",
            found=f"{len(results):,} of {plan.n_images:,} failed",
            hint="`clipsieve scan` without `--precision int8` records the reason of each",
        )
    return np.stack(images), len(results) - len(images)


def _spread(source: Source, plan: Plan, n: int) -> Iterator[ImageRef]:
    """Yield n inputs of a source, or all if it has no more, from its beginning to its end."""
    wanted = np.unique(np.linspace(0, plan.n_images - 1, n).round().astype(np.int64))
    start = 0
    for shard in plan.shards:
        for place in wanted[(wanted >= start) & (wanted < start + shard.n_images)]:
            yield from source.read(source.one(shard, int(place) - start))
        start += shard.n_images


def _share(pixels: UInt8[np.ndarray, "n s s 3"]) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return the images for calibration, those for measuring, and whether they are others."""
    chosen = np.zeros(len(pixels), dtype=bool)
    chosen[np.linspace(0, len(pixels) - 1, min(N_CALIBRATION, len(pixels))).round().astype(np.int64)] = True
    is_apart = int((~chosen).sum()) >= FEWEST_APART
    return pixels[chosen], pixels[~chosen] if is_apart else pixels, is_apart
