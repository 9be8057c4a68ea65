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
    "builtin_prompt_set",
    "builtin_prompt_set_text",
    "builtin_prompt_sets",
    "load_prompt_set",
    "parse_prompt_set",
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
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PromptSetError(f"cannot read the prompt file `{path}`: {error.strerror}", hint=HINT) from error
    if len(content) > MAX_BYTES:
        raise PromptSetError(
            f"the prompt file `{path}` is too large", expected=f"at most {MAX_BYTES:,} bytes", hint=HINT
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptSetError(
            f"the prompt file `{path}` is not UTF-8", found=f"a wrong byte at {error.start}"
        ) from error
    return parse_prompt_set(text, where=f"`{path}`", name=path.stem)


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
    try:
        value = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of 5,000 digits and brackets 5,000 deep
        raise PromptSetError(f"{where} is not TOML", found=str(error), hint=HINT) from error
    table = _Table(value, where, ("name", "description", "source", "templates", "classes"))
    entries = table.value.get("classes")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise table.error("`classes` is missing or no list of tables", "two or more `[[classes]]`")
    classes = tuple(_class(entry, f"{where}, class {i}") for i, entry in enumerate(entries, 1))
    prompt_set = PromptSet(
        name=table.text("name", default=name),
        description=table.text("description", default=""),
        source=table.text("source", default=""),
        templates=table.texts("templates", default=("{}",)),
        classes=classes,
    )
    _check(prompt_set, table)
    return prompt_set


def _class(entry: dict[str, Any], where: str) -> PromptClass:
    table = _Table(entry, where, ("name", "prompts", "unwanted"))
    unwanted = entry.get("unwanted", False)
    if not isinstance(unwanted, bool):
        raise table.error("`unwanted` is no truth value", "true or false")
    return PromptClass(table.text("name"), table.texts("prompts"), unwanted)


def _check(prompt_set: PromptSet, table: _Table) -> None:
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
    for template in prompt_set.templates:
        if template.count("{}") != 1:
            raise table.error(f"the template {template!r} does not say where the prompt goes", "exactly one `{}`")


@dataclass(frozen=True, slots=True)
class _Table:
    """One table of a prompt file, with what may stand in it."""

    value: dict[str, Any]
    where: str
    allowed: tuple[str, ...]

    def __post_init__(self) -> None:
        for key in self.value:
            if key not in self.allowed:
                near = difflib.get_close_matches(key, self.allowed, n=1)
                listed = ", ".join(f"`{allowed}`" for allowed in self.allowed)
                meant = f"did you mean `{near[0]}`?" if near else HINT
                raise PromptSetError(
                    f"{self.where} has an unknown key `{key}`", expected=listed, found=f"`{key}`", hint=meant
                )

    def text(self, key: str, *, default: str | None = None) -> str:
        value = self.value.get(key, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self.error(f"`{key}` is missing or no text", f'`{key} = "..."`')
        return value

    def texts(self, key: str, *, default: Sequence[str] | None = None) -> tuple[str, ...]:
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

    def error(self, what: str, expected: str) -> PromptSetError:
        return PromptSetError(f"{self.where}: {what}", expected=expected, hint=HINT)
