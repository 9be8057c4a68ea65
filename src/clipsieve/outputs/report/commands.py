"""The commands that lead from a data set to its report, so that another person may give them again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from clipsieve.classifiers import builtin_prompt_sets, builtin_taxonomy
from clipsieve.classifiers.taxonomy import Taxonomy
from clipsieve.engines.score_facts import Promise
from clipsieve.engines.verdict_files import LEDGER_FILE, ImageVerdicts
from clipsieve.outputs.report.counts import RunCounts
from clipsieve.store import Run
from clipsieve.store.files import exists

__all__ = ["build_commands"]

# What `clipsieve scan` takes if nobody says otherwise; what differs must be said again.
_SCAN_DEFAULTS = {"max_pixels": 178_000_000, "max_bytes": 512 * 1024**2, "max_seconds": 60.0}
_PART_SIZES = {"embeddings": 20_000}
_PART_SIZE = 1000
_COLUMNS = ("image_column", "id_column", "label_column", "caption_column")


def build_commands(run: Run, counts: RunCounts, taxonomy: Taxonomy | None, title: str | None = None) -> list[str]:
    """Return the commands, with every option that decides what is found.

    Files stand in them by their names alone. One whose name is not known is called by what is in it, in capitals, and its
    hash follows as a comment.

    Parameters
    ----------
    run : Run
        That the report is about.
    counts : RunCounts
        Whose scores and verdicts.
    taxonomy : Taxonomy, optional
        That was used.
    title : str, optional
        That somebody gave the data set.
    """
    name, place = counts.decider.scores_name, run.path.name
    facts, verdicts = run.score_facts(name), counts.decider.verdicts
    told = _verdicts(run, verdicts)
    told += _taxonomy(taxonomy) + (["--title", title] if title else [])
    return [
        *_scan(run, place),
        shlex.join(["clipsieve", "score", place, *_classifier(name, facts)]),
        *_threshold(place, name, counts.decider.facts.promises),
        shlex.join(["clipsieve", "report", place, "-c", name, "-o", "report.html", *told]) + _which(verdicts),
    ]


def _verdicts(run: Run, verdicts: ImageVerdicts | None) -> list[str]:
    """Return the option that names the verdicts; a run's own ledger is used unless told otherwise, so its absence is told."""
    if verdicts is None:
        return ["--verdicts", "none"] if exists(run.path / LEDGER_FILE) else []
    if not verdicts.is_file:
        return ["--verdicts", "VERDICTS"]
    is_own = verdicts.path == run.path / LEDGER_FILE
    return ["--verdicts", f"{run.path.name}/{LEDGER_FILE}" if is_own else verdicts.path.name]


def _which(verdicts: ImageVerdicts | None) -> str:
    return "" if verdicts is None or verdicts.is_file else f"  # VERDICTS: {verdicts.sha256}"


def _scan(run: Run, place: str) -> list[str]:
    manifest, kind = run.manifest, run.manifest.source_kind
    options: dict[str, Any] = {} if kind == "folder" else {"source": kind}
    options |= {name: manifest.options[name] for name in _COLUMNS if name in manifest.options}
    if kind == "embeddings" or manifest.encoder.name != "pictogram":
        options["model"] = manifest.encoder.name
    if kind != "embeddings" and manifest.encoder.precision not in (None, "fp32"):
        options["precision"] = manifest.encoder.precision
    if manifest.part_size != _PART_SIZES.get(kind, _PART_SIZE):
        options["part_size"] = manifest.part_size
    options |= {
        name: manifest.options[name]
        for name, usual in _SCAN_DEFAULTS.items()
        if manifest.options.get(name, usual) != usual
    }
    words = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", f"{value}")]
    comment = ""
    if "hash_list" in manifest.options:
        words += ["--hash-list", "HASHES"]
        comment = f"  # HASHES: {manifest.options['hash_list']}"
    return [shlex.join(["clipsieve", "scan", manifest.source_location, "-o", place, *words]) + comment]


def _classifier(name: str, facts: Mapping[str, Any]) -> list[str]:
    """Return which classifier to name: one of the built-in prompts, a file of prompts, or a tuned one."""
    provenance = facts.get("provenance")
    origin: Mapping[str, Any] = provenance if isinstance(provenance, dict) else {}
    is_plain = not {"begins_with", "operating_points"} & set(origin)
    if facts.get("method") != "zero-shot" or not is_plain:
        return ["-c", f"{name}.safetensors"]
    own = str(origin.get("prompt_set") or name)
    spec = own if _is_builtin(own, facts, origin) else f"{own}.toml"
    return ["-c", spec] if own == name else ["-c", spec, "--name", name]


def _is_builtin(name: str, facts: Mapping[str, Any], origin: Mapping[str, Any]) -> bool:
    """Return whether prompts are those of the built-in set of that name, and not of a file that is called like it."""
    found = next((each for each in builtin_prompt_sets() if each.name == name), None)
    if found is None:
        return False
    return origin.get("templates", list(found.templates)) == list(found.templates) and (
        origin.get("prompts", {each.name: list(each.prompts) for each in found.classes}),
        list(facts.get("unwanted", ())),
    ) == ({each.name: list(each.prompts) for each in found.classes}, [each.unwanted for each in found.classes])


def _threshold(place: str, name: str, promises: tuple[Promise, ...]) -> list[str]:
    if not promises:
        return []
    targets = [word for each in promises for word in (f"--{each.point.kind}", f"{each.point.target:g}")]
    sure = ["--confidence", f"{promises[0].point.confidence:g}"]
    command = shlex.join(["clipsieve", "threshold", place, "-c", name, "--ratings", "RATINGS", *targets, *sure])
    return [f"{command}  # RATINGS: {promises[0].ratings_sha256}"]


def _taxonomy(taxonomy: Taxonomy | None) -> list[str]:
    if taxonomy is None:
        return ["--taxonomy", "none"]
    return [] if taxonomy.sha256 == builtin_taxonomy().sha256 else ["--taxonomy", f"{taxonomy.name}.toml"]
