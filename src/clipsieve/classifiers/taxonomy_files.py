"""Taxonomies as TOML files: those that people write, and the one that comes with the package."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

from clipsieve.classifiers.prompt_files import PromptTable, parse_toml, read_prompt_file
from clipsieve.classifiers.taxonomy import DEFAULT_MIN_MARGIN, Taxonomy, TaxonomyConcept

__all__ = ["builtin_taxonomy", "builtin_taxonomy_text", "load_taxonomy", "parse_taxonomy"]

HINT = "`clipsieve prompts taxonomy` prints a file to start from"
BUILTIN = "offensive-content"


def load_taxonomy(path: str | Path) -> Taxonomy:
    """Read a taxonomy from a TOML file (`docs/guides/report.md`).

    Raises
    ------
    PromptSetError
        If it cannot be read or does not say what a taxonomy must say; names the file, what is wrong, what is allowed.
    """
    path = Path(path)
    text = read_prompt_file(path, what="taxonomy", hint=HINT)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return parse_taxonomy(text, where=f"`{path}`", name=path.stem, sha256=sha256)


def builtin_taxonomy() -> Taxonomy:
    """Return the taxonomy that comes with the package."""
    text = builtin_taxonomy_text()
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return parse_taxonomy(text, where=f"the built-in taxonomy `{BUILTIN}`", name=BUILTIN, sha256=sha256)


def builtin_taxonomy_text() -> str:
    """Return its TOML text."""
    file = resources.files("clipsieve") / "prompts" / "taxonomy" / f"{BUILTIN}.toml"
    return file.read_bytes().decode()


def parse_taxonomy(text: str, *, where: str, name: str, sha256: str) -> Taxonomy:
    """Read a taxonomy from TOML text; `where` names it in errors, `name` is its name if it has none itself."""
    keys = ("name", "source", "templates", "min_margin", "concepts")
    table = PromptTable(parse_toml(text, where, HINT), where, keys, HINT)
    concepts = tuple(_concept(entry, f"{where}, concept {i}") for i, entry in enumerate(table.tables("concepts"), 1))
    taxonomy = Taxonomy(
        name=table.text("name", default=name),
        source=table.text("source", default=""),
        sha256=sha256,
        templates=table.texts("templates", default=("{}",)),
        min_margin=_margin(table),
        concepts=concepts,
    )
    _check(taxonomy, table)
    return taxonomy


def _concept(entry: dict[str, Any], where: str) -> TaxonomyConcept:
    table = PromptTable(entry, where, ("name", "title", "prompts", "other"), HINT)
    name = table.text("name")
    title = table.text("title", default=name)
    if not title.strip():
        raise table.error("`title` is empty", "words for people, or no `title` at all")
    return TaxonomyConcept(name, title, table.texts("prompts"), table.flag("other"))


def _margin(table: PromptTable) -> float:
    value = table.value.get("min_margin", DEFAULT_MIN_MARGIN)
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise table.error("`min_margin` is no number from 0 to 1", f"such as {DEFAULT_MIN_MARGIN}")
    return float(value)


def _check(taxonomy: Taxonomy, table: PromptTable) -> None:
    concepts = taxonomy.concepts
    if len(concepts) < 2:
        raise table.error("there are too few concepts", "two or more `[[concepts]]`")
    for what in ("name", "title"):
        if len({getattr(concept, what) for concept in concepts}) < len(concepts):
            raise table.error(f"two concepts have the same {what}", f"a {what} of its own for each concept")
    texts = [prompt for concept in concepts for prompt in concept.prompts]
    if len(set(texts)) < len(texts):
        raise table.error("two concepts share a prompt", "each prompt in one concept")
    n_other = sum(concept.is_other for concept in concepts)
    if n_other != 1:
        raise table.error(
            f"{n_other or 'no'} concepts are what is left over",
            "`other = true` for exactly one, whose prompts describe ordinary things",
        )
    table.check_templates(taxonomy.templates)
