"""Classifiers as files: safetensors with JSON beside the arrays, specified in `docs/concepts/classifiers.md`."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from clipsieve._version import __version__
from clipsieve.classifiers.base import Classifier
from clipsieve.classifiers.calibration import calibration_from_json
from clipsieve.classifiers.class_vectors import SoftPrompts, ZeroShot
from clipsieve.classifiers.linear_probe import LinearProbe
from clipsieve.classifiers.network import Network
from clipsieve.errors import ClassifierFileError, ClipsieveError

__all__ = ["describe_classifier", "load_classifier", "save_classifier"]

FORMAT_VERSION = 2
MAX_BYTES = 64 * 1024**2
MAX_FACTS_BYTES = 16 * 1024**2
KEY = "clipsieve"
METHODS: dict[str, type[Classifier]] = {kind.method: kind for kind in (LinearProbe, Network, SoftPrompts, ZeroShot)}
FACTS: dict[str, tuple[type, ...]] = {
    "method": (str,),
    "class_names": (list,),
    "unwanted": (list,),
    "encoder_name": (str,),
    "encoder_weights_sha256": (str, type(None)),
    "embedding_dim": (int,),
    "logit_scale": (int, float),
    "threshold": (int, float),
    "remove_threshold": (int, float, type(None)),
    "calibration": (dict, type(None)),
    "parameters": (dict,),
    "provenance": (dict,),
}
SINCE_VERSION_2: dict[str, Any] = {"remove_threshold": None, "parameters": {}}


def describe_classifier(classifier: Classifier) -> dict[str, Any]:
    """Return what is known of a classifier beside its arrays, as JSON."""
    return {
        "format_version": FORMAT_VERSION,
        "method": classifier.method,
        "class_names": list(classifier.class_names),
        "unwanted": list(classifier.unwanted),
        "encoder_name": classifier.encoder_name,
        "encoder_weights_sha256": classifier.encoder_weights_sha256,
        "embedding_dim": classifier.embedding_dim,
        "logit_scale": classifier.logit_scale,
        "threshold": classifier.threshold,
        "remove_threshold": classifier.remove_threshold,
        "calibration": classifier.calibration.to_json() if classifier.calibration else None,
        "parameters": classifier.parameters(),
        "provenance": classifier.provenance,
    }


def save_classifier(classifier: Classifier, path: str | Path) -> None:
    """Write a classifier to a file; the same classifier gives the same bytes.

    Raises
    ------
    ClassifierFileError
        If the file cannot be written; a file that was there is then unchanged.
    """
    from safetensors.numpy import save

    path = Path(path)
    facts = {**describe_classifier(classifier), "clipsieve_version": __version__}
    # safetensors writes the memory as it lies
    arrays = {name: np.ascontiguousarray(values) for name, values in classifier.arrays().items()}
    if (
        sum(values.nbytes for values in arrays.values()) > MAX_BYTES - MAX_FACTS_BYTES
        or len(json.dumps(facts)) > MAX_FACTS_BYTES
    ):
        raise ClassifierFileError(
            f"the classifier is too large for the file `{path}`",
            expected=f"at most {MAX_BYTES:,} bytes, {MAX_FACTS_BYTES:,} of them words",
            state="nothing was written",
        )
    content = save(arrays, metadata={KEY: json.dumps(facts, sort_keys=True)})
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise ClassifierFileError(f"cannot write `{path}`: {error.strerror}", state="nothing was written") from error


def load_classifier(path: str | Path) -> Classifier:
    """Read a classifier from a file.

    Raises
    ------
    ClassifierFileError
        If it cannot be read, is no safetensors file of clipsieve, of another version, or its arrays do not fit.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise _malformed(path, f"{size:,} bytes", expected=f"at most {MAX_BYTES:,} bytes")
        arrays, facts = _read(path)
    except OSError as error:
        raise ClassifierFileError(f"cannot read the classifier `{path}`: {error.strerror or error}") from error
    version = facts.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise _malformed(path, str(version), expected=f"format version 1 to {FORMAT_VERSION}")
    try:
        return _build(arrays, SINCE_VERSION_2 | facts if version == 1 else facts)
    except ClipsieveError as error:
        raise _malformed(path, error.what) from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _malformed(path, f"{type(error).__name__}: {error}") from error


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {})[KEY])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise _malformed(path, str(error)) from error
    except KeyError as error:
        raise _malformed(path, "arrays without their description") from error
    except (TypeError, AttributeError) as error:  # bfloat16 and the like
        raise _malformed(path, f"numbers of a kind that numpy does not have: {error}") from error
    except (ValueError, RecursionError) as error:
        raise _malformed(path, f"a description that is not JSON: {error}") from error
    if not isinstance(facts, dict):
        raise _malformed(path, "a description that is no table")
    return arrays, facts


def _build(arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> Classifier:
    _check_facts(facts)
    remove_threshold = facts["remove_threshold"]
    common = {
        "class_names": tuple(facts["class_names"]),
        "unwanted": tuple(facts["unwanted"]),
        "encoder_name": facts["encoder_name"],
        "encoder_weights_sha256": facts["encoder_weights_sha256"],
        "logit_scale": float(facts["logit_scale"]),
        "threshold": float(facts["threshold"]),
        "remove_threshold": None if remove_threshold is None else float(remove_threshold),
        "calibration": calibration_from_json(facts["calibration"]),
        "provenance": facts["provenance"],
    }
    classifier = METHODS[facts["method"]].from_parts(arrays, facts["parameters"], common)
    if classifier.embedding_dim != facts["embedding_dim"]:
        raise ValueError(f"arrays of width {classifier.embedding_dim}, not {facts['embedding_dim']}")
    return classifier


def _check_facts(facts: dict[str, Any]) -> None:
    for name, kinds in FACTS.items():
        if type(facts[name]) not in kinds:
            raise TypeError(f"`{name}` is {facts[name]!r:.60}")
    for name, kind in (("class_names", str), ("unwanted", bool)):
        if not all(type(item) is kind for item in facts[name]):
            raise TypeError(f"`{name}` is {facts[name]!r:.60}")


def _malformed(
    path: Path, found: str, *, expected: str = "a .safetensors file that clipsieve wrote"
) -> ClassifierFileError:
    return ClassifierFileError(
        f"`{path}` is no classifier that can be read",
        expected=expected,
        found=found,
        hint="prompts in words go into a .toml file; published heads are converted by `clipsieve import-head`",
    )
