"""Commands whose help shows examples and exit statuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

__all__ = ["Command", "Group"]

EXIT_STATUS = "Exit status: 0 done, 1 failed, 2 bad usage, 3 too many failed images."


class _WithExamples(click.Command):
    """A command that knows how it is used.

    Parameters
    ----------
    examples : sequence of str
        Whole command lines; the tests parse every one of them.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description, then the examples exactly as they stand."""
        super().format_help_text(ctx, formatter)
        if self.examples:
            formatter.write("\n  Examples:\n")
            formatter.write("".join(f"    {example}\n" for example in self.examples))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write what the exit statuses mean."""
        formatter.write(f"\n  {EXIT_STATUS}\n")


class Command(_WithExamples):
    """One step of the work."""


class Group(_WithExamples, click.Group):
    """Several commands under one name."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order in which they were defined."""
        return list(self.commands)
