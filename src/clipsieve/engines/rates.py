"""How fast encoders and decoders are: what was measured or published, and what is estimated from that where nobody has measured.

Figures and their sources stand in `rates.toml`.
"""

from __future__ import annotations

import functools
import math
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

import numpy as np

from clipsieve.errors import UsageError

__all__ = [
    "Basis",
    "EncoderCosts",
    "Gpu",
    "Rate",
    "RunCosts",
    "core_rate",
    "decode_rate",
    "find_encoder",
    "find_gpu",
    "gpu_rate",
    "local_share",
    "require_positive",
    "run_costs",
    "usual_bytes",
]

Basis = Literal["measured", "published", "estimated", "given"]


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast something is, and how that is known.

    Attributes
    ----------
    images_per_s : float
        Of one device: a GPU or a core.
    basis : {"measured", "published", "estimated", "given"}
        Measured by us, published by others, estimated from these, or given by whoever asks.
    source : str
        Where and when, by whom, or how.
    """

    images_per_s: float
    basis: Basis
    source: str


@dataclass(frozen=True, slots=True)
class EncoderCosts:
    """What an image tower takes.

    Attributes
    ----------
    name : str
        Of the architecture: "ViT-L-14".
    gflop : float
        Operations for an image, in billions.
    embedding_dim, size_px : int
        Width of an embedding; side of the input.
    core_s : dict of str to float
        Seconds of a core for an image, by number format.
    source : str
        Of these seconds.
    """

    name: str
    gflop: float
    embedding_dim: int
    size_px: int
    core_s: dict[str, float]
    source: str


@dataclass(frozen=True, slots=True)
class Gpu:
    """A kind of GPU.

    Attributes
    ----------
    name : str
        As people say it: "H200".
    tflops : float
        The most that it multiplies in bf16, dense, in 1e12 operations a second.
    source : str
        Of that figure.
    """

    name: str
    tflops: float
    source: str


@dataclass(frozen=True, slots=True)
class RunCosts:
    """What a row of a run takes, beside its embedding, and a part of it in memory.

    Attributes
    ----------
    name_bytes, arriving_bytes : int
        Of a row in its file, and on its way to the driver.
    driver_s : float
        Of the driver's one thread, for a row.
    shard_bytes, member_bytes : int
        In the driver's memory: for a part of a tar file, for a file of a folder.
    source : str
        Where and when this was measured.
    """

    name_bytes: int
    arriving_bytes: int
    driver_s: float
    shard_bytes: int
    member_bytes: int
    source: str


@functools.cache
def _figures() -> dict[str, Any]:
    return tomllib.loads((resources.files("clipsieve.engines") / "rates.toml").read_text(encoding="utf-8"))


@functools.cache
def run_costs() -> RunCosts:
    """Return what a row and a part take."""
    facts = _figures()["run"]
    return RunCosts(**facts | {"source": _source(facts)})


def local_share() -> tuple[float, str]:
    """Return how much of what the cores can do a scan by the local engine gets out of them, and where that was measured."""
    facts = _figures()["local"]
    return float(facts["share"]), _source(facts)


def _source(facts: dict[str, Any]) -> str:
    words: str = _figures()["sources"][facts["source"]]
    return words


def find_encoder(name: str) -> EncoderCosts:
    """Return what an encoder takes.

    Parameters
    ----------
    name : str
        Of an architecture, with or without who trained it and where the hub has it: "ViT-L-14", "immich-app/ViT-L-14__openai",
        "openai/clip-vit-large-patch14".

    Raises
    ------
    UsageError
        If nobody has measured it; names those that are known.
    """
    known = {entry["name"]: entry for entry in _figures()["encoders"]}
    other_names = {entry["also"]: entry["name"] for entry in known.values()}
    plain = name.partition("__")[0]
    last = plain.rpartition("/")[2]
    hint = "take the one that is most like it, and give its own images a second with `--rate`"
    entry = _find([plain.replace("/", "-"), other_names.get(last, last)], known, "an encoder", name, hint)
    facts = {key: value for key, value in entry.items() if key != "also"}
    return EncoderCosts(**facts | {"source": _source(entry)})


def find_gpu(name: str) -> Gpu:
    """Return a kind of GPU; UsageError with those that are known if there is no figure of it."""
    known = {entry["name"]: entry for entry in _figures()["gpus"]}
    return Gpu(**_find([name], known, "a GPU", name, "give the images that it encodes in a second with `--rate`"))


def _find(names: list[str], known: dict[str, dict[str, Any]], what: str, said: str, hint: str) -> dict[str, Any]:
    wanted = [name.strip().lower() for name in names]
    found = next((entry for key, entry in known.items() if key.lower() in wanted), None)
    if found is None:
        raise UsageError(
            f"there are no figures of {what} called `{said}`",
            expected=", ".join(known),
            hint=hint,
        )
    return found


def core_rate(encoder: EncoderCosts, precision: str) -> Rate:
    """Return how many images a core encodes in a second; UsageError if that number format was not measured."""
    if precision not in encoder.core_s:
        raise UsageError(
            f"nobody has measured {encoder.name} in {precision} on a CPU",
            expected=", ".join(encoder.core_s),
            hint="choose another `--precision`, or give the images a second of a core with `--rate`",
        )
    return Rate(1 / encoder.core_s[precision], "measured", encoder.source)


def gpu_rate(encoder: EncoderCosts, gpu: Gpu) -> Rate:
    """Return how many images a GPU encodes in a second.

    Published where somebody has. Elsewhere estimated: peak x utilization / operations for an image, where the utilization is
    what the published figure of the same encoder makes of the peak of its own GPU.
    """
    published = [entry for entry in _figures()["gpu_rates"] if entry["encoder"] == encoder.name]
    for entry in published:
        if entry["gpu"] == gpu.name:
            return Rate(float(entry["images_per_s"]), "published", _source(entry))
    entry = published[0]
    other = find_gpu(entry["gpu"])
    utilization = entry["images_per_s"] * encoder.gflop / (other.tflops * 1000)
    words = (
        f"{100 * utilization:.2g} % of {gpu.tflops:,g} TFLOP/s ({gpu.source}), which is the share that the published "
        f"{entry['images_per_s']:,} images/s are of the {other.name}'s {other.tflops:,g}"
    )
    return Rate(gpu.tflops * 1000 * utilization / encoder.gflop, "estimated", words)


def decode_rate(megapixels: float, image_bytes: float) -> Rate:
    """Return how many JPEGs a core decodes in a second, to 224 pixels, large ones at a reduced scale.

    Seconds of a core are `a + b x megapixels + c x bytes`, the plane through the three kinds that were measured. Images smaller
    than the least of them are taken to cost as much as that.

    Parameters
    ----------
    megapixels : float
        Of an image, > 0.
    image_bytes : float
        Of its file, > 0.

    Raises
    ------
    UsageError
        If one of them is not above 0 and finite.
    """
    require_positive({"the number of megapixels": megapixels, "the size of an image": image_bytes})
    facts = _figures()["decoding"]
    kinds, source = facts["photographs"], _source(facts)
    least = kinds[0]
    at = [max(megapixels, least["megapixels"]), max(image_bytes, least["bytes"])]
    points = np.array([[1.0, kind["megapixels"], kind["bytes"]] for kind in kinds])
    plane = np.linalg.solve(points, np.array([kind["core_s"] for kind in kinds]))
    core_s = float(plane @ np.array([1.0, *at]))
    if any(np.allclose([megapixels, image_bytes], [kind["megapixels"], kind["bytes"]], rtol=0.05) for kind in kinds):
        return Rate(1 / core_s, "measured", source)
    return Rate(1 / core_s, "estimated", f"from three kinds of photographs, measured {source}")


def usual_bytes(megapixels: float) -> int:
    """Return how large the measured photographs of so many megapixels are, at least 100 kB; a line through two kinds."""
    require_positive({"the number of megapixels": megapixels})
    small, large = _figures()["decoding"]["photographs"][:2]
    slope = (large["bytes"] - small["bytes"]) / (large["megapixels"] - small["megapixels"])
    line = float(small["bytes"] + slope * (megapixels - small["megapixels"]))
    return max(100_000, round(line))


def require_positive(numbers: dict[str, float]) -> None:
    """Refuse the first number that is not above 0 and finite; UsageError with what it is called."""
    for what, number in numbers.items():
        if not 0 < number < math.inf:
            raise UsageError(f"{what} is {number:g}", expected="more than 0, and finite")
