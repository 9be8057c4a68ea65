"""Options that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["as_json", "backend", "device", "model", "precision", "quiet", "run_argument"]

run_argument = click.argument("run", type=click.Path(path_type=Path), metavar="RUN")

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout, for machines.")

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
    type=click.Choice(["auto", "onnx", "torch"]),
    default="auto",
    show_default=True,
    help="What runs the encoder; auto looks at the model's files.",
)

device = click.option(
    "--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu, cuda or cuda:N."
)

precision = click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16"]),
    default="fp32",
    show_default=True,
    help="Number format of the image tower; fp16 and bf16 need a GPU.",
)
