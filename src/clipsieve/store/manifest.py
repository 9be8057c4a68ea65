"""`run.json`: what a run is a run of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from clipsieve.errors import EncoderMismatchError, RunCorruptError
from clipsieve.store.layout import FORMAT_VERSION
from clipsieve.types import EncoderIdentity, Preprocessing

__all__ = ["RunManifest"]


@dataclass(frozen=True, slots=True)
class RunManifest:
    """What a run is a run of.

    Attributes
    ----------
    source_kind, source_location : str
        Where the images came from.
    part_size, n_images, n_parts, n_ignored : int
        The plan: inputs in a part, inputs and parts in all, files passed over.
    encoder : EncoderIdentity
        What made the embeddings.
    encoder_location : str
        What loads that encoder again, where the scan ran.
    options : dict of str to int, float or str
        What else decides the rows: limits, names of columns, the block list's fingerprint.
    clipsieve_version : str
        Of the package that made the run.
    """

    source_kind: str
    source_location: str
    part_size: int
    n_images: int
    n_parts: int
    n_ignored: int
    encoder: EncoderIdentity
    encoder_location: str
    options: dict[str, int | float | str]
    clipsieve_version: str

    @property
    def options_fingerprint(self) -> str:
        """The sha256 over the options; each part carries that of its own."""
        return hashlib.sha256(json.dumps(self.options, sort_keys=True).encode()).hexdigest()

    def mixed(self, where: str, n_old: int) -> EncoderMismatchError:
        """Return the error of a run whose encoder or options were changed, and not every part made anew since."""
        return EncoderMismatchError(
            f"{n_old:,} of {self.n_parts:,} parts in `{where}` were made by another encoder or with other options",
            expected=f"{self.encoder.name}, {self.encoder.embedding_dim} wide, in every part",
            state="nothing was written",
            hint="give the command that scanned it again: it makes only these parts anew",
        )

    def to_json(self) -> dict[str, Any]:
        """Return what `run.json` holds."""
        return {
            "format_version": FORMAT_VERSION,
            "source": {"kind": self.source_kind, "location": self.source_location},
            "plan": {
                "part_size": self.part_size,
                "n_images": self.n_images,
                "n_parts": self.n_parts,
                "n_ignored": self.n_ignored,
            },
            "encoder": {**asdict(self.encoder), "location": self.encoder_location},
            "options": self.options,
            "clipsieve_version": self.clipsieve_version,
        }

    @classmethod
    def from_json(cls, text: str, *, where: str) -> RunManifest:
        """Read what `to_json` gave; `where` names the file in errors."""
        try:
            value = json.loads(text)
            version = value["format_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise _corrupt(where, f"{type(error).__name__}: {error}") from error
        if version != FORMAT_VERSION:
            raise RunCorruptError(
                f"`{where}` is of another format version",
                expected=str(FORMAT_VERSION),
                found=str(version),
                hint="use the clipsieve that wrote it, or scan into a new folder",
            )
        try:
            return cls._from_dict(value)
        except (KeyError, TypeError, ValueError) as error:
            raise _corrupt(where, f"{type(error).__name__}: {error}") from error

    @classmethod
    def _from_dict(cls, value: dict[str, Any]) -> RunManifest:
        encoder = dict(value["encoder"])
        location = str(encoder.pop("location"))
        recipe = encoder.pop("preprocessing")
        return cls(
            source_kind=str(value["source"]["kind"]),
            source_location=str(value["source"]["location"]),
            encoder=EncoderIdentity(**encoder, preprocessing=recipe and Preprocessing.from_json(recipe)),
            encoder_location=location,
            options={str(name): _option(option) for name, option in value["options"].items()},
            clipsieve_version=str(value["clipsieve_version"]),
            **{name: int(value["plan"][name]) for name in ("part_size", "n_images", "n_parts", "n_ignored")},
        )


def _option(value: object) -> int | float | str:
    if not isinstance(value, int | float | str):
        raise TypeError(f"an option is a number or a text, not {type(value).__name__}")
    return value


def _corrupt(where: str, found: str) -> RunCorruptError:
    return RunCorruptError(
        f"`{where}` is damaged",
        expected="the description of a run, as `docs/format.md` specifies it",
        found=found,
        hint="restore the file, or scan again into a new folder",
    )
