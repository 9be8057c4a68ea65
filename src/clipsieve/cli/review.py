"""`clipsieve review`: the page on which people decide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipsieve.cli import options, render
from clipsieve.cli.command import Command
from clipsieve.cli.ledger_options import ledger, open_ledger_of

if TYPE_CHECKING:
    from clipsieve.store import Run, RunPath

__all__ = ["command"]


@click.command(
    cls=Command,
    name="review",
    short_help="Let people decide on a page.",
    examples=[
        "clipsieve review run",
        "clipsieve review run --annotator ann --guideline 2026-11",
        "clipsieve review run --reviews-per-image 2 --ledger postgresql://ann@db/team",
        "clipsieve review run --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem",
    ],
)
@options.run_argument
@options.scores_name
@ledger
@click.option("--annotator", metavar="NAME", help="Who reviews, if it is one person.  [default: asked at login]")
@click.option(
    "--reviews-per-image",
    type=click.IntRange(1, 9),
    default=1,
    show_default=True,
    metavar="N",
    help="How many people look at each image.",
)
@click.option(
    "--guideline", default="", metavar="VERSION", help="Which instructions people follow: noted with each verdict."
)
@click.option(
    "--similarity",
    "min_similarity",
    type=click.FloatRange(0.5, 1),
    default=0.95,
    show_default=True,
    metavar="COSINE",
    help="From which on images are near-duplicates.",
)
@click.option(
    "--audit-width",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.02,
    show_default=True,
    metavar="W",
    help="How wide the interval of the random audit may be; for one that is drawn now.",
)
@click.option("--taxonomy", metavar="FILE", help="Concepts in words, or `none`.  [default: the built-in ones]")
@click.option("-m", "--model", metavar="NAME_OR_DIR", help="The run's encoder, for words.  [default: where it lay]")
@click.option("--from", "location", metavar="SOURCE", help="Where the source lies now.  [default: as it was scanned]")
@click.option(
    "--workers",
    "n_workers",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    metavar="N",
    help="Decoding processes.",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Beyond this machine it takes accounts."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, metavar="N", help="0 takes a free one."
)
@click.option("--public-url", metavar="URL", help="How browsers reach it, if through another server.")
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="Certificate, for https.")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="Its key.")
def command(
    run: RunPath,
    name: str | None,
    place: str | None,
    host: str,
    port: int,
    annotator: str | None,
    public_url: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    **told: Any,  # noqa: ANN401
) -> None:
    """Serve a page on which people look at the images of RUN and decide.

    It prints the address to open. Images are covered until somebody uncovers them. Every decision is written down at once;
    `clipsieve export` and `clipsieve report` use them. Ctrl-C ends it, and the same command goes on.
    """
    from clipsieve.review.desk import Desk
    from clipsieve.review.local_run import local_folder
    from clipsieve.review.options import DeskOptions
    from clipsieve.review.web.serve import serve
    from clipsieve.store import Run

    opened = Run.open(run)
    local_folder(opened)
    _check_source(opened, told["location"])
    with open_ledger_of(opened, place) as written:
        desk = Desk(opened, written, DeskOptions(scores_name=name, **told))
        try:
            serve(
                desk,
                host=host,
                port=port,
                annotator=annotator,
                public_url=public_url,
                tls_cert=tls_cert,
                tls_key=tls_key,
                on_start=lambda url: _greet(url, desk),
                on_warning=render.print_warning,
            )
        finally:
            desk.close()


def _check_source(run: Run, location: str | None) -> None:
    """Tell before the page is served that it will show no pictures; SourceError if a place was named that holds none."""
    from clipsieve.engines.originals import reopen
    from clipsieve.errors import ClipsieveError

    if run.manifest.source_kind == "embeddings" or "://" in (location or run.manifest.source_location):
        return
    try:
        reopen(run, location)
    except ClipsieveError as error:
        if location is not None:
            raise
        render.print_warning(f"there are no pictures to show: {error.what}; `--from` names where they lie now")


def _greet(url: str, desk: Any) -> None:  # noqa: ANN401
    n = render.count(desk.catalog.n, "image")
    render.print_note(f"reviewing {n} by the scores `{desk.catalog.scores_name}`; verdicts go to {desk.ledger.place}")
    render.print_text(url)
    render.print_note("open that address in a browser; Ctrl-C ends the review, and every decision is kept")
