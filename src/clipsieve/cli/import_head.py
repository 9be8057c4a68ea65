"""`clipsieve import-head`: published classifiers as safe files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipsieve.cli import options, render
from clipsieve.cli.command import Command

if TYPE_CHECKING:
    from clipsieve.classifiers import Classifier

__all__ = ["command"]

KINDS = ("auto", "q16", "laion-nsfw", "aesthetic", "unsafe-diffusion")  # here, so that help need not import numpy
CAVEATS = {
    "aesthetic": "a score of beauty, not a probability of harm: 0.5 stands for a score of 5, more for a lower one",
    "unsafe-diffusion": "an approximation: the authors take features of any norm; here every one has {norm:g}",
}


@click.command(
    cls=Command,
    name="import-head",
    examples=[
        "clipsieve import-head prompts.p q16.safetensors -m ViT-B-32__openai",
        "clipsieve import-head nsfw.zip nsfw.safetensors -m ViT-L-14__openai --json",
        "clipsieve import-head violent.pt v.safetensors -m ./l14 --embedding-norm 10",
    ],
)
@click.argument("source", type=click.Path(path_type=Path), metavar="FILE")
@click.argument("destination", type=click.Path(path_type=Path), metavar="OUT")
@click.option(
    "-m",
    "--model",
    required=True,
    metavar="NAME_OR_DIR",
    help="The encoder that the head was trained on. Its width alone does not tell.",
)
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    metavar="KIND",
    default="auto",
    show_default=True,
    help="q16, laion-nsfw, aesthetic or unsafe-diffusion; auto tells by the content.",
)
@click.option(
    "--embedding-norm",
    type=float,
    metavar="N",
    help="For unsafe-diffusion, and required there: the mean norm of the encoder's features.",
)
@options.as_json
def command(
    source: Path, destination: Path, model: str, kind: str, embedding_norm: float | None, *, as_json: bool
) -> None:
    """Turn a published head into a classifier file.

    \b
    FILE, as its authors published it, is one of
      q16               prompts.p: soft prompts for what may offend
      laion-nsfw        a SavedModel in a .zip, or its .pth for torch: nudity
      aesthetic         a linear head in a .pth: a score of beauty
      unsafe-diffusion  violent.pt and its siblings: one kind of harm each

    None of it is run: pickles are read by a reader that can build nothing but arrays of numbers, and anything else in
    them is refused. OUT is a .safetensors file for `clipsieve score -c`.
    """  # noqa: D301 - click reads the character itself
    from clipsieve.engines import import_head

    head = import_head(source, destination, model=model, kind=kind, embedding_norm=embedding_norm)
    found = head.provenance.get("kind", "q16")
    n_layers = len(head.parameters().get("activations", ()))
    if found in CAVEATS:
        render.print_warning(CAVEATS[found].format(norm=embedding_norm))
    if as_json:
        render.emit_json(
            {
                "file": str(destination),
                "kind": found,
                "classes": len(head.class_names),
                "layers": n_layers or None,
                "embedding_dim": head.embedding_dim,
                "encoder": head.encoder_name,
            }
        )
        return
    render.print_text(f"wrote {destination}: {_described(head, found, n_layers)} for {head.encoder_name}")


def _described(head: Classifier, kind: str, n_layers: int) -> str:
    if n_layers == 0:
        return f"{len(head.class_names)} soft prompts of width {head.embedding_dim}"
    return f"{kind}, {render.count(n_layers, 'layer')}, width {head.embedding_dim}"
