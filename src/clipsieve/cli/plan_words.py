"""What `clipsieve plan` answers, in words and as facts for machines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from clipsieve.cli import render

if TYPE_CHECKING:
    from clipsieve.engines.cost import Estimate, ImageSet, NodeKind, Rates
    from clipsieve.engines.rates import EncoderCosts, Rate

__all__ = ["CORES", "CORES_FOR_GPU", "Asked", "facts", "lines"]

CORES_FOR_GPU = 12  # as machines with eight A100 are often let: 96
CORES = 64
LAPTOP_CORES = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, as it is understood; with what is assumed where nothing was said."""

    images: ImageSet
    megapixels: float
    encoder: EncoderCosts
    device: str
    precision: str
    node: NodeKind
    has_cores: bool
    rates: Rates
    laptop_rates: Rates
    price: float | None
    currency: str | None


def facts(asked: Asked, found: Estimate) -> dict[str, object]:
    """Return all that is known of the answer."""
    from clipsieve.engines.rates import local_share, run_costs

    one, laptop = _local(asked)
    return {
        "images": asdict(asked.images) | {"megapixels": asked.megapixels},
        "encoder": asked.encoder.name,
        "device": asked.device,
        "node": asdict(asked.node) | {"cores_are_assumed": not asked.has_cores},
        "rates": asdict(asked.rates),
        **asdict(found),
        "price": asked.price,
        "currency": asked.currency,
        "local": {
            "share": local_share()[0],
            "source": local_share()[1],
            "node": {"images_per_s": one, "hours": asked.images.n_images / one / 3600},
            "laptop": {
                "cores": LAPTOP_CORES,
                "images_per_s": laptop,
                "hours": asked.images.n_images / laptop / 3600,
                "encode": asdict(asked.laptop_rates.encode),
            },
        },
        "run_source": run_costs().source,
    }


def _local(asked: Asked) -> tuple[float, float]:
    """Return images a second of the local engine on one such node, and on a laptop without a GPU."""
    from clipsieve.engines.cost import NodeKind, local_images_per_s

    laptop = local_images_per_s(NodeKind(LAPTOP_CORES), asked.laptop_rates)
    return local_images_per_s(asked.node, asked.rates), laptop


def lines(asked: Asked, found: Estimate) -> Iterator[str]:
    """Yield the answer line by line, for a terminal of 80 columns."""
    return render.labelled(_answers(asked, found))


def _answers(asked: Asked, found: Estimate) -> Iterator[tuple[str, str]]:
    images = asked.images
    files = (
        f"{render.count(images.n_images, 'image')} of {_size(images.image_bytes)} and {asked.megapixels:g} megapixels"
    )
    yield "scan", f"{files} with {asked.encoder.name} on {asked.device}"
    yield "encode", f"{_of(asked.rates.encode)} {'GPU' if asked.node.gpus else 'core'}: {_known(asked.rates.encode)}"
    yield "decode", f"{_of(asked.rates.decode)} core: {_known(asked.rates.decode)}"
    yield "node", _node(asked, found)
    yield "cluster", _cluster(found)
    yield "time", _time(asked, found)
    if found.cost is not None and asked.price is not None:
        each = f"{asked.price:,g} {asked.currency} for a node and hour"
        yield "cost", f"{_number(found.cost)} {asked.currency}, at {each}"
    yield from _places(found)
    yield from _on_one(asked)


def _node(asked: Asked, found: Estimate) -> str:
    node, speed = asked.node, found.speed
    cores = render.count(node.cores, "core")
    if not asked.has_cores:
        cores += f" (assumed{f': {CORES_FOR_GPU} for each GPU' if node.gpus else ''})"
    if not node.gpus:
        return f"{cores}, which decode and encode: {_rate(speed.images_per_s)}, most of it {speed.bound}"
    both = f"encode {_rate(speed.encode_images_per_s)}, {render.count(node.decoding_cores, 'core')} decode"
    return f"{render.count(node.gpus, 'GPU')} and {cores}: {both} {_rate(speed.decode_images_per_s)}; {speed.bound} is the bound"


