"""The int8 image tower of a model folder, made from the fp32 one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from clipsieve._version import __version__
from clipsieve.encoders.folder import ModelFolder, hash_file
from clipsieve.encoders.openvino import require_openvino
from clipsieve.encoders.quantize_graph import FloatGraph, fold_constants
from clipsieve.encoders.quantize_ranges import OnImage, Ranges, embed_each, measure_ranges
from clipsieve.encoders.quantize_recipes import VERSION, Recipe, int8_graph
from clipsieve.encoders.quantize_towers import GRAPH, RECORD, Towers, write_json
from clipsieve.errors import MissingExtraError, ModelError, ModelFileError, UsageError

__all__ = ["FEWEST_IMAGES", "LEAST_COSINE", "quantize", "require_int8"]

LEAST_COSINE = 0.998  # to fp32, in the mean; below it, the next step of the ladder is tried
FEWEST_IMAGES = 32  # with fewer, the range of a channel says more of these images than of the encoder

# From the faster to the more faithful. Those of one step are equally fast, and the more faithful one is taken: smoothing saves
# a tower whose channels reach far apart, and costs a little where they do not.
LADDER = (
    (Recipe(smooth=False, fp32_share=0), Recipe(smooth=True, fp32_share=0)),
    (Recipe(smooth=True, fp32_share=1 / 24),),
)


def require_int8(backend: str = "auto", device: str = "auto") -> None:
    """Refuse what int8 cannot be made or run with, before anything is made.

    Parameters
    ----------
    backend, device : str
        As :func:`clipsieve.load_encoder` takes them; a device may be several, with commas.

    Raises
    ------
    UsageError
        If they do not go with int8, or the processor has no instructions for it.
    MissingExtraError
        If OpenVINO or onnx is not installed.
    """
    if backend not in ("auto", "openvino"):
        raise UsageError(
            f"`--backend {backend}` has no int8",
            expected="--backend openvino",
            hint="leave it away, or `--precision fp32`",
        )
    if device not in ("auto", "cpu"):
        raise UsageError(
            f"there is no int8 on `{device}`",
            expected="--device cpu",
            hint="on a GPU, `--backend torch` has bf16 and fp16",
        )
    require_openvino("int8")
    try:
        import onnx  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "what makes int8 graphs is not installed",
            expected="the openvino extra",
            found=f"no module `{error.name}`",
            hint="`pip install 'clipsieve[openvino]'`",
        ) from error


def quantize(
    folder_path: Path,
    calibration: UInt8[np.ndarray, "n s s 3"],
    *,
    check: Callable[[Path], object] = lambda _graph: None,
    force: bool = False,
    on_image: OnImage = lambda: None,
) -> Path:
    """Make the int8 image tower of a model folder, unless there is one.

    Parameters
    ----------
    folder_path : Path
        A model folder with ONNX graphs. It is only read.
    calibration : uint8 array of shape (n, s, s, 3)
        Images as the encoder takes them, n >= 32. The ranges of all channels are taken from them.
    check : callable
        Called with the new graph before anything can find it; what it raises is raised, and no graph is left.
    force : bool, default=False
        Whether to make another one if there is one, which stays; the new one is then the current one.
    on_image : callable
        Called whenever an image has gone through a graph.

    Returns
    -------
    Path
        The graph.

    Raises
    ------
    UsageError
        If the calibration images have another size.
    ModelFileError
        If the fp32 graph is damaged.
    ModelError
        If there are too few calibration images, or no recipe gives embeddings close enough to those of fp32.
    """
    folder, towers = ModelFolder.open(folder_path), Towers(folder_path)
    with towers.alone() as scratch:
        current = towers.current
        if current is not None and towers.has(current) and not force:
            return towers.graph(current)
        _check_images(folder, calibration)
        made = _make(folder, towers, scratch, calibration, on_image)
        check(made / GRAPH)
        return towers.publish(made)


def _check_images(folder: ModelFolder, calibration: np.ndarray) -> None:
    side = folder.recipe.size_px
    if calibration.shape[1:] != (side, side, 3):
        raise UsageError(
            "these are no images to calibrate the encoder with",
            expected=f"(n, {side}, {side}, 3)",
            found=str(calibration.shape),
        )
    if len(calibration) < FEWEST_IMAGES:
        raise ModelError(
            "there are too few images to calibrate int8 with",
            expected=f"at least {FEWEST_IMAGES}",
            found=f"{len(calibration)} readable images",
            state="no int8 form was made",
            hint="`--precision bf16`, or fp32; or make it from others with `clipsieve models quantize MODEL OTHER_IMAGES`",
        )


def _make(
    folder: ModelFolder,
    towers: Towers,
    scratch: Path,
    calibration: UInt8[np.ndarray, "n s s 3"],
    on_image: OnImage,
) -> Path:
    """Make the graph and its record in a folder of their own within the scratch, and return that."""
    try:
        fold_constants(folder.path / "visual/model.onnx", scratch / "float.onnx")
        graph = FloatGraph(scratch / "float.onnx")
        ranges, features = measure_ranges(graph, scratch / "ranges.onnx", folder.recipe, calibration, on_image)
    except Exception as error:  # the runtime raises classes of its own for each kind of damage
        raise ModelFileError(
            f"cannot quantize the graph `{folder.path / 'visual/model.onnx'}`",
            found=" ".join(str(error).split())[:300],
            hint="the file is damaged or cut short; fetch or export the model again",
        ) from error
    if not graph.products:
        raise ModelError(
            f"there is nothing to quantize in `{folder.path / 'visual/model.onnx'}`",
            expected="products with fixed float32 weights",
            hint="`--precision bf16`, or fp32",
        )
    made = scratch / "made"
    made.mkdir()

    def closeness(candidate: Path) -> float:
        return _mean_cosine(embed_each(candidate, folder.recipe, calibration, on_image), features)

    recipe, cosine = _climb(graph, ranges, closeness, made / GRAPH)
    if cosine < LEAST_COSINE:
        raise ModelError(
            f"no int8 form of `{folder.path}` is close enough to it",
            expected=f"a mean cosine of at least {LEAST_COSINE} to the fp32 embeddings of {len(calibration)} images",
            found=f"{cosine:.4f}",
            state="nothing was kept",
            hint="`--precision bf16`, or fp32",
        )
    write_json(made / RECORD, _record(towers, made / GRAPH, recipe, calibration, cosine))
    return made


def _record(
    towers: Towers, graph: Path, recipe: Recipe, calibration: UInt8[np.ndarray, "n s s 3"], cosine: float
) -> dict[str, object]:
    return {
        "format": 1,
        "clipsieve": __version__,
        "weights_sha256": towers.weights_sha256,
        "graph_sha256": hash_file(graph),
        "recipes_version": VERSION,
        "recipe": asdict(recipe),
        "calibration": {
            "n_images": len(calibration),
            "sha256": hashlib.sha256(np.ascontiguousarray(calibration).data).hexdigest(),
            "cosine_mean": cosine,
        },
        "versions": {name: version(name) for name in ("onnx", "onnxruntime")},
    }


def _climb(
    graph: FloatGraph, ranges: Mapping[str, Ranges], closeness: Callable[[Path], float], path: Path
) -> tuple[Recipe, float]:
    """Write the best graph of the first step of the ladder that comes close enough, else of the last; say how, how close."""
    import onnx

    for step in LADDER:
        tried = []
        for place, recipe in enumerate(step):
            candidate = path.with_name(f"{place}.onnx")
            onnx.save(int8_graph(graph, ranges, recipe), str(candidate))
            tried.append((closeness(candidate), candidate, recipe))
        best, chosen, recipe = max(tried, key=lambda each: each[0])
        chosen.replace(path)
        for _, candidate, _ in tried:
            candidate.unlink(missing_ok=True)
        if best >= LEAST_COSINE:
            break
    return recipe, best


def _mean_cosine(left: Float32[np.ndarray, "n d"], right: Float32[np.ndarray, "n d"]) -> float:
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = float(np.mean((left * right).sum(axis=1) / norms))
    return cosine if np.isfinite(cosine) else -1.0
