"""Several encoding processes: the same rows as one encoder, and nothing left behind however they end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from clipsieve.encoders import load_encoder
from clipsieve.engines.encoder_processes import EncoderProcesses, split_devices
from clipsieve.engines.encoder_worker import Shared
from clipsieve.errors import EmbeddingError, EngineError, ModelNotFoundError, UsageError
from model_folders import images
from open_files import open_files, opened_since

SIDE = 48  # of the embedded model
PARENT = """
import sys, time
from clipsieve.engines.encoder_processes import EncoderProcesses
encoder = EncoderProcesses("pictogram", ["cpu", "cpu"])
print(*(process.popen.pid for process in encoder._processes), flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def processes():
    with EncoderProcesses("pictogram", ["cpu", "cpu"]) as encoder:
        yield encoder


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_until_gone(pids: list[int]) -> list[int]:
    until = time.monotonic() + 10
    while time.monotonic() < until and any(map(is_running, pids)):
        time.sleep(0.05)
    return [pid for pid in pids if is_running(pid)]


def test_both_encode_and_the_rows_are_those_of_one_encoder(processes):
    batches = [images(n, SIDE, seed=n) for n in (1, 3, 8, 2, 5, 4)]
    with load_encoder("pictogram", threads=1) as alone, ThreadPoolExecutor(processes.n_parallel) as pool:
        expected = [alone.encode_images(batch) for batch in batches]
        found = list(pool.map(processes.encode_images, batches))
        texts = ["a red dog", "\udcff", ""]
        np.testing.assert_allclose(processes.encode_texts(texts), alone.encode_texts(texts), atol=1e-5)
        assert processes.identity == alone.identity
        assert (processes.location, processes.logit_scale) == (alone.location, alone.logit_scale)
        assert processes.n_parallel == len(processes._slots) >= 2
        processes.expect(n_images=100)  # of no use to these, and no harm
    for rows, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(rows, wanted, atol=1e-5)


def test_calls_at_once_are_shared_by_all_processes(processes):
    first, second = (processes._free.get() for _ in range(2))
    assert first.process is not second.process
    for slot in (first, second):
        processes._free.put(slot)


def test_what_is_longer_than_a_batch_is_cut_and_nothing_gives_nothing(processes):
    pixels = images(2 * processes.best_batch_size + 1, SIDE)
    rows = processes.encode_images(pixels)
    assert rows.shape == (len(pixels), processes.identity.embedding_dim)
    np.testing.assert_allclose(processes.encode_images(pixels[-1:]), rows[-1:], atol=1e-5)
    assert processes.encode_images(pixels[:0]).shape == (0, processes.identity.embedding_dim)
    assert processes.encode_texts([]).shape == (0, processes.identity.embedding_dim)


def test_errors_are_those_of_the_encoder(processes):
    with pytest.raises(EmbeddingError, match="another size"):
        processes.encode_images(images(1, SIDE + 1))
    with pytest.raises(UsageError, match="no device"):
        EncoderProcesses("pictogram", [])


@pytest.mark.slow
def test_what_keeps_a_process_from_loading_is_raised_here(tmp_path):
    with pytest.raises(ModelNotFoundError, match="no model folder") as caught:
        EncoderProcesses(str(tmp_path / "none"), ["cpu", "cpu"])
    assert "models list" in caught.value.hint
    with pytest.raises(UsageError, match="cuda:7"):
        EncoderProcesses("pictogram", ["cpu", "cuda:7"])


@pytest.mark.slow
def test_a_process_that_dies_is_an_error_in_words():
    with EncoderProcesses("pictogram", ["cpu"]) as encoder:
        os.kill(encoder._processes[0].popen.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="encodes on `cpu` has died") as caught:
            encoder.encode_images(images(1, SIDE))
        assert caught.value.found == "SIGKILL"
        assert caught.value.state == "finished parts are kept"
        with pytest.raises(EngineError, match="has died"):
            encoder.encode_texts(["a"])


@pytest.mark.slow
def test_closing_ends_every_process_and_gives_everything_back():
    before = open_files()
    encoder = EncoderProcesses("pictogram", ["cpu", "cpu"])
    pids = [process.popen.pid for process in encoder._processes]
    encoder.encode_images(images(2, SIDE))
    encoder.close()
    assert wait_until_gone(pids) == []
    del encoder
    assert not opened_since(before)


@pytest.mark.slow
def test_a_parent_that_was_killed_leaves_nothing_behind():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(is_running, pids))
        parent.kill()
    assert wait_until_gone(pids) == []
    assert not any("clipsieve" in path.name for path in Path("/dev", "shm").iterdir())


