"""Options of the commands that say what was found: the report and the datasheet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from clipsieve.cli import options

__all__ = ["report_options"]

F = TypeVar("F", bound=Callable[..., Any])


def report_options(command: F) -> F:
    """Add the options that decide what a report says."""
    for option in (
        click.option("--title", metavar="TEXT", help="Of the data set.  [default: the name of the source]"),
        click.option("--model", metavar="NAME_OR_DIR", help="Where the encoder lies now, which reads the taxonomy."),
        click.option(
            "--taxonomy",
            metavar="FILE",
            help="Concepts in words, as TOML; `none` leaves them out.  [default: the built-in one]",
        ),
        options.verdicts,
        options.scores_name,
    ):
        command = option(command)
    return command
