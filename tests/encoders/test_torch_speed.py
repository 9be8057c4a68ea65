"""What makes the torch backend fast on a GPU, as far as a CPU can show it: the same rows by every way, and every fallback."""

import subprocess
import sys
import threading
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from clipsieve.encoders import load_encoder
from model_folders import SIDE, WIDTH, images, make_torch_folder

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from clipsieve.encoders import torch_tuned  # noqa: E402
from clipsieve.encoders.torch import COMPILE_FROM_IMAGES, TorchEncoder  # noqa: E402
from clipsieve.encoders.torch_images import ImageTower, PatchProjection  # noqa: E402
from clipsieve.encoders.torch_runner import BatchRunner, find_batch_size, seconds_for  # noqa: E402
from clipsieve.encoders.torch_tuned import TunedTower  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request, tmp_path_factory):
    return make_torch_folder(tmp_path_factory.mktemp("models") / request.param, siglip=request.param == "siglip")


@pytest.fixture
def encoder(folder):
    with load_encoder(str(folder), backend="torch", device="cpu", threads=1) as loaded:
        assert isinstance(loaded, TorchEncoder)
        yield loaded


@pytest.fixture
def tower(encoder):
    return ImageTower(encoder.model, encoder.recipe, torch.float32)


def tuned(tower, **options):
    dim = tower.model.config.vision_config.hidden_size
    dim = WIDTH if tower.model.config.model_type == "clip" else dim
    return TunedTower(tower, CPU, side_px=SIDE, dim=dim, **options)


class Brim:
    """Compute that runs out of memory beyond some number of images, and counts its calls."""

    def __init__(self, tower, most):
        self.tower, self.most, self.sizes = tower, most, []

    def __call__(self, pixels):
        self.sizes.append(len(pixels))
        if len(pixels) > self.most:
            raise torch.OutOfMemoryError("no room")
        return self.tower(pixels)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("side", [32, 35])
def test_patches_as_a_product_are_the_convolution(bias, side):
    convolution = torch.nn.Conv2d(3, 20, kernel_size=8, stride=8, bias=bias)
    image = torch.rand(3, side, side, 3).permute(0, 3, 1, 2)
    for given in (image, image.contiguous()):
        torch.testing.assert_close(PatchProjection(convolution)(given), convolution(given))


def test_projecting_patches_changes_no_row(encoder, tower):
    pixels = images(5)
    before = encoder.encode_images(pixels)
    tower.project_patches()
    tower.project_patches()  # a second time there is nothing to do
    assert isinstance(tower.model.vision_model.embeddings.patch_embedding, PatchProjection)
    np.testing.assert_allclose(encoder.encode_images(pixels), before, atol=1e-6)


def test_attention_is_the_fused_one(encoder):
    assert encoder.model.config.vision_config._attn_implementation == "sdpa"


@pytest.mark.slow
def test_layers_are_compiled_once_for_all_of_them(tower):
    counted = []

    def backend(graph, _inputs):
        counted.append(graph)
        return graph.forward

    pixels = torch.from_numpy(images(4))
    with torch.inference_mode():
        before = tower(pixels)
        tower.compile_layers(backend=backend)
        torch.testing.assert_close(tower(pixels), before)
        assert len(tower.layers) == 2
        assert len(counted) == 1
        tower.as_written()
        torch.testing.assert_close(tower(pixels), before)
    assert len(counted) == 1


@pytest.mark.slow
def test_a_compiled_tower_gives_the_rows(encoder, tower):
    pixels = images(7)
    made = tuned(tower, batch_size=4, compile_options={"backend": "aot_eager"})
    np.testing.assert_allclose(made.encode(pixels), encoder.encode_images(pixels), atol=1e-5)
    assert made.facts["compiled"] is True


