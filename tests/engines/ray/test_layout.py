"""How a scan is laid out over machines: numbers alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.engines.ray import Node, Wanted, lay_out
from clipsieve.engines.ray.layout import MOST_THREADS, block_bytes
from clipsieve.errors import UsageError


def node(cpus: float, gpus: float = 0.0) -> Node:
    return Node(cpus, gpus, 10**9)


def test_on_cpus_decoding_has_nearly_all_and_encoders_use_the_same_cores():
    found = lay_out([node(2), node(2)], Wanted(), on_gpu=False)
    assert (found.encoders, found.threads, found.n_decoders) == (2, 2, 4)
    assert found.encoders * found.cpus_per_encoder < 0.1


def test_a_machine_that_comes_back_without_room_leaves_room_to_decode():
    found = lay_out([node(2), node(2)], Wanted(), on_gpu=False)
    assert 2 - found.encoders * found.cpus_per_encoder >= found.cpus_per_decoder  # all encoders on one machine


def test_a_large_machine_has_several_encoders_and_a_small_one_makes_them_no_smaller():
    found = lay_out([node(64), node(1)], Wanted(), on_gpu=False)
    assert (found.encoders, found.threads) == (64 // MOST_THREADS, MOST_THREADS)


def test_a_head_without_cpus_has_no_part_in_it():
    assert lay_out([node(0), node(4)], Wanted(), on_gpu=False).encoders == 1


def test_gpus_each_have_an_encoder_and_a_cpu_and_the_other_cpus_decode():
    found = lay_out([node(8, 2), node(8, 2)], Wanted(), on_gpu=True)
    assert (found.encoders, found.gpus_per_encoder, found.cpus_per_encoder, found.n_decoders) == (4, 1.0, 1.0, 12)


def test_a_part_of_a_gpu_is_of_one():
    assert lay_out([node(16, 2)], Wanted(gpus_per_encoder=0.5), on_gpu=True).encoders == 4
    assert lay_out([node(16, 2)], Wanted(gpus_per_encoder=0.6), on_gpu=True).encoders == 2  # and not three
    with pytest.raises(UsageError, match="whole GPUs"):
        lay_out([node(16, 4)], Wanted(gpus_per_encoder=1.5), on_gpu=True)


def test_decoders_fit_each_on_a_machine():
    with pytest.raises(UsageError, match="less than was asked for"):
        lay_out([node(8, 1)] * 4, Wanted(cpus_per_decoder=8), on_gpu=True)  # 7 are left on each


@pytest.mark.parametrize("nodes", [[], [node(0)], [node(4)]])
def test_what_is_not_there_is_refused_with_what_is(nodes):
    with pytest.raises(UsageError, match="less than was asked for"):
        lay_out(nodes, Wanted(encoders=5), on_gpu=False)
    with pytest.raises(UsageError, match="less than was asked for"):
        lay_out(nodes, Wanted(), on_gpu=True)


@given(st.lists(st.tuples(st.integers(1, 96), st.integers(0, 8)), min_size=1, max_size=6), st.booleans())
def test_a_layout_never_books_more_than_there_is(sizes, on_gpu):
    nodes = [node(cpus, gpus) for cpus, gpus in sizes]
    try:
        found = lay_out(nodes, Wanted(), on_gpu=on_gpu)
    except UsageError:
        assert on_gpu
        return
    cpus, gpus = sum(n.cpus for n in nodes), sum(n.gpus for n in nodes)
    assert found.encoders * found.cpus_per_encoder + found.n_decoders * found.cpus_per_decoder <= cpus + 1e-6
    assert found.encoders * found.gpus_per_encoder <= gpus
    assert min(found.encoders, found.n_decoders, found.threads) >= 1


@pytest.mark.parametrize(
    ("size_px", "batch_size", "expected"),
    [(64, 8, 2**20), (224, 16, 4 * 3 * 224**2 * 16), (336, 64, 2**26), (336, 1024, 3 * 336**2 * 1024)],
    ids=["not too small to travel", "four batches", "not too large", "one batch however large"],
)
def test_what_travels_as_one_object(size_px, batch_size, expected):
    assert block_bytes(size_px, batch_size) == expected
