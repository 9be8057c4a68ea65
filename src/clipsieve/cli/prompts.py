"""`clipsieve prompts`: the prompt sets that come with the package."""

from __future__ import annotations

import click

from clipsieve.cli import options, render
from clipsieve.cli.command import Group

__all__ = ["command"]


@click.group(cls=Group, name="prompts", examples=["clipsieve prompts list", "clipsieve prompts show offensive"])
def command() -> None:
    """Show the built-in prompt sets and the taxonomy.

    Any of them is a starting point for a file of your own: write what `show` prints to a .toml file, edit it, and give
    it to `clipsieve score -c`.
    """


@command.command(name="list", examples=["clipsieve prompts list", "clipsieve prompts list --json"])
@options.as_json
def list_(*, as_json: bool) -> None:
    """List the built-in prompt sets."""
    from clipsieve.classifiers import builtin_prompt_sets

    sets = builtin_prompt_sets()
    if as_json:
        render.emit_json([{"name": s.name, "description": s.description, "source": s.source} for s in sets])
        return
    render.print_table([("name", "left"), ("what it asks", "left")], [(s.name, s.description) for s in sets])


@command.command(name="show", examples=["clipsieve prompts show offensive > mine.toml"])
@click.argument("name")
def show(name: str) -> None:
    """Print a built-in prompt set as TOML."""
    from clipsieve.classifiers import builtin_prompt_set_text

    render.print_text(builtin_prompt_set_text(name).rstrip("\n"))


@command.command(name="taxonomy", examples=["clipsieve prompts taxonomy > mine.toml"])
def taxonomy() -> None:
    """Print the built-in taxonomy of `clipsieve report` as TOML."""
    from clipsieve.classifiers import builtin_taxonomy_text

    render.print_text(builtin_taxonomy_text().rstrip("\n"))