@pytest.mark.parametrize("fault", ["raises", "is wrong"])
def test_a_compiler_that_fails_is_left_out_with_one_warning(encoder, tower, fault):
    def backend(graph, _inputs):
        if fault == "raises":
            raise RuntimeError("no C compiler")
        return lambda *inputs: tuple(-output for output in graph(*inputs))

    pixels = images(7)
    made = tuned(tower, batch_size=4, compile_options={"backend": backend})
    with pytest.warns(RuntimeWarning, match="cannot be compiled") as caught:
        rows = made.encode(pixels)
    assert len(caught) == 1
    assert "no C compiler" in str(made.facts["compiled"]) or "not those" in str(made.facts["compiled"])
    np.testing.assert_allclose(rows, encoder.encode_images(pixels), atol=1e-5)


def test_a_recording_that_fails_is_left_out_with_one_warning(encoder, tower):
    pixels = images(3)
    made = tuned(tower, batch_size=2, captured=True)  # there is nothing to record on a CPU
    with pytest.warns(RuntimeWarning, match="cannot be captured"):
        rows = made.encode(pixels)
    np.testing.assert_allclose(rows, encoder.encode_images(pixels), atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.encode(pixels)


def test_a_recording_that_takes_no_new_images_is_left_out(encoder, tower, monkeypatch):
    class Stale:
        def __init__(self, compute, example):
            self.rows = compute(example).clone()

        def __call__(self, _pixels):
            return self.rows

    monkeypatch.setattr(torch_tuned, "CapturedTower", Stale)
    pixels = images(3)
    made = tuned(tower, batch_size=2, captured=True)
    with pytest.warns(RuntimeWarning, match="not those of the plain tower"):
        rows = made.encode(pixels)
    np.testing.assert_allclose(rows, encoder.encode_images(pixels), atol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 4, 5, 11])
