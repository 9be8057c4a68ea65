"""Half floats widened: by numpy where they are few, by ONNX Runtime where they are many."""

import threading

import numpy as np
import pytest

from clipsieve.store.half import _MANY, _model, single

EVERY = np.arange(2**16, dtype=np.uint16).view(np.float16)


@pytest.mark.parametrize("n_times", [1, 8])
def test_every_half_float_is_what_numpy_makes_of_it(n_times):
    many = np.tile(EVERY, (n_times, 1))
    assert (many.size >= _MANY) == (n_times > 1)
    found, expected = single(many), many.astype(np.float32)
    assert found.dtype == np.float32
    numbers = ~np.isnan(expected)
    assert (found.view(np.uint32) == expected.view(np.uint32))[numbers].all()  # zeros have signs
    assert (np.isnan(found) == ~numbers).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("shape", [(0, 8), (3, 5), (_MANY // 64, 64)])
def test_what_comes_is_ones_own(dtype, shape):
    values = np.ones(shape, dtype=dtype)
    single(values)[...] = 2
    assert (values == 1).all()


def test_rows_that_lie_apart():
    many = np.random.default_rng(0).standard_normal((2048, 512)).astype(np.float16)
    np.testing.assert_array_equal(single(many[::2]), many[::2].astype(np.float32))
    np.testing.assert_array_equal(single(many[:, ::2]), many[:, ::2].astype(np.float32))


def test_several_threads_at_once():
    many = np.random.default_rng(0).standard_normal((1024, 768)).astype(np.float16)
    found: list[bool] = []

    def widen(by: int) -> None:
        found.extend((single(many + by) == (many + by).astype(np.float32)).all() for _ in range(20))

    threads = [threading.Thread(target=widen, args=(by,)) for by in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [True] * 80


@pytest.mark.slow
def test_the_model_is_one_that_onnx_accepts():
    import onnx

    model = onnx.load_from_string(_model())
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Cast"]
    assert len(_model()) == 75
