"""What another person needs to repeat a report: encoder, classifier, thresholds, options, versions, hashes, commands."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from clipsieve._version import __version__
from clipsieve.classifiers.taxonomy import Taxonomy
from clipsieve.engines.private_places import as_printable
from clipsieve.engines.verdict_files import ImageVerdicts
from clipsieve.evaluation.term_counts import MAX_TERMS
from clipsieve.evaluation.terms import PRIOR_SHARE
from clipsieve.outputs.report.commands import build_commands
from clipsieve.outputs.report.counts import RunCounts
from clipsieve.store import Run
from clipsieve.store.files import read_bytes

__all__ = ["build_method"]

PACKAGES = ("numpy", "scipy", "pyarrow", "pillow", "onnxruntime", "tokenizers")
STATISTICS = {
    "shares": "score intervals (Wilson 1927); of the reviewed, exact intervals (Clopper and Pearson 1934)",
    "classes": "Fisher's exact test against the rest, one-sided; q-values of Benjamini and Hochberg (1995)",
    "terms": "log-odds with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008); a term counts once for each text",
    "prior_share_of_terms": PRIOR_SHARE,
    "most_terms_held": MAX_TERMS,
}


def build_method(run: Run, counts: RunCounts, taxonomy: Taxonomy | None, title: str | None = None) -> dict[str, Any]:
    """Return it as JSON takes it; no path of this machine is in it but the source's. The title is one that somebody gave."""
    return {
        "encoder": _plain(asdict(run.manifest.encoder)),
        "classifier": _classifier(run, counts.decider.scores_name),
        "run": _run(run, counts),
        "verdicts": _verdicts(counts.decider.verdicts),
        "taxonomy": _taxonomy(taxonomy),
        "statistics": STATISTICS | {"counts_of_terms_forgotten": counts.captions.n_forgotten},
        "versions": _versions(),
        "history": [{key: entry[key] for key in ("what", "finished") if key in entry} for entry in run.history()],
        "commands": [as_printable(command) for command in build_commands(run, counts, taxonomy, title)],
    }


def _run(run: Run, counts: RunCounts) -> dict[str, Any]:
    manifest = run.manifest
    return {
        "options": _plain(manifest.options),
        "n_parts": manifest.n_parts,
        "part_size": manifest.part_size,
        "run_json_sha256": hashlib.sha256(read_bytes(run.path / "run.json")).hexdigest(),
        "parts_sha256": counts.parts_sha256,
        "images_sha256": counts.images_sha256,
        "scores_sha256": counts.scores_sha256,
        "clipsieve_version": manifest.clipsieve_version,
    }


def _classifier(run: Run, name: str) -> dict[str, Any]:
    """Return what `classifier.json` says, with the prompts where they are looked for, and without long lists of hashes."""
    facts = run.score_facts(name)
    provenance = facts.pop("provenance", None)
    prompts = _prompts(provenance)
    origin = {"provenance": _without_digests(provenance)} if provenance else {}
    return {"name": name, **_plain(facts), **prompts, **_plain(origin)}


def _prompts(provenance: object) -> dict[str, Any]:
    """Return prompts and templates of a classifier in words, or of the one that tuning began with."""
    while isinstance(provenance, Mapping):
        if "prompts" in provenance:
            return {key: _plain(provenance[key]) for key in ("prompts", "templates") if key in provenance}
        provenance = provenance.get("begins_with")
    return {}


def _without_digests(value: object) -> Any:  # noqa: ANN401 - whatever JSON takes
    """Return provenance with the number and one hash of the training images instead of a hash for each."""
    if not isinstance(value, Mapping):
        return value
    found = {key: _without_digests(item) for key, item in value.items() if key != "tuned_on"}
    digests = value.get("tuned_on")
    if isinstance(digests, list):
        content = "".join(f"{digest}\n" for digest in sorted(map(str, digests)))
        found |= {"n_tuned_on": len(digests), "tuned_on_sha256": hashlib.sha256(content.encode()).hexdigest()}
    return found


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever JSON takes
    if isinstance(value, Mapping):
        return {as_printable(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return as_printable(value)
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _verdicts(verdicts: ImageVerdicts | None) -> dict[str, Any] | None:
    if verdicts is None:
        return None
    return {"file": as_printable(verdicts.path.name), "sha256": verdicts.sha256, "n_images": len(verdicts.by_image)}


def _taxonomy(taxonomy: Taxonomy | None) -> dict[str, Any] | None:
    if taxonomy is None:
        return None
    return {
        "name": taxonomy.name,
        "sha256": taxonomy.sha256,
        "templates": list(taxonomy.templates),
        "min_margin": taxonomy.min_margin,
    }


def _versions() -> dict[str, str]:
    found = {"clipsieve": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