def test_short_batches_are_padded_and_long_ones_cut(encoder, tower, n):
    sizes = []
    tower.register_forward_hook(lambda _tower, given, _rows: sizes.append(len(given[0])))
    pixels = images(n)
    rows = tuned(tower, batch_size=4).encode(pixels)
    assert set(sizes) <= {4}
    assert len(sizes) == (1 + -(-n // 4) if n else 0)  # the first is a trial
    np.testing.assert_allclose(rows, encoder.encode_images(pixels), atol=1e-5)


def test_what_lay_in_a_slot_before_changes_nothing(tower):
    made = tuned(tower, batch_size=4)
    alone = made.encode(images(1, seed=5))
    made.encode(images(4, seed=6))
    np.testing.assert_array_equal(made.encode(images(1, seed=5)), alone)


def test_many_threads_get_their_own_rows(encoder, tower):
    made = tuned(tower, batch_size=4, n_slots=3)
    batches = [images(1 + n % 6, seed=n) for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(made.encode, batches))
    for rows, batch in zip(found, batches, strict=True):
        np.testing.assert_allclose(rows, encoder.encode_images(batch), atol=1e-5)


def test_no_more_calls_are_on_their_way_than_there_are_slots():
    inside, most, held = [], [], threading.Lock()

    class Slow:
        def __call__(self, pixels):
            return torch.ones(len(pixels), 2)

    runner = BatchRunner(Slow(), CPU, batch_size=2, side_px=SIDE, dim=2, n_slots=2)
    take, give = runner._slots.get, runner._slots.put

    class Counted:
        def get(self):
            slot = take()
            with held:
                inside.append(slot)
                most.append(len(inside))
            time.sleep(0.01)
            return slot

        def put(self, slot):
            with held:
                inside.remove(slot)
            give(slot)

    runner._slots = Counted()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(runner.run, [images(2)] * 12))
    assert max(most) == 2


def test_a_batch_that_does_not_fit_is_halved_and_no_row_is_lost(encoder, tower):
    brim = Brim(tower, most=3)
    made = tuned(tower, batch_size=16)
    made._tower = brim
    pixels = images(11)
    np.testing.assert_allclose(made.encode(pixels), encoder.encode_images(pixels), atol=1e-5)
    assert made.batch_size == 2
    assert brim.sizes[:4] == [16, 8, 4, 2]


def test_memory_that_others_take_in_the_middle_halves_the_batch(encoder, tower):
    brim = Brim(tower, most=100)
    made = tuned(tower, batch_size=8, n_slots=3)
    made._tower = brim
    made.encode(images(1))
    brim.most = 5
    batches = [images(9, seed=n) for n in range(6)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(made.encode, batches))
    assert made.batch_size == 4  # halved once, however many threads ran into it
    for rows, batch in zip(found, batches, strict=True):
        np.testing.assert_allclose(rows, encoder.encode_images(batch), atol=1e-5)


def test_the_memory_of_a_batch_that_failed_is_free_before_a_smaller_one_is_made_ready(tower):
    held = []

    class Watched(Brim):
        def __call__(self, pixels):
            if len(pixels) == 4 and not held:
                held.extend(slot() for slot in slots)
            return super().__call__(pixels)

    made = tuned(tower, batch_size=8, n_slots=2)
    made._tower = Watched(tower, most=100)
    made.encode(images(1))
    found = [made._runner._slots.get() for _ in range(2)]
    slots = [weakref.ref(slot) for slot in found]
    for slot in found:
        made._runner._slots.put(slot)
    del found, slot
    made._tower.most = 5
    made.encode(images(9))
    assert held == [None, None]


def test_a_runner_waits_for_its_calls_and_answers_none_once_it_is_closed():
    begun, may_end = threading.Event(), threading.Event()

    def compute(pixels):
        begun.set()
        may_end.wait(10)
        return torch.ones(len(pixels), 2)

    runner = BatchRunner(compute, CPU, batch_size=2, side_px=SIDE, dim=2, n_slots=1)
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(runner.run, images(2))
        assert begun.wait(10)
        waiting = [pool.submit(runner.run, images(2)) for _ in range(4)]
        closing = pool.submit(runner.close)
        time.sleep(0.05)
        assert not closing.done()
        may_end.set()
        closing.result(10)
        assert first.result(10).shape == (2, 2)
        assert [call.result(10) for call in waiting].count(None) >= 3  # one may have had the slot before it was closed
    runner.close()  # a second time there is nothing to do
    assert runner.run(images(1)) is None


def test_a_device_without_room_for_one_image_is_an_error(tower):
    made = tuned(tower, batch_size=4)
    made._tower = Brim(tower, most=0)
    with pytest.raises(torch.OutOfMemoryError):
        made.encode(images(2))


@pytest.mark.parametrize(
    ("rates", "best"),
    [
        ({32: 100, 64: 180, 128: 190, 256: 191}, 128),
        ({32: 100, 64: 101}, 32),
        ({32: 100, 64: 180, 128: None}, 64),
        ({32: None, 16: None, 8: 10}, 8),
        ({size: size for size in (32, 64, 128, 256, 512, 1024)}, 1024),
    ],
)
def test_the_batch_grows_while_it_pays(rates, best):
    def rate(size):
        if rates[size] is None:
            raise torch.OutOfMemoryError("no room")
        return float(rates[size])

    found, seen = find_batch_size(rate)
    assert found == best
    assert seen == {size: rate for size, rate in rates.items() if rate is not None}


def test_no_batch_fits():
    def rate(_size):
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError):
        find_batch_size(rate)


def test_the_batch_is_looked_for_once(tower):
    made = tuned(tower)
    assert made.batch_size in made.facts["images_per_s"]
    before = dict(made.facts)
    assert made.batch_size == before["batch_size"]
    assert made.facts == before


def test_time_is_taken_over_enough_calls():
    calls = []
    took = seconds_for(lambda _: calls.append(time.sleep(0.005)), torch.zeros(1), at_least_s=0.03)
    assert 0.005 <= took < 0.5
    assert len(calls) >= 3


