"""The command group, and the border at which errors become words and exit statuses."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

import click

from clipsieve._version import __version__
from clipsieve.cli.command import Group
from clipsieve.errors import ClipsieveError

__all__ = ["group", "main"]

INTERRUPTED = 130  # what shells report of a process ended by Ctrl-C

# In the order of a first visit: where each command lies, and the first sentence of its help, said here so that listing the
# commands imports none of them.
COMMANDS = {
    "demo-data": ("demo_data", "Draw a data set of pictograms, with ratings."),
    "scan": ("scan", "Scan a data set once into embeddings."),
    "plan": ("plan", "Reckon the nodes, hours and money of a scan."),
    "score": ("score", "Score every embedding in RUN with a classifier."),
    "search": ("search", "Find the images in RUN that fit some words best."),
    "summary": ("summary", "Sum up a run: scanned, failed, flagged."),
    "tune": ("tune", "Tune a classifier on rated images of RUN."),
    "evaluate": ("evaluate", "Evaluate methods on rated images of one or several RUNs."),
    "threshold": ("threshold", "Choose thresholds that keep a promise."),
    "prevalence": ("prevalence", "Estimate how much of RUN is unwanted, with an interval."),
    "duplicates": ("duplicates", "Find images that look alike."),
    "review": ("review", "Let people decide on a page."),
    "verdicts": ("verdicts", "List, export and import what people decided."),
    "accounts": ("accounts", "Say who may review from other machines."),
    "report": ("report", "Report what was found, on one page."),
    "datasheet": ("datasheet", "Answer the datasheet's question on offensive content."),
    "export": ("export", "Write the data set that is left."),
    "prompts": ("prompts", "Show the built-in prompt sets and the taxonomy."),
    "import-head": ("import_head", "Turn a published head into a classifier file."),
    "models": ("models", "List, inspect, fetch and convert encoders."),
}


class LazyGroup(Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of a first visit."""
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write each command with the first sentence of its help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments begin with; name the nearest one if there is none."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"no command `{args[0]}`" + (f"; did you mean `{near[0]}`?" if near else ""))
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return one command, or None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"clipsieve.cli.{COMMANDS[cmd_name][0]}").command
        return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    examples=["clipsieve scan photos -o run", "clipsieve score run -c positive-negative", "clipsieve summary run"],
)
@click.version_option(__version__, prog_name="clipsieve", message="%(prog)s %(version)s")
def group() -> None:
    """Find offensive images in large data sets with CLIP and words.

    Scan a data set once into embeddings, then ask questions of them in words. Nothing in the data set is ever changed.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Exit statuses: 0 done, 1 failed, 2 bad usage, 3 too many failed images, 130 interrupted.
    """
    status = run(args)
    if status == INTERRUPTED:
        # Everything is closed; but the interpreter would wait for threads that wait for a silent server.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    try:
        group.main(args=args, prog_name="clipsieve", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        return _bad_usage(error)
    except ClipsieveError as error:
        _print_error(str(error))
        return error.exit_status
    except (click.Abort, KeyboardInterrupt):
        return _interrupted()
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:  # noqa: BLE001 - the border: a person gets words, a developer asks for the rest
        return _interrupted() if _is_due_to_ctrl_c(error) else _unforeseen(error)
    return 0


def _print_error(message: str) -> None:
    """Print an error; what prints it takes longer to import than help to be shown, and is seldom needed."""
    from clipsieve.cli.render import print_error

    print_error(message)


def _interrupted() -> int:
    _print_error("interrupted\n\nhint: the same command again goes on where this one stopped")
    return INTERRUPTED


def _is_due_to_ctrl_c(error: BaseException | None) -> bool:
    """Return whether an error came of Ctrl-C: a library that is just being loaded makes another one of it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _bad_usage(error: click.ClickException) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":  # by name: click 8.1 has no such class
        from clipsieve.cli.render import print_note

        print_note(error.format_message())
        return error.exit_code
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "clipsieve"
    message = error.format_message().rstrip(".")
    _print_error(f"{message[:1].lower()}{message[1:]}\n\nhint: `{path} -h` shows what it takes")
    return error.exit_code


def _reader_left() -> int:
    """Stop without a word: the reader of a pipe, such as `head`, has seen enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _unforeseen(error: Exception) -> int:
    if os.environ.get("CLIPSIEVE_DEBUG"):
        raise error
    if isinstance(error, OSError) and error.strerror:
        where = f" `{error.filename}`" if error.filename else ""
        _print_error(f"the system refused{where}: {error.strerror}")
    else:
        _print_error(
            f"clipsieve itself failed: {type(error).__name__}: {error}\n\n"
            "hint: please report this, with what `CLIPSIEVE_DEBUG=1` in front of the same command prints"
        )
    return 1
