"""`clipsieve accounts`: who may review from other machines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from clipsieve.cli import options, render
from clipsieve.cli.command import Group
from clipsieve.cli.ledger_options import ledger, open_ledger_of

if TYPE_CHECKING:
    from clipsieve.store import RunPath

__all__ = ["command"]


@click.group(
    cls=Group,
    name="accounts",
    short_help="Say who may review from other machines.",
    examples=["clipsieve accounts add run ann --adjudicator", "clipsieve accounts list run"],
)
def command() -> None:
    """Keep the accounts of reviewers: names, roles and hashes of passwords, in the ledger."""


@command.command(
    name="add", examples=["clipsieve accounts add run ann", "clipsieve accounts add run bob --adjudicator"]
)
@options.run_argument
@click.argument("name", metavar="NAME")
@click.option(
    "--adjudicator", "is_adjudicator", is_flag=True, help="May also settle what others differ about, and let it learn."
)
@ledger
def add(run: RunPath, name: str, place: str | None, *, is_adjudicator: bool) -> None:
    """Add an account for NAME.

    Asks for the password, or reads it from the first line of stdin if that is no terminal.
    """
    from clipsieve.review.records import Role
    from clipsieve.store import Run

    with open_ledger_of(Run.open(run), place) as opened:
        opened.accounts.add(name, _ask_for_password(), Role.ADJUDICATOR if is_adjudicator else Role.REVIEWER)
    render.print_note(f"added {'adjudicator' if is_adjudicator else 'reviewer'} `{name}`")


@command.command(name="list", examples=["clipsieve accounts list run", "clipsieve accounts list run --json"])
@options.run_argument
@ledger
@options.as_json
def list_(run: RunPath, place: str | None, *, as_json: bool) -> None:
    """List the accounts."""
    from clipsieve.store import Run

    with open_ledger_of(Run.open(run), place) as opened:
        accounts = opened.accounts.all()
    if as_json:
        facts = [{"name": a.name, "role": a.role.value, "created": a.created.isoformat()} for a in accounts]
        render.emit_json(facts)
        return
    rows = [(a.name, a.role.value, f"{a.created:%Y-%m-%d}") for a in accounts]
    render.print_table([("name", "left"), ("role", "left"), ("since", "left")], rows)


@command.command(name="remove", examples=["clipsieve accounts remove run ann"])
@options.run_argument
@click.argument("name", metavar="NAME")
@ledger
def remove(run: RunPath, name: str, place: str | None) -> None:
    """Remove the account of NAME; what they decided stays."""
    from clipsieve.store import Run

    with open_ledger_of(Run.open(run), place) as opened:
        opened.accounts.remove(name)
    render.print_note(f"removed `{name}`; their verdicts stay")


@command.command(name="password", examples=["clipsieve accounts password run ann"])
@options.run_argument
@click.argument("name", metavar="NAME")
@ledger
def set_password(run: RunPath, name: str, place: str | None) -> None:
    """Give NAME a new password; they must log in again.

    Asks for it, or reads it from the first line of stdin if that is no terminal.
    """
    from clipsieve.store import Run

    with open_ledger_of(Run.open(run), place) as opened:
        opened.accounts.set_password(name, _ask_for_password())
    render.print_note(f"changed the password of `{name}`")


def _ask_for_password() -> str:
    """Return a password that no list of processes and no shell's history shows."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    text: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return text