@pytest.mark.slow
def test_a_process_that_is_still_loading_ends_with_its_parent():
    ours, theirs = socket.socketpair()
    setup = json.dumps({"model": "pictogram", "options": {"device": "cpu"}})
    command = [sys.executable, "-P", "-m", "clipsieve.engines.encoder_worker", setup, str(theirs.fileno())]
    with subprocess.Popen(command, pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        ours.close()
        assert process.wait(timeout=60) == 0


def test_shared_memory_is_divided_without_overlap(tmp_path):
    shared = Shared(n_slots=3, batch_size=5, side_px=7, dim=6)
    with (tmp_path / "memory").open("w+b") as file:
        file.truncate(shared.n_bytes)
        slots = shared.slots(file.fileno())
        for number, (pixels, rows) in enumerate(slots):
            assert (pixels.shape, rows.shape) == ((5, 7, 7, 3), (5, 6))
            pixels[:], rows[:] = number, -number
        for number, (pixels, rows) in enumerate(slots):
            assert (pixels == number).all()
            assert (rows == -number).all()


@pytest.mark.parametrize("text", ["", "cuda:0,", "cuda:0,cuda:0"])
def test_devices_that_make_no_sense_are_refused(text):
    with pytest.raises(UsageError, match="does not name devices"):
        split_devices(text)


def test_devices_are_split_at_commas():
    assert split_devices("cuda:0, cuda:1") == ["cuda:0", "cuda:1"]
    assert split_devices("auto") == ["auto"]


@pytest.mark.torch
@pytest.mark.slow
def test_torch_encoders_in_processes_are_told_the_batch(tmp_path):
    from model_folders import SIDE as TORCH_SIDE
    from model_folders import make_torch_folder

    folder = str(make_torch_folder(tmp_path / "clip"))
    pixels = images(5, TORCH_SIDE)
    with (
        EncoderProcesses(folder, ["cpu", "cpu"], backend="torch", batch_size=3) as encoder,
        load_encoder(folder, backend="torch", device="cpu") as alone,
    ):
        assert {len(slot._pixels) for slot in encoder._slots} == {3}
        encoder.expect(n_images=10**6)
        assert (encoder.n_parallel, encoder.best_batch_size) == (2, 3)
        expected = alone.encode_images(pixels)
        np.testing.assert_allclose(encoder.encode_images(pixels), expected, atol=1e-5)
        encoder.expect(batch_size=2)
        assert encoder.best_batch_size == 2
        np.testing.assert_allclose(encoder.encode_images(pixels), expected, atol=1e-5)
        encoder.expect(batch_size=100)  # more than the memory that is shared
        assert encoder.best_batch_size == 3
        np.testing.assert_allclose(encoder.encode_images(pixels), expected, atol=1e-5)


@pytest.mark.torch
@pytest.mark.slow
def test_the_command_hands_its_batch_size_to_every_process(tmp_path):
    from clipsieve.cli.scan import command
    from clipsieve.cli.scan_choices import ScanChoices
    from model_folders import make_torch_folder

    folder = str(make_torch_folder(tmp_path / "clip"))
    for device in ("cpu:0,cpu", "cpu"):
        words = [
            "photos",
            "-o",
            "run",
            "--model",
            folder,
            "--backend",
            "torch",
            "--device",
            device,
            "--batch-size",
            "7",
        ]
        told = command.make_context("scan", words).params
        with ScanChoices.of(told).open() as (encoder, engine):
            assert isinstance(encoder, EncoderProcesses) == ("," in device)
            assert (encoder.best_batch_size, engine.batch_size) == (7, 7)
