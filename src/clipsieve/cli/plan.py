"""`clipsieve plan`: what a scan would take, on paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clipsieve.cli import options, render
from clipsieve.cli.command import Command
from clipsieve.cli.plan_words import CORES, CORES_FOR_GPU, Asked, facts, lines

if TYPE_CHECKING:
    from clipsieve.engines.cost import ImageSet
    from clipsieve.engines.rates import EncoderCosts

__all__ = ["command"]


@click.command(
    cls=Command,
    name="plan",
    examples=[
        "clipsieve plan --images 1000000000 --model ViT-L-14 --gpu H200 --nodes 4",
        "clipsieve plan --images 1000000000 --model ViT-L-14 --gpu A100 --hours 24 --price 16",
        "clipsieve plan --images 50000000 --model ViT-B-32 --cores-per-node 64 --precision bf16 --json",
    ],
)
@click.option("--images", "n_images", type=int, required=True, metavar="N", help="How many.")
@click.option(
    "-m", "--model", default="ViT-L-14", show_default=True, metavar="NAME", help="The encoder, by its architecture."
)
@click.option(
    "--gpu", metavar="NAME", help="Kind of GPU: A100, H100, H200, L4; any with --rate.  [default: none, cores encode]"
)
@click.option(
    "--gpus-per-node", type=click.IntRange(1, 64), metavar="N", help="With --gpu: in one machine.  [default: 8]"
)
@click.option(
    "--cores-per-node",
    type=click.IntRange(1, 4096),
    metavar="N",
    help=f"In one machine.  [default: {CORES_FOR_GPU} for each GPU; {CORES} without]",
)
@click.option("--nodes", "n_nodes", type=int, metavar="N", help="Machines: how long?  [default: 1]")
@click.option("--hours", type=float, metavar="H", help="Instead of --nodes, time: how many machines?")
@click.option("--price", type=float, metavar="MONEY", help="Of a machine for an hour.")
@options.currency
@click.option(
    "--part-size", type=int, default=10_000, show_default=True, metavar="N", help="Most images in a stored part."
)
@click.option(
    "--image-bytes",
    type=float,
    metavar="BYTES",
    help="Of a file, on average.  [default: 100000, more from 0.2 megapixels on]",
)
@click.option(
    "--pixels",
    "megapixels",
    type=click.FloatRange(0, 10_000, min_open=True),
    default=0.19,
    show_default=True,
    metavar="MP",
    help="Of an image, in millions.",
)
@click.option("--rate", type=float, metavar="IMAGES_PER_S", help="What one GPU, or one core, encodes: you measured it.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "int8"]),
    default="fp32",
    show_default=True,
    help="Number format on cores: of machines without a GPU, and of the laptop.",
)
@click.option(
    "--efficiency",
    type=float,
    default=0.85,
    show_default=True,
    metavar="SHARE",
    help="What part of what its machines could do a cluster does.",
)
@options.as_json
def command(
    n_images: int,
    model: str,
    gpu: str | None,
    gpus_per_node: int | None,
    cores_per_node: int | None,
    n_nodes: int | None,
    hours: float | None,
    price: float | None,
    currency: str | None,
    part_size: int,
    image_bytes: float | None,
    megapixels: float,
    rate: float | None,
    precision: str,
    efficiency: float,
    *,
    as_json: bool,
) -> None:
    """Reckon the nodes, hours and money of a scan.

    Opens nothing. Says of each figure whether it was measured, published by others, estimated, given or assumed. Without
    --price, there is no money in the answer.
    """
    from clipsieve.engines.cost import ImageSet, estimate_scan
    from clipsieve.engines.rates import find_encoder, usual_bytes

    if gpus_per_node is not None and gpu is None:
        raise click.UsageError("`--gpus-per-node` needs `--gpu`: which kind?")
    images = ImageSet(n_images, usual_bytes(megapixels) if image_bytes is None else image_bytes, part_size)
    gpus = (gpus_per_node or 8) if gpu is not None else 0
    asked = _understand(
        images,
        megapixels,
        find_encoder(model),
        gpu,
        gpus,
        cores_per_node,
        rate,
        precision,
        price,
        options.money(price, currency),
    )
    found = estimate_scan(
        images,
        asked.encoder,
        asked.node,
        asked.rates,
        n_nodes=n_nodes,
        hours=hours,
        efficiency=efficiency,
        price=price,
    )
    if as_json:
        render.emit_json(facts(asked, found))
        return
    for line in lines(asked, found):
        render.print_text(line)


def _understand(
    images: ImageSet,
    megapixels: float,
    encoder: EncoderCosts,
    gpu: str | None,
    gpus: int,
    cores: int | None,
    given: float | None,
    precision: str,
    price: float | None,
    currency: str | None,
) -> Asked:
    from clipsieve.engines.cost import NodeKind, Rates
    from clipsieve.engines.rates import Rate, core_rate, decode_rate, find_gpu, gpu_rate

    decode = decode_rate(megapixels, images.image_bytes)
    device = f"cores in {precision}" if given is None else "cores"
    told = None if given is None else Rate(given, "given", "with `--rate`")
    if gpu is None:
        encode = told or core_rate(encoder, precision)
        laptop = encode
    elif told is not None:
        device, encode, laptop = gpu, told, core_rate(encoder, precision)
    else:
        kind = find_gpu(gpu)
        device, encode, laptop = kind.name, gpu_rate(encoder, kind), core_rate(encoder, precision)
    return Asked(
        images=images,
        megapixels=megapixels,
        encoder=encoder,
        device=device,
        precision=precision,
        node=NodeKind(cores or (CORES_FOR_GPU * gpus if gpus else CORES), gpus),
        has_cores=cores is not None,
        rates=Rates(encode, decode),
        laptop_rates=Rates(laptop, decode),
        price=price,
        currency=currency,
    )
