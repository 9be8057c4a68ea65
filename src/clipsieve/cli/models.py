"""`clipsieve models`: the encoders, here and on the hub."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipsieve.cli import options, render
from clipsieve.cli.command import Group
from clipsieve.cli.fidelity import show_fidelity
from clipsieve.cli.progress import ProgressBar

if TYPE_CHECKING:
    from clipsieve.encoders import ModelInfo

__all__ = ["command"]


@click.group(
    cls=Group,
    name="models",
    examples=["clipsieve models list", "clipsieve models fetch ViT-L-14__openai", "clipsieve models info pictogram"],
)
def command() -> None:
    """List, inspect, fetch and convert encoders."""


@command.command(name="list", examples=["clipsieve models list", "clipsieve models list --json"])
@options.as_json
def list_(*, as_json: bool) -> None:
    """List the encoders known by name.

    Any other model in the same layout works by its hub id or folder.
    """
    from clipsieve.encoders import list_models

    entries = list_models()
    if as_json:
        render.emit_json([asdict(entry) for entry in entries])
        return
    columns = [
        ("name", "left"),
        ("width", "right"),
        ("px", "right"),
        ("parameters", "right"),
        ("here", "left"),
        ("licence", "left"),
    ]
    render.print_table(
        columns,
        [
            (
                e.name,
                str(e.embedding_dim),
                str(e.size_px),
                f"{e.n_parameters_m:,g} M",
                "yes" if e.is_local else "no",
                e.licence,
            )
            for e in entries
        ],
    )


@command.command(
    name="info", examples=["clipsieve models info pictogram", "clipsieve models info models/my-clip --json"]
)
@click.argument("model", metavar="NAME_OR_DIR")
@options.as_json
def info(model: str, *, as_json: bool) -> None:
    """Show what decides a model's embeddings: files, hashes, recipe.

    Hashes every file. A name that is not on this machine is fetched first.
    """
    from clipsieve.encoders import model_info

    _show(model_info(model), as_json=as_json)


@command.command(
    name="fetch",
    examples=[
        "clipsieve models fetch ViT-L-14__openai",
        "clipsieve models fetch immich-app/ViT-B-32__openai --revision main",
    ],
)
@click.argument("model", metavar="NAME")
@click.option("--revision", metavar="REV", help="Branch, tag or commit.  [default: the pinned one, else main]")
@options.as_json
def fetch(model: str, revision: str | None, *, as_json: bool) -> None:
    """Download a model once and pin its files by hash.

    Later loads are held to the pin, and need no network.
    """
    from clipsieve.encoders import fetch_model

    _show(fetch_model(model, revision=revision), as_json=as_json)


@command.command(
    name="export",
    short_help="Convert a model of transformers to an ONNX model folder.",
    examples=[
        "clipsieve models export openai/clip-vit-base-patch32 models/vit-b-32",
        "clipsieve models export checkpoints/mine models/mine --json",
    ],
)
@click.argument("model", metavar="HF_ID_OR_DIR")
@click.argument("destination", type=click.Path(path_type=Path), metavar="DIR")
@options.as_json
def export(model: str, destination: Path, *, as_json: bool) -> None:
    """Convert a CLIP or SigLIP model of transformers to an ONNX model folder.

    Needs the torch extra. The written folder is compared with the original before it is put in place.
    """
    from clipsieve.encoders import export_model

    _show(export_model(model, destination), as_json=as_json)


@command.command(
    name="quantize",
    short_help="Make the int8 form of a model, and compare it with fp32.",
    examples=[
        "clipsieve models quantize ViT-B-32__openai photos",
        "clipsieve models quantize models/mine 's3://bucket/laion/{00000..00099}.tar' --json",
        "clipsieve models quantize pictogram demo --force --hash-list blocked.txt",
    ],
)
@click.argument("model", metavar="MODEL")
@click.argument("source", metavar="SOURCE")
@options.source_kind
@options.columns
@options.workers
@options.hash_list
@click.option("--force", is_flag=True, help="Make another one, calibrated on these images.")
@options.quiet
@options.as_json
def quantize(
    model: str,
    source: str,
    kind: str,
    workers: int | None,
    hash_list: Path | None,
    *,
    force: bool,
    quiet: bool,
    as_json: bool,
    **columns: str | None,
) -> None:
    """Make the int8 form of a model, and compare it with fp32.

    32 images of SOURCE calibrate it, 200 others measure it. It is kept for every later `--precision int8` of that model; where
    it is there already, it is only measured. Below the bar it is refused. Runs keep the form that they were begun with,
    whatever `--force` makes. Needs the openvino extra.
    """
    from clipsieve.encoders.quantize import require_int8
    from clipsieve.engines import load_block_list, prepare_int8
    from clipsieve.sources import Columns, open_source, recognise

    require_int8()
    block_list = load_block_list(hash_list) if hash_list else None
    named = Columns(**{name.removesuffix("_column"): value for name, value in columns.items()})
    images = open_source(source, recognise(source) if kind == "auto" else kind, columns=named)
    with ProgressBar("comparing int8 with fp32", quiet=quiet) as bar:
        report = prepare_int8(
            images, model, force=force, workers=workers, block_list=block_list, on_progress=bar.update
        )
    if as_json:
        render.emit_json(asdict(report))
        return
    show_fidelity(report)


def _show(model: ModelInfo, *, as_json: bool) -> None:
    if as_json:
        render.emit_json(asdict(model))
        return
    recipe = model.recipe
    facts = {
        "name": model.identity.name,
        "folder": model.path,
        "from": f"{model.repo} at {model.commit}" if model.repo else "",
        "backend": model.backend,
        "width": str(model.identity.embedding_dim),
        "input": f"{recipe.size_px} px, {recipe.resize_mode}, {recipe.interpolation}",
        "weights": f"sha256 {model.identity.weights_sha256}",
    }
    for name, value in facts.items():
        if value:
            render.print_text(f"{name:<9} {value}")
    render.print_text()
    render.print_table([("file", "left"), ("sha256", "left")], [(n, f"{h[:16]}...") for n, h in model.files.items()])
