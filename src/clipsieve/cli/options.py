"""Options that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clipsieve.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from clipsieve.store import RunPath

__all__ = [
    "RunLocation",
    "as_json",
    "backend",
    "batch_size",
    "columns",
    "currency",
    "device",
    "exact",
    "hash_list",
    "limits",
    "model",
    "money",
    "part_size",
    "precision",
    "quiet",
    "ratings",
    "run_argument",
    "scores_name",
    "source_kind",
    "verdicts",
    "workers",
]

F = TypeVar("F", bound=Callable[..., Any])


class RunLocation(click.ParamType):  # type: ignore[type-arg] # click 8.1 has no such argument
    """Where a run lies: a folder of this machine, completed by the shell, or a URL."""

    name = "run"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> RunPath:  # noqa: ANN401, ARG002
        """Return the location as a path: `Path("s3://bucket/run")` would lose a slash."""
        from clipsieve.store.paths import run_path

        return run_path(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return what the shell completes as a path."""
        return click.Path().shell_complete(ctx, param, incomplete)


run_argument = click.argument("run", type=RunLocation(), metavar="RUN")

scores_name = click.option(
    "-c", "--classifier", "name", metavar="NAME", help="Whose scores.  [default: the only ones there are]"
)

verdicts = click.option(
    "--verdicts",
    metavar="FILE",
    help="What people decided: CSV or Parquet, or a ledger, a file or URL; `none` leaves them out."
    "  [default: RUN/verdicts.db if there]",
)

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout, for machines.")

currency = click.option("--currency", metavar="NAME", help="Of --price.  [default: USD]")

quiet = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")

model = click.option(
    "-m",
    "--model",
    default="pictogram",
    show_default=True,
    metavar="NAME_OR_DIR",
    help="The encoder: a name from `clipsieve models list`, a hub id, or a model folder.",
)

backend = click.option(
    "--backend",
    type=click.Choice(["auto", "onnx", "openvino", "torch"]),
    default="auto",
    show_default=True,
    help="What runs the encoder; auto looks at the model's files and the precision.",
)

device = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="DEVICE",
    help="auto (one GPU, if torch runs the model and finds one), cpu, cuda (every GPU), or by number: cuda:0,cuda:1.",
)

precision = click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
    default="fp32",
    show_default=True,
    help="Number format of the image tower: bf16 on a GPU or newer CPU, int8 on a CPU, fp16 on a GPU.",
)

source_kind = click.option(
    "--source",
    "kind",
    type=click.Choice(["auto", "folder", "webdataset", "table", "huggingface", "embeddings"]),
    default="auto",
    show_default=True,
    help="What SOURCE is; auto looks at what lies there.",
)

batch_size = click.option(
    "--batch-size",
    type=click.IntRange(1, 4096),
    metavar="N",
    help="Images per encoder call.  [default: what the encoder is fastest with]",
)

exact = click.option(
    "--exact",
    is_flag=True,
    help="Decode and scale every pixel, as the encoder's reference does. Slower: large images are else reduced on the way.",
)

hash_list = click.option(
    "--hash-list",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="sha256 or md5 of files that are never opened, one a line.",
)

workers = click.option(
    "--workers", type=click.IntRange(1, 512), metavar="N", help="Decoding processes.  [default: one for each core]"
)

part_size = click.option(
    "--part-size",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Most images in a stored part.  [default: 1000; of embeddings 20000]",
)


def columns(command: F) -> F:
    """Add the options that say which column of a table holds what."""
    words = {
        "image": "Column of a table with paths, URLs or images.  [default: by name and type]",
        "id": "Column with an id for each row.  [default: file and row]",
        "label": "Column with the class.  [default: `label`, `class`]",
        "caption": "Column with the caption.  [default: `caption`, `text`]",
    }
    for what, help_text in reversed(words.items()):
        command = click.option(f"--{what}-column", metavar="NAME", help=help_text)(command)
    return command


def limits(command: F) -> F:
    """Add the options that bound what one image may cost."""
    for option in (
        click.option(
            "--max-seconds",
            type=click.FloatRange(0.1),
            metavar="S",
            default=60.0,
            show_default=True,
            help="An image that takes longer to decode fails.",
        ),
        click.option(
            "--max-bytes",
            type=click.IntRange(1),
            metavar="N",
            default=512 * 1024**2,
            show_default=True,
            help="Larger files are not read.",
        ),
        click.option(
            "--max-pixels",
            type=click.IntRange(1),
            metavar="N",
            default=178_000_000,
            show_default=True,
            help="Larger images are not decoded.",
        ),
    ):
        command = option(command)
    return command


def ratings(command: F) -> F:
    """Add the options that name a file of ratings and say how to read it."""
    for option in (
        click.option(
            "--reverse/--no-reverse", default=None, help="High ratings are bad.  [default: for SMID's harm alone]"
        ),
        click.option("--high", type=float, metavar="R", help="Wanted above this rating.  [default: 3.5]"),
        click.option("--low", type=float, metavar="R", help="Unwanted below this rating.  [default: 2.5]"),
        click.option(
            "--scale", type=click.Choice(["moral", "valence", "harm"]), help="Of SMID's file.  [default: moral]"
        ),
        click.option("--label-column", metavar="NAME", help="Column with 0 and 1, or names of classes."),
        click.option("--rating-column", metavar="NAME", help="Column with the rating.  [default: by name]"),
        click.option("--image-column", metavar="NAME", help="Column that names the image.  [default: by name]"),
        click.option(
            "--ratings",
            metavar="FILE",
            help="People's ratings, CSV or Parquet, or a ledger of verdicts, a file or URL.",
        ),
    ):
        command = option(command)
    return command


def money(price: float | None, currency: str | None) -> str | None:
    """Return what a price is in, or None without one; UsageError for a currency without a price."""
    if price is None and currency is not None:
        raise UsageError("`--currency` without `--price` has nothing to name", hint="add `--price MONEY`")
    return None if price is None else currency or "USD"
