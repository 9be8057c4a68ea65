"""What a scan reads, sends, writes and holds. Pure: numbers in, numbers out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from clipsieve.engines.rates import EncoderCosts, RunCosts
from clipsieve.engines.ray.layout import MOST_THREADS, block_bytes  # without Ray itself

__all__ = ["Bytes", "ImageSet", "NodeKind", "scan_bytes"]

# Images in a call of the encoder; on a GPU it is found by trying, and this is a large one.
CPU_BATCH, GPU_BATCH = 16, 256
BLOCKS_EACH = 2  # of a decoding task, and of a call of an encoder: one at work, one that waits
CALLS_ON_GPU = 4


@dataclass(frozen=True, slots=True)
class ImageSet:
    """What is to be scanned.

    Attributes
    ----------
    n_images : int
        How many, >= 1.
    image_bytes : float
        Of a file, on average, > 0.
    part_size : int
        Most images in a part, >= 1.
    """

    n_images: int
    image_bytes: float
    part_size: int = 10_000


@dataclass(frozen=True, slots=True)
class NodeKind:
    """One machine of several that are alike.

    Attributes
    ----------
    cores : int
        In all.
    gpus : int
        0: the cores encode as well.
    """

    cores: int
    gpus: int = 0

    @property
    def decoding_cores(self) -> int:
        """Those that are left for decoding: each GPU takes one to feed it."""
        return self.cores - self.gpus


@dataclass(frozen=True, slots=True)
class Bytes:
    """What is read, sent, written and held.

    Attributes
    ----------
    source_bytes : float
        Read from the source, in all.
    read_bytes_per_s : float
        The same, by each node.
    between_bytes_per_s : float
        Pixels from each node to others, if every image were decoded on another node than it is encoded on.
    driver_bytes_per_s : float
        Rows that arrive at the driver.
    run_bytes, part_bytes : float
        Of the run and of one of its parts.
    n_parts : int
        At least so many: no part holds images of two tar files or tables.
    object_store_bytes : float
        Shared memory of each node that blocks under way may fill.
    driver_bytes : float
        The driver's list of parts, of tar files and tables.
    driver_folder_bytes : float
        The same, if every image is a file of a folder.
    """

    source_bytes: float
    read_bytes_per_s: float
    between_bytes_per_s: float
    driver_bytes_per_s: float
    run_bytes: float
    part_bytes: float
    n_parts: int
    object_store_bytes: float
    driver_bytes: float
    driver_folder_bytes: float


def scan_bytes(
    images: ImageSet, encoder: EncoderCosts, node: NodeKind, images_per_s: float, n_nodes: int, costs: RunCosts
) -> Bytes:
    """Return what a scan reads, sends, writes and holds at so many images a second over all nodes."""
    row_bytes = 2 * encoder.embedding_dim + costs.name_bytes
    n_parts = math.ceil(images.n_images / images.part_size)
    each = images_per_s / n_nodes
    return Bytes(
        source_bytes=images.n_images * images.image_bytes,
        read_bytes_per_s=each * images.image_bytes,
        between_bytes_per_s=each * _pixel_bytes(encoder) if n_nodes > 1 else 0.0,
        driver_bytes_per_s=images_per_s * (2 * encoder.embedding_dim + costs.arriving_bytes),
        run_bytes=float(images.n_images * row_bytes),
        part_bytes=float(min(images.n_images, images.part_size) * row_bytes),
        n_parts=n_parts,
        object_store_bytes=_object_store_bytes(encoder, node),
        driver_bytes=float(n_parts * costs.shard_bytes),
        driver_folder_bytes=float(images.n_images * costs.member_bytes + n_parts * costs.shard_bytes),
    )


def _pixel_bytes(encoder: EncoderCosts) -> int:
    return 3 * encoder.size_px**2


def _object_store_bytes(encoder: EncoderCosts, node: NodeKind) -> float:
    """Return what blocks fill if each decoding task and each call of an encoder has its two."""
    if node.gpus:
        tasks, calls, batch_size = node.decoding_cores, node.gpus * CALLS_ON_GPU, GPU_BATCH
    else:
        encoders = math.ceil(node.cores / MOST_THREADS)
        tasks, calls, batch_size = node.cores, node.cores + encoders, CPU_BATCH
    return float(BLOCKS_EACH * (tasks + calls) * block_bytes(encoder.size_px, batch_size))
