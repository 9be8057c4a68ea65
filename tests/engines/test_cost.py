"""The arithmetic of a plan holds for any numbers, and its figures are those that were published."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.engines.cost import (
    Estimate,
    ImageSet,
    NodeKind,
    Rates,
    estimate_scan,
    local_images_per_s,
    node_speed,
)
from clipsieve.engines.rates import (
    Rate,
    core_rate,
    decode_rate,
    find_encoder,
    find_gpu,
    gpu_rate,
    local_share,
    run_costs,
    usual_bytes,
)
from clipsieve.errors import UsageError

LARGE = find_encoder("ViT-L-14")


def rates(encode: float, decode: float) -> Rates:
    return Rates(Rate(encode, "given", "here"), Rate(decode, "given", "here"))


@st.composite
def scans(draw: st.DrawFn) -> dict[str, object]:
    """Draw what a scan is asked to be, but for the number of nodes."""
    gpus = draw(st.integers(0, 16))
    return {
        "images": ImageSet(draw(st.integers(1, 10**12)), draw(st.floats(1, 1e9)), draw(st.integers(1, 10**6))),
        "encoder": LARGE,
        "node": NodeKind(gpus + draw(st.integers(1, 256)), gpus),
        "rates": rates(draw(st.floats(0.01, 1e5)), draw(st.floats(0.01, 1e4))),
        "efficiency": draw(st.floats(0.01, 1)),
    }


def needed_s(found: Estimate, n_images: int) -> float:
    return n_images / (found.n_nodes * found.speed.images_per_s * found.efficiency)


@settings(max_examples=40)
@given(scans(), st.integers(1, 100_000))
def test_the_nodes_have_the_time_that_the_images_take(scan, n_nodes):
    found = estimate_scan(**scan, n_nodes=n_nodes)
    n_images = scan["images"].n_images
    done = found.hours * 3600 * n_nodes * found.speed.images_per_s * scan["efficiency"]
    assert done >= n_images * (1 - 1e-9)
    assert found.hours * 3600 * found.driver_images_per_s >= n_images * (1 - 1e-9)
    assert found.hours * 3600 * found.images_per_s == pytest.approx(n_images)
    assert found.node_hours == pytest.approx(found.hours * n_nodes)
    if found.bound != "driver":
        assert found.hours * 3600 == pytest.approx(needed_s(found, n_images))


@settings(max_examples=40)
@given(scans(), st.integers(1, 10_000), st.integers(1, 10_000))
def test_more_nodes_never_take_longer(scan, n_nodes, n_more):
    few, many = estimate_scan(**scan, n_nodes=n_nodes), estimate_scan(**scan, n_nodes=n_nodes + n_more)
    assert many.hours <= few.hours
    assert many.node_hours >= few.node_hours * (1 - 1e-9)


@settings(max_examples=40)
@given(scans(), st.floats(1e-3, 1e6))
def test_hours_give_the_least_nodes_and_these_give_the_hours(scan, hours):
    n_images = scan["images"].n_images
    least = n_images / 3600 / (1 / run_costs().driver_s)
    if least > hours:
        with pytest.raises(UsageError, match="one driver"):
            estimate_scan(**scan, hours=hours)
        return
    found = estimate_scan(**scan, hours=hours)
    again = estimate_scan(**scan, n_nodes=found.n_nodes)
    assert again == found
    assert found.hours <= hours
    if found.n_nodes > 1:
        assert estimate_scan(**scan, n_nodes=found.n_nodes - 1).hours > hours * (1 - 1e-9)


@settings(max_examples=40)
@given(scans(), st.integers(1, 1000))
def test_bytes_add_up(scan, n_nodes):
    images, found = scan["images"], estimate_scan(**scan, n_nodes=n_nodes)
    sizes = found.bytes
    assert (sizes.n_parts - 1) * images.part_size < images.n_images <= sizes.n_parts * images.part_size
    assert sizes.read_bytes_per_s * n_nodes * found.hours * 3600 == pytest.approx(sizes.source_bytes)
    assert sizes.run_bytes <= sizes.part_bytes * sizes.n_parts
    assert (sizes.between_bytes_per_s == 0) == (n_nodes == 1)
    assert sizes.driver_folder_bytes > sizes.driver_bytes


def test_the_slower_of_gpus_and_cores_is_the_bound():
    fast = node_speed(NodeKind(10, 2), rates(100, 50))
    assert (fast.images_per_s, fast.bound) == (200, "encoding")
    slow = node_speed(NodeKind(4, 2), rates(100, 50))
    assert (slow.images_per_s, slow.bound) == (100, "decoding")


def test_cores_without_a_gpu_share_both_kinds_of_work():
    speed = node_speed(NodeKind(6), rates(10, 20))
    assert speed.images_per_s == pytest.approx(6 / (0.1 + 0.05))
    assert speed.bound == "encoding"


def test_a_core_for_each_gpu_leaves_one_to_decode():
    with pytest.raises(UsageError, match="no core is left"):
        node_speed(NodeKind(8, 8), rates(1, 1))


def test_the_driver_is_the_bound_of_many_nodes():
    asked = {"encoder": LARGE, "node": NodeKind(96, 8), "rates": rates(1000, 200)}
    found = estimate_scan(ImageSet(10**9, 1e5), **asked, n_nodes=1000)
    assert found.bound == "driver"
    assert found.images_per_s == found.driver_images_per_s
    assert found.hours == pytest.approx(10**9 * run_costs().driver_s / 3600)


def test_money_is_node_hours_by_price_and_none_without():
    asked = {"encoder": LARGE, "node": NodeKind(2), "rates": rates(1, 1), "n_nodes": 2, "efficiency": 1.0}
    priced = estimate_scan(ImageSet(7200, 1e5), **asked, price=3)
    assert (priced.hours, priced.node_hours, priced.cost) == (1, 2, 6)
    assert estimate_scan(ImageSet(7200, 1e5), **asked).cost is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"images": ImageSet(0, 1e5)}, "number of images is 0"),
        ({"images": ImageSet(5, math.nan)}, "size of an image is nan"),
        ({"images": ImageSet(5, 1e5, 0)}, "size of a part is 0"),
        ({"n_nodes": 0}, "number of nodes is 0"),
        ({"hours": math.inf}, "number of hours is inf"),
        ({"hours": -1.0}, "number of hours is -1"),
        ({"n_nodes": 1, "hours": 1.0}, "exclude each other"),
        ({"efficiency": 1.5}, "efficiency is 1.5"),
        ({"efficiency": 0.0}, "efficiency is 0"),
        ({"price": -1.0}, "price is -1"),
        ({"rates": rates(0, 1)}, "images a second is 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(changed, words):
    asked = {"images": ImageSet(5, 1e5), "encoder": LARGE, "node": NodeKind(2), "rates": rates(1, 1)}
    with pytest.raises(UsageError, match=words):
        estimate_scan(**asked | changed)


@pytest.mark.parametrize(("name", "images_per_s"), [("ViT-B-32", 2500), ("ViT-B-16", 1100), ("ViT-L-14", 312)])
def test_what_was_published_comes_back_and_scales_with_the_peak(name, images_per_s):
    encoder = find_encoder(name)
    published = gpu_rate(encoder, find_gpu("A100"))
    assert (published.images_per_s, published.basis) == (images_per_s, "published")
    for gpu in map(find_gpu, ("H100", "H200", "L4")):
        found = gpu_rate(encoder, gpu)
        assert found.basis == "estimated"
        assert found.images_per_s == pytest.approx(images_per_s * gpu.tflops / 312)


def test_the_utilization_is_that_of_the_published_figure():
    found = gpu_rate(LARGE, find_gpu("h200"))
    assert found.source.startswith("16 % of 989 TFLOP/s")
    assert found.images_per_s * 162e9 / 989e12 == pytest.approx(0.162)


@pytest.mark.parametrize(
    ("megapixels", "n_bytes", "core_ms"), [(0.19, 97_000, 5.2), (12, 1_200_000, 37), (12, 2_800_000, 63)]
)
def test_decoding_takes_what_was_measured(megapixels, n_bytes, core_ms):
    found = decode_rate(megapixels, n_bytes)
    assert 1000 / found.images_per_s == pytest.approx(core_ms)
    assert found.basis == "measured"


@settings(max_examples=40)
@given(st.floats(0.001, 1000), st.floats(1, 1e8), st.floats(1, 10), st.floats(1, 10))
def test_larger_images_never_decode_faster(megapixels, n_bytes, more_pixels, more_bytes):
    small, large = decode_rate(megapixels, n_bytes), decode_rate(megapixels * more_pixels, n_bytes * more_bytes)
    assert 0 < large.images_per_s <= small.images_per_s * (1 + 1e-9)
    assert small.images_per_s <= 1000 / 5.2 * (1 + 1e-9)


def test_the_usual_size_of_a_file_grows_with_its_pixels():
    assert usual_bytes(0.19) == usual_bytes(0.01) == 100_000
    assert usual_bytes(12) == 1_200_000


@pytest.mark.parametrize(
    "name",
    [
        "ViT-L-14",
        "vit-l-14",
        "ViT-L/14",
        "ViT-L-14__openai",
        "immich-app/ViT-L-14__openai",
        "openai/clip-vit-large-patch14",
    ],
)
def test_an_encoder_has_several_names(name):
    assert find_encoder(name) == LARGE


def test_what_nobody_measured_is_refused_with_what_is_known():
    with pytest.raises(UsageError, match=r"A100, H100, H200, L4"):
        find_gpu("B200")
    with pytest.raises(UsageError, match=r"ViT-B-32, ViT-B-16, ViT-L-14"):
        find_encoder("RN50")
    with pytest.raises(UsageError, match=r"fp32, bf16"):
        core_rate(LARGE, "int8")


def test_one_machine_does_the_share_that_was_measured():
    speed = node_speed(NodeKind(8), rates(10, 20)).images_per_s
    assert local_images_per_s(NodeKind(8), rates(10, 20)) == pytest.approx(speed * local_share()[0])
    assert local_images_per_s(NodeKind(5000), rates(1000, 1000)) == 1 / run_costs().driver_s