def _cluster(found: Estimate) -> str:
    n, could = found.n_nodes, found.speed.images_per_s
    product = f"{render.count(n, 'node')} x {_number(could)} x {found.efficiency:g} (assumed)"
    whole = f"{product} = {_rate(n * could * found.efficiency)}"
    if found.bound != "driver":
        return whole
    most = f"the driver, which joins and writes the parts, does no more than {_rate(found.driver_images_per_s)}"
    return f"{whole}; but {most}: split the source into several runs, or take fewer nodes"


def _time(asked: Asked, found: Estimate) -> str:
    words = f"{_duration(found.hours)} at {_rate(found.images_per_s)}"
    return f"{words}; {_number(found.node_hours)} node-hours" + (
        "" if asked.price is not None else " (give --price for money)"
    )


def _places(found: Estimate) -> Iterator[tuple[str, str]]:
    from clipsieve.engines.rates import run_costs

    sizes = found.bytes
    yield "network", f"{_size(sizes.source_bytes)} to read, {_bits(sizes.read_bytes_per_s)} into each node"
    if sizes.between_bytes_per_s:
        yield "", f"and {_bits(sizes.between_bytes_per_s)} of pixels at most from each node to others"
    yield "", f"and {_bits(sizes.driver_bytes_per_s)} of rows into the driver"
    yield "run", f"{_size(sizes.run_bytes)} in {render.count(sizes.n_parts, 'part')} of {_size(sizes.part_bytes)}"
    yield "memory", f"object store: {_size(sizes.object_store_bytes)} on each node"
    listed = f"{_size(sizes.driver_bytes)} for tar files and tables, {_size(sizes.driver_folder_bytes)} for a folder of files"
    yield "", f"driver: list of parts, {listed}"
    busy = (
        f"{_number(100 * found.images_per_s / found.driver_images_per_s)} % of the {_rate(found.driver_images_per_s)}"
    )
    yield "driver", f"busy at {busy} that it can join and write: measured {run_costs().source}"


def _on_one(asked: Asked) -> Iterator[tuple[str, str]]:
    from clipsieve.engines.rates import local_share

    share, source = local_share()
    one, laptop = _local(asked)
    hours = [asked.images.n_images / each / 3600 for each in (one, laptop)]
    yield "one node", f"local engine, no cluster: {_duration(hours[0])} at {_rate(one)}"
    core = asked.laptop_rates.encode
    like = "at the given rate of a core" if core.basis == "given" else f"if its cores are as fast as those {core.basis}"
    yield "laptop", f"{LAPTOP_CORES} cores, no GPU, {asked.precision}: {_duration(hours[1])} at {_rate(laptop)}, {like}"
    yield "", f"both at {share:g} of what cores and GPUs could do: measured {source}"


def _known(rate: Rate) -> str:
    return f"{rate.basis}{',' if rate.basis == 'estimated' else ''} {rate.source}"


def _of(rate: Rate) -> str:
    return f"{_rate(rate.images_per_s)} a"


def _rate(images_per_s: float) -> str:
    return render.rate(images_per_s, 1)


def _number(value: float) -> str:
    """Return a number with three digits that count, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _size(n_bytes: float) -> str:
    return render.size(round(n_bytes)) if n_bytes < 999.5e12 else f"{n_bytes / 1e15:,.3g} PB"


def _bits(bytes_per_s: float) -> str:
    return f"{8 * bytes_per_s / 1e9:,.2g} Gbit/s" if bytes_per_s < 12.5e9 else f"{8 * bytes_per_s / 1e9:,.0f} Gbit/s"


def _duration(hours: float) -> str:
    """Return hours as a person would say them: "42 min 3 s", "13.1 hours", "12.5 days", "5.8 years"."""
    if hours < 1:
        return render.seconds(3600 * hours)
    for n_hours, word in ((24 * 365.25, "years"), (24, "days")):
        if hours >= 2 * n_hours:
            return f"{hours / n_hours:,.1f} {word}"
    return f"{hours:.1f} hours"
