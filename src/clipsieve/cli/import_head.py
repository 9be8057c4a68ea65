"""`clipsieve import-head`: published classifiers as safe files."""

from __future__ import annotations

from pathlib import Path

import click

from clipsieve.cli import options, render
from clipsieve.cli.command import Command

__all__ = ["command"]


@click.command(
    cls=Command,
    name="import-head",
    examples=["clipsieve import-head prompts.p q16.safetensors --model ViT-B-32__openai"],
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
@options.as_json
def command(source: Path, destination: Path, model: str, *, as_json: bool) -> None:
    """Turn a published head into a classifier file.

    FILE is `prompts.p` as published with Q16 (arXiv:2202.06675): two soft prompts, the second one for unwanted images.
    It is a pickle; it is read by a reader that can build nothing but arrays of numbers, and anything else in it is
    refused before it could run. OUT is a .safetensors file for `clipsieve score -c`.
    """
    from clipsieve.engines import import_head

    classifier = import_head(source, destination, model=model)
    n_classes, width = len(classifier.class_names), classifier.embedding_dim
    if as_json:
        render.emit_json(
            {"file": str(destination), "classes": n_classes, "embedding_dim": width, "encoder": classifier.encoder_name}
        )
        return
    render.print_text(f"wrote {destination}: {n_classes} soft prompts of width {width} for {classifier.encoder_name}")
