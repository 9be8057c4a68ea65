"""The int8 image tower of a model folder: made once from the fp32 one, and kept beside the fetched models.

::

    CLIPSIEVE_HOME/int8/<what it was made from>/
      model.onnx           the int8 graph, its weights within
      quantization.json    how it was made: hashes, recipe, calibration images, versions
      fidelity.json        how it compares with fp32, as last measured
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from clipsieve._version import __version__
from clipsieve.encoders.catalog import data_dir
from clipsieve.encoders.folder import ModelFolder, hash_file, hash_files
from clipsieve.encoders.quantize_graph import FloatGraph, fold_constants
from clipsieve.encoders.quantize_ranges import Ranges, embed_each, measure_ranges
from clipsieve.encoders.quantize_recipes import VERSION, Recipe, int8_graph
from clipsieve.errors import MissingExtraError, ModelError, ModelFileError, UsageError

__all__ = ["LEAST_COSINE", "quantize", "quantized_graph", "read_quantization", "write_fidelity"]

GRAPH, RECORD, FIDELITY = "model.onnx", "quantization.json", "fidelity.json"
LEAST_COSINE = 0.998  # in the mean over the calibration images; below it, the next step of the ladder is tried

# From the fastest to the most faithful. Those of one step are equally fast, and the more faithful one is taken: smoothing saves
# a tower whose channels reach far apart, and costs a little where they do not.
LADDER = (
    (Recipe(smooth=False, fp32_share=0), Recipe(smooth=True, fp32_share=0)),
    (Recipe(smooth=True, fp32_share=1 / 24),),
    (Recipe(smooth=True, fp32_share=1 / 8),),
)


def quantized_graph(folder_path: Path) -> Path | None:
    """Return the int8 graph that was made for a model folder, or None if there is none, or it is not what was made.

    Raises
    ------
    ModelFileError
        If the folder is not whole.
    """
    graph = _place(ModelFolder.open(folder_path)) / GRAPH
    return graph if _is_whole(graph) else None


def quantize(
    folder_path: Path,
    calibration: UInt8[np.ndarray, "n s s 3"],
    *,
    check: Callable[[Path], object] = lambda _graph: None,
    force: bool = False,
) -> Path:
    """Make the int8 image tower of a model folder, unless it is there.

    Parameters
    ----------
    folder_path : Path
        A model folder with ONNX graphs. It is only read.
    calibration : uint8 array of shape (n, s, s, 3)
        Images as the encoder takes them, n >= 1; 32 are enough. The ranges of all channels are taken from them.
    check : callable
        Called with the new graph before anything can find it; what it raises is raised, and no graph is left.
    force : bool, default=False
        Whether to make it anew if it is there.

    Returns
    -------
    Path
        The graph.

    Raises
    ------
    UsageError
        If there are no calibration images, or they have another size.
    MissingExtraError
        If onnx is not installed.
    ModelFileError
        If the fp32 graph is damaged.
    ModelError
        If no recipe gives embeddings close enough to those of fp32.
    """
    folder = ModelFolder.open(folder_path)
    _check_images(folder, calibration)
    place = _place(folder)
    with _alone(place):
        graph = place / GRAPH
        if force or not _is_whole(graph):
            with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as scratch:
                made = _make(folder, Path(scratch), calibration)
                check(made / GRAPH)
                _publish(made, place)
    return graph


def read_quantization(graph: Path) -> dict[str, Any]:
    """Return how an int8 graph was made."""
    record: dict[str, Any] = json.loads(graph.with_name(RECORD).read_text(encoding="utf-8"))
    return record


def write_fidelity(graph: Path, facts: Mapping[str, object]) -> None:
    """Keep, beside an int8 graph, how it compares with fp32."""
    _write_json(graph.with_name(FIDELITY), facts)


def _place(folder: ModelFolder) -> Path:
    """Return where the int8 form of a folder lies: by its image tower, the recipe in front of it, and how int8 is made."""
    facts = {"weights": _weights_sha256(folder), "preprocessing": asdict(folder.recipe), "recipes": VERSION}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return data_dir() / "int8" / digest[:32]


def _weights_sha256(folder: ModelFolder) -> str:
    visual = folder.path / "visual"
    return hash_files(visual, [file for file in folder.weight_files() if file.parent == visual])


def _is_whole(graph: Path) -> bool:
    try:
        return bool(read_quantization(graph)["graph_sha256"] == hash_file(graph))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _check_images(folder: ModelFolder, calibration: np.ndarray) -> None:
    side = folder.recipe.size_px
    if not len(calibration) or calibration.shape[1:] != (side, side, 3):
        raise UsageError(
            "these are no images to calibrate the encoder with",
            expected=f"(n, {side}, {side}, 3) with n >= 1",
            found=str(calibration.shape),
        )


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Let one process at a time make a graph; the others wait, and find it. What a killed one has left is removed."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in place.parent.glob(f".{place.name}.*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _make(folder: ModelFolder, scratch: Path, calibration: UInt8[np.ndarray, "n s s 3"]) -> Path:
    """Make the graph and its record in a folder of their own within the scratch, and return that."""
    _require_onnx()
    try:
        fold_constants(folder.path / "visual/model.onnx", scratch / "float.onnx")
        graph = FloatGraph(scratch / "float.onnx")
        ranges, features = measure_ranges(graph, scratch / "ranges.onnx", folder.recipe, calibration)
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
    recipe, cosine = _climb(graph, ranges, features, folder, calibration, made / GRAPH)
    _write_json(made / RECORD, _record(folder, made / GRAPH, recipe, calibration, cosine))
    return made


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "what makes int8 graphs is not installed",
            expected="the openvino extra",
            found=f"no module `{error.name}`",
            hint="`pip install 'clipsieve[openvino]'`",
        ) from error


def _record(
    folder: ModelFolder, graph: Path, recipe: Recipe, calibration: UInt8[np.ndarray, "n s s 3"], cosine: float
) -> dict[str, object]:
    return {
        "format": 1,
        "clipsieve": __version__,
        "weights_sha256": _weights_sha256(folder),
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
    graph: FloatGraph,
    ranges: Mapping[str, Ranges],
    features: Float32[np.ndarray, "n d"],
    folder: ModelFolder,
    calibration: UInt8[np.ndarray, "n s s 3"],
    path: Path,
) -> tuple[Recipe, float]:
    """Write the best graph of the first step of the ladder that comes close enough to fp32; return how and how close."""
    import onnx

    best = -1.0
    for step in LADDER:
        tried = []
        for place, recipe in enumerate(step):
            candidate = path.with_name(f"{place}.onnx")
            onnx.save(int8_graph(graph, ranges, recipe), str(candidate))
            tried.append((_mean_cosine(embed_each(candidate, folder.recipe, calibration), features), candidate, recipe))
        best, chosen, recipe = max(tried, key=lambda each: each[0])
        chosen.replace(path)
        for _, candidate, _ in tried:
            candidate.unlink(missing_ok=True)
        if best >= LEAST_COSINE:
            return recipe, best
    raise ModelError(
        f"no int8 form of `{folder.path}` is close enough to it",
        expected=f"a mean cosine of at least {LEAST_COSINE} to the fp32 embeddings of {len(calibration)} images",
        found=f"{best:.4f}",
        state="nothing was kept",
        hint="`--precision bf16`, or fp32",
    )


def _mean_cosine(left: Float32[np.ndarray, "n d"], right: Float32[np.ndarray, "n d"]) -> float:
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = float(np.mean((left * right).sum(axis=1) / norms))
    return cosine if np.isfinite(cosine) else -1.0


def _publish(made: Path, place: Path) -> None:
    """Put the finished folder in its place, at once; one that was there goes first."""
    for file in made.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    if place.exists():
        place.rename(made.with_name("replaced"))
    made.rename(place)


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)