def test_a_cpu_works_on_one_batch_at_a_time(encoder):
    assert (encoder.n_parallel, encoder.best_batch_size) == (1, 16)
    assert encoder.facts == {"device": "cpu", "precision": "fp32"}
    with load_encoder(encoder.location, backend="torch", device="cpu", batch_size=5) as told:
        assert told.best_batch_size == 5
        told.expect(n_images=10**6)
        assert told.best_batch_size == 5


def test_only_large_jobs_are_compiled(folder):
    def compiles(n=None, **options):
        made = TorchEncoder(folder, name="a", location="a", device="cpu", **options)
        if n is not None:
            made.expect(n_images=n)
        return made._compiles

    assert not compiles()
    assert not compiles(COMPILE_FROM_IMAGES - 1)
    assert compiles(COMPILE_FROM_IMAGES)
    assert compiles(1, compiled=True)
    assert not compiles(10**9, compiled=False)


@pytest.fixture
def ready(folder):
    made = TorchEncoder(folder, name="a", location="a", device="cpu", batch_size=4)
    return made, made._tuned()


@pytest.mark.parametrize(
    "told", [{}, {"n_images": 7}, {"n_images": COMPILE_FROM_IMAGES - 1}, {"batch_size": 4}, {"batch_size": None}]
)
def test_what_is_ready_stays_so_where_nothing_else_is_asked_for(ready, told):
    made, tower = ready
    made.expect(**told)
    assert made._tuned() is tower


@pytest.mark.parametrize(("told", "size"), [({"n_images": COMPILE_FROM_IMAGES}, 4), ({"batch_size": 8}, 8)])
def test_another_batch_and_the_first_sight_of_many_images_make_it_ready_anew_once(ready, told, size):
    made, tower = ready
    made.expect(**told)
    again = made._tuned()
    assert again is not tower
    assert (made.best_batch_size, again.facts["batch_size"]) == (size, size)
    made.expect(**told)
    assert made._tuned() is again


def test_a_batch_that_was_halved_is_not_asked_for_again(ready):
    made, tower = ready
    tower._batch_size = 2
    made.expect(batch_size=4)
    assert made._tuned() is tower
    made.expect(n_images=COMPILE_FROM_IMAGES)
    assert made._tuned().facts["batch_size"] == 2


def test_a_batch_that_was_found_by_trying_is_not_looked_for_again(folder):
    made = TorchEncoder(folder, name="a", location="a", device="cpu")
    made._tuned()._batch_size = 64  # as if found: to try takes its time
    made.expect(n_images=COMPILE_FROM_IMAGES, batch_size=None)
    assert made._tuned().facts == {"batch_size": 64}


def test_a_scan_makes_ready_once(folder, tmp_path):
    from clipsieve import ScanOptions, open_source, scan
    from image_files import png

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(png(7))
    with TorchEncoder(folder, name="a", location="a", device="cpu", batch_size=4) as made:
        tower = made._tuned()
        scan(open_source(tmp_path / "photos"), tmp_path / "run", made, options=ScanOptions(part_size=10))
        assert made._tuned() is tower


@pytest.mark.slow
def test_the_benchmark_runs_through_on_a_cpu():
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", "from benchmarks import gpu; gpu.smoke()"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("images/s |") == 2  # one table on ready tensors, one from end to end
    assert "left out" not in done.stdout


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_gives_the_rows_of_a_cpu(folder, encoder, precision):
    pixels = images(50)
    expected = encoder.encode_images(pixels)
    made = TorchEncoder(
        folder, name="a", location="a", device="cuda", precision=precision, batch_size=16, compiled=True
    )
    with made, ThreadPoolExecutor(3) as pool:
        found = list(pool.map(made.encode_images, [pixels] * 9))
        assert made.facts["captured"] is True
    for rows in found:
        assert ((rows * expected).sum(axis=1) > (0.99 if precision == "bf16" else 0.99999)).all()
        np.testing.assert_array_equal(rows, found[0])
