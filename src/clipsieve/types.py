"""The records that travel from disk to verdict: one frozen type for each arrow of the flow.

::

    source ──ImageRef──▶ decode ──DecodedImage──▶ encode ──EmbeddedImage──▶ store
                            └──────── Failure ───────────────────────────▶ store
"""

from __future__ import annotations

import enum
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

__all__ = [
    "EXPORT_MANIFEST",
    "EXPORT_MARKER",
    "DecodedImage",
    "EmbeddedImage",
    "EncoderIdentity",
    "FailedImage",
    "Failure",
    "FailureCode",
    "FailureStep",
    "FileFacts",
    "ImageRef",
    "Plan",
    "Preprocessing",
    "Shard",
]

# What an export leaves in the root of a data set beside the data; where the marker is, the manifest is no part of the data.
EXPORT_MARKER = ".clipsieve-export.json"
EXPORT_MANIFEST = "manifest.parquet"


class FailureStep(enum.StrEnum):
    """Where an image was lost."""

    READ = "read"
    DECODE = "decode"
    ENCODE = "encode"


class FailureCode(enum.StrEnum):
    """Why an image was lost: a closed list, described in `docs/format.md`."""

    NOT_FOUND = "not_found"
    NOT_PERMITTED = "not_permitted"
    READ_ERROR = "read_error"
    EMPTY_FILE = "empty_file"
    TOO_MANY_BYTES = "too_many_bytes"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_MANY_PIXELS = "too_many_pixels"
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    DECODER_CRASHED = "decoder_crashed"
    NOT_FINITE = "not_finite"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one image has no embedding."""

    step: FailureStep
    code: FailureCode
    detail: str


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One input as its source names it.

    Attributes
    ----------
    image_id : str
        Unique within the source and stable between listings.
    uri : str
        Where a person or another tool finds the file.
    label, caption : str or None
        What the source says of the image: its class, its text.
    content : bytes or Failure
        The encoded file as it lies there, or why it could not be read.
    metadata : str or None
        Whatever else the source says of the image, as it lies there; mostly a JSON object.
    """

    image_id: str
    uri: str
    label: str | None
    caption: str | None
    content: bytes | Failure
    metadata: str | None = None


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of a file once its header was read.

    Attributes
    ----------
    sha256 : str
        Hex digest of the encoded file.
    n_bytes : int
        Size of the encoded file.
    width, height : int or None
        In pixels, as stored (no EXIF turn); None where no header could be read.
    format : str or None
        Pillow's name of the format, such as "JPEG"; None where it was not recognised.
    """

    sha256: str
    n_bytes: int
    width: int | None
    height: int | None
    format: str | None


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """One image as pixels.

    Attributes
    ----------
    ref : ImageRef
        Where it came from; its content has done its duty and is empty.
    facts : FileFacts
        Of the file that was decoded.
    pixels : uint8 array of shape (h, w, 3)
        RGB, 0-255.
    """

    ref: ImageRef
    facts: FileFacts
    pixels: UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True, slots=True)
class FailedImage:
    """One image that was lost on the way, and why."""

    ref: ImageRef
    facts: FileFacts | None
    failure: Failure


@dataclass(frozen=True, slots=True)
class EmbeddedImage:
    """One image as the encoder sees it.

    Attributes
    ----------
    ref : ImageRef
        Where it came from; its content is empty.
    facts : FileFacts
        Of the file that was decoded.
    embedding : float32 array of shape (d,)
        Unit norm.
    is_reused : bool
        Whether it is that of an earlier scan, of a file with the same content.
    """

    ref: ImageRef
    facts: FileFacts
    embedding: Float32[np.ndarray, "d"]
    is_reused: bool = False


@dataclass(frozen=True, slots=True)
class Shard:
    """The inputs of one part, as the source planned them.

    Attributes
    ----------
    index : int
        0-based; the shard ends as `images/part-<index>.parquet`.
    members : tuple of str
        What the source needs to find these inputs again; only the source reads it.
    fingerprint : str
        sha256 over what the source says of these inputs (names, sizes, times): equal exactly when nothing changed.
    n_images : int
        How many inputs there are, >= 1.
    """

    index: int
    members: tuple[str, ...]
    fingerprint: str
    n_images: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Which input goes to which part: a pure function of the source's listing.

    Attributes
    ----------
    shards : tuple of Shard
        In source order; each input belongs to exactly one.
    n_ignored : int
        Files that lie there but are not images by name or content.
    """

    shards: tuple[Shard, ...]
    n_ignored: int = 0

    @property
    def n_images(self) -> int:
        """The number of inputs listed."""
        return sum(shard.n_images for shard in self.shards)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """An encoder's own recipe from RGB pixels to its input.

    Attributes
    ----------
    size_px : int
        Side of the square input.
    resize_mode : {"shortest", "squash", "longest"}
        Scale the shortest side and crop the centre; ignore the aspect ratio; or scale the longest side and pad.
    interpolation : {"bicubic", "bilinear", "nearest"}
        Pillow's resampling filter.
    mean, std : tuple of 3 float
        Per channel, for pixels scaled to 0-1.
    fill_color : int
        0-255, of the padding of "longest".
    """

    size_px: int
    resize_mode: str
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fill_color: int = 0

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Preprocessing:
        """Return the recipe that `dataclasses.asdict` and JSON made a dictionary of."""
        facts: dict[str, Any] = {name: tuple(item) if isinstance(item, list) else item for name, item in value.items()}
        return cls(**facts)


@dataclass(frozen=True, slots=True)
class EncoderIdentity:
    """What decides an embedding: two encoders with the same identity give the same embeddings.

    Attributes
    ----------
    name : str
        For people: the catalog's name or the folder's.
    weights_sha256 : str or None
        Over all weight files, names and contents; None where embeddings came without them and the name was taken on trust.
    preprocessing : Preprocessing or None
        The recipe in front of the image tower; None where embeddings came without it.
    precision : str
        "fp32", "fp16", "bf16", or "int8-" and 12 hex digits that tell one quantized form of the weights from another; "unknown"
        where embeddings came without it.
    embedding_dim : int
        d, the width of the joint space.
    """

    name: str
    weights_sha256: str | None
    preprocessing: Preprocessing | None
    precision: str
    embedding_dim: int

    @property
    def description(self) -> str:
        """What a person needs to tell it from another."""
        weights = f"sha256 {self.weights_sha256[:12]}…" if self.weights_sha256 else "weights not known"
        return f"{self.name}, {self.embedding_dim} wide, {self.precision} ({weights})"

    @property
    def fingerprint(self) -> str:
        """The sha256 of all but the name; of the name too, where nothing but the name tells the weights."""
        facts = asdict(self)
        if self.weights_sha256 is not None:
            del facts["name"]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
