"""Prompt sets as TOML files: those that people write, and those that come with the package."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from clipsieve.classifiers.prompts import PromptClass, PromptSet
from clipsieve.errors import PromptSetError

__all__ = [
    "PromptTable",
    "builtin_prompt_set",
    "builtin_prompt_set_text",
    "builtin_prompt_sets",
    "load_prompt_set",
    "parse_prompt_set",
    "parse_toml",
    "read_prompt_file",
]

MAX_BYTES = 1024**2
HINT = "`clipsieve prompts show positive-negative` prints a file to start from"


def load_prompt_set(path: str | Path) -> PromptSet:
    """Read a prompt set from a TOML file (`docs/guides/prompts.md`).

    Raises
    ------
    PromptSetError
        If it cannot be read or does not say what a prompt set must say; names the file, what is wrong, what is allowed.
    """
    path = Path(path)
    return parse_prompt_set(read_prompt_file(path), where=f"`{path}`", name=path.stem)


def read_prompt_file(path: Path, *, what: str = "prompt file", hint: str = HINT) -> str:
    """Return the text of a TOML file of bounded size; `what` and `hint` are for the errors, which are PromptSetError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PromptSetError(f"cannot read the {what} `{path}`: {error.strerror}", hint=hint) from error
    if len(content) > MAX_BYTES:
        raise PromptSetError(f"the {what} `{path}` is too large", expected=f"at most {MAX_BYTES:,} bytes", hint=hint)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptSetError(f"the {what} `{path}` is not UTF-8", found=f"a wrong byte at {error.start}") from error


def builtin_prompt_sets() -> list[PromptSet]:
    """Return the prompt sets that come with the package; the paper's own first."""
    files = sorted(_folder().iterdir(), key=lambda file: (file.name != "positive-negative.toml", file.name))
    return [builtin_prompt_set(file.name.removesuffix(".toml")) for file in files if file.name.endswith(".toml")]


def builtin_prompt_set(name: str) -> PromptSet:
    """Return the built-in prompt set of a name; PromptSetError, with the names there are, if there is none."""
    return parse_prompt_set(builtin_prompt_set_text(name), where=f"the built-in set `{name}`", name=name)


def builtin_prompt_set_text(name: str) -> str:
    """Return the TOML text of a built-in prompt set."""
    names = sorted(file.name.removesuffix(".toml") for file in _folder().iterdir() if file.name.endswith(".toml"))
    if name not in names:
        raise PromptSetError(
            f"there is no built-in prompt set `{name}`",
            expected=", ".join(f"`{known}`" for known in names),
            hint="for a file of your own, give its path with `.toml` at the end",
        )
    text: str = (_folder() / f"{name}.toml").read_text(encoding="utf-8")
    return text


def _folder() -> Any:  # noqa: ANN401 - Traversable moved between Python versions
    return resources.files("clipsieve") / "prompts"


def parse_prompt_set(text: str, *, where: str, name: str) -> PromptSet:
    """Read a prompt set from TOML text; `where` names it in errors, `name` is its name if it has none itself."""
    table = PromptTable(parse_toml(text, where), where, ("name", "description", "source", "templates", "classes"))
    classes = tuple(_class(entry, f"{where}, class {i}") for i, entry in enumerate(table.tables("classes"), 1))
    prompt_set = PromptSet(
        name=table.text("name", default=name),
        description=table.text("description", default=""),
        source=table.text("source", default=""),
        templates=table.texts("templates", default=("{}",)),
        classes=classes,
    )
    _check(prompt_set, table)
    return prompt_set


def parse_toml(text: str, where: str, hint: str = HINT) -> dict[str, Any]:
    """Return what TOML text says; PromptSetError if it is none."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of 5,000 digits and brackets 5,000 deep
        raise PromptSetError(f"{where} is not TOML", found=str(error), hint=hint) from error


def _class(entry: dict[str, Any], where: str) -> PromptClass:
    table = PromptTable(entry, where, ("name", "prompts", "unwanted"))
    return PromptClass(table.text("name"), table.texts("prompts"), table.flag("unwanted"))


def _check(prompt_set: PromptSet, table: PromptTable) -> None:
    names = [prompt_class.name for prompt_class in prompt_set.classes]
    flags = [prompt_class.unwanted for prompt_class in prompt_set.classes]
    if len(names) < 2:
        raise table.error("there are too few classes", "two or more `[[classes]]`")
    if len(set(names)) < len(names):
        raise table.error("two classes have the same name", "a name of its own for each class")
    texts = [prompt for prompt_class in prompt_set.classes for prompt in prompt_class.prompts]
    if len(set(texts)) < len(texts):
        raise table.error("two classes share a prompt", "each prompt in one class")
    if all(flags) or not any(flags):
        raise table.error(
            "no class, or every class, is unwanted", "`unwanted = true` for at least one class, not for all"
        )
    table.check_templates(prompt_set.templates)


@dataclass(frozen=True, slots=True)
class PromptTable:
    """One table of a TOML file of prompts, with what may stand in it; PromptSetError for anything else.

    Attributes
    ----------
    value : dict
        What stands in it.
    where : str
        What errors call it.
    allowed : tuple of str
        The keys that it may have.
    hint : str
        What errors advise.
    """

    value: dict[str, Any]
    where: str
    allowed: tuple[str, ...]
    hint: str = HINT

    def __post_init__(self) -> None:
        for key in self.value:
            if key not in self.allowed:
                near = difflib.get_close_matches(key, self.allowed, n=1)
                listed = ", ".join(f"`{allowed}`" for allowed in self.allowed)
                meant = f"did you mean `{near[0]}`?" if near else self.hint
                raise PromptSetError(
                    f"{self.where} has an unknown key `{key}`", expected=listed, found=f"`{key}`", hint=meant
                )

    def tables(self, key: str) -> list[dict[str, Any]]:
        """Return a list of tables."""
        entries = self.value.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self.error(f"`{key}` is missing or no list of tables", f"two or more `[[{key}]]`")
        return entries

    def text(self, key: str, *, default: str | None = None) -> str:
        """Return a text, which may only be empty if it has a default."""
        value = self.value.get(key, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self.error(f"`{key}` is missing or no text", f'`{key} = "..."`')
        return value

    def texts(self, key: str, *, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return a list of texts, none of them empty and none twice."""
        value = self.value.get(key, default)
        if (
            not isinstance(value, (list, tuple))
            or not value
            or not all(isinstance(v, str) and v.strip() for v in value)
        ):
            raise self.error(f"`{key}` is missing or no list of texts", f'`{key} = ["...", "..."]`, none of them empty')
        if len(set(value)) < len(value):
            raise self.error(f"`{key}` says something twice", "each text once")
        return tuple(value)

    def flag(self, key: str) -> bool:
        """Return a truth value, False by default."""
        value = self.value.get(key, False)
        if not isinstance(value, bool):
            raise self.error(f"`{key}` is no truth value", "true or false")
        return value

    def check_templates(self, templates: Sequence[str]) -> None:
        """Make sure that a prompt has exactly one place in each template."""
        for template in templates:
            if template.count("{}") != 1:
                raise self.error(f"the template {template!r} does not say where the prompt goes", "exactly one `{}`")

    def error(self, what: str, expected: str) -> PromptSetError:
        """Return the error of this table."""
        return PromptSetError(f"{self.where}: {what}", expected=expected, hint=self.hint)
