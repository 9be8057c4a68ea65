"""What goes wrong around a scan, with the real command: a second process, a full disk, Ctrl-C."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clipsieve import Run, write_demo_data

pytestmark = pytest.mark.slow
N_IMAGES = 900


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "images"
    write_demo_data(folder, n_images=N_IMAGES)
    return folder


def words(images: Path, run: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "clipsieve", "scan", str(images), "-o", str(run), "--part-size", "50", *more]


def start(images: Path, run: Path, **options) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words(images, run, "-q"), **(pipes | options))


def finished(run: Path) -> list[Path]:
    return sorted((run / "images").glob("part-*.parquet"))


def wait_for_parts(run: Path, n: int, process: subprocess.Popen[str]) -> None:
    while len(finished(run)) < n:
        assert process.poll() is None
        time.sleep(0.01)


def finish(images: Path, run: Path) -> None:
    process = start(images, run)
    _, complaints = process.communicate(timeout=120)
    assert process.returncode == 0, complaints
    assert sum(pq.read_metadata(path).num_rows for path in finished(run)) == Run.open(run).manifest.n_images


def test_a_second_process_is_told_so_and_leaves(images, tmp_path):
    first = start(images, tmp_path / "run")
    wait_for_parts(tmp_path / "run", 2, first)
    first.send_signal(signal.SIGSTOP)  # else it may be done before the second one has begun
    before = (tmp_path / "run" / "run.json").read_bytes()
    second = start(images, tmp_path / "run")
    out, complaints = second.communicate(timeout=60)
    assert first.poll() is None
    first.send_signal(signal.SIGCONT)
    assert (second.returncode, out) == (1, "")
    error = complaints.partition("error: ")[2]
    assert error.startswith(f"another process is writing to `{tmp_path / 'run'}`")
    assert f"process {first.pid} on" in error
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    first.communicate(timeout=120)
    assert first.returncode == 0
    assert not (tmp_path / "run" / ".lock").exists()


def test_the_lock_of_a_killed_process_holds_nobody_up(images, tmp_path):
    first = start(images, tmp_path / "run")
    wait_for_parts(tmp_path / "run", 2, first)
    first.kill()
    first.communicate(timeout=60)
    finish(images, tmp_path / "run")
    assert not (tmp_path / "run" / ".lock").exists()


def test_a_stopped_process_keeps_its_lock(images, tmp_path):
    first = start(images, tmp_path / "run")
    wait_for_parts(tmp_path / "run", 1, first)
    first.send_signal(signal.SIGSTOP)
    second = start(images, tmp_path / "run")
    _, complaints = second.communicate(timeout=60)
    assert (second.returncode, "another process" in complaints) == (1, True)
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=120)
    assert first.returncode == 0


def test_a_full_disk_is_an_error_in_words_and_the_finished_parts_are_valid(images, small_disk):
    filler, run = small_disk / "filler", small_disk / "run"
    process = start(images, run)
    wait_for_parts(run, 1, process)  # there was room for all of it at the start
    process.send_signal(signal.SIGSTOP)
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    process.send_signal(signal.SIGCONT)
    _, complaints = process.communicate(timeout=120)
    assert process.returncode == 1
    error = complaints.partition("error: ")[2]
    assert "No space left on device" in error
    assert "every part that was finished before is whole and kept" in error
    assert "hint: make room" in error
    kept = finished(run)
    assert kept
    assert all(pq.read_table(path).num_rows == 50 for path in kept)
    assert not list(run.rglob("*.tmp"))
    filler.unlink()
    before = {path: path.stat().st_mtime_ns for path in kept}
    finish(images, run)
    assert {path: path.stat().st_mtime_ns for path in kept} == before


def test_a_full_disk_from_the_start_leaves_no_half_run(images, small_disk):
    (small_disk / "filler").write_bytes(bytes(1024**2))
    process = start(images, small_disk / "run")
    _, complaints = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in complaints
    assert "No space left on device" in complaints or "there is not enough room" in complaints


def interrupt(process: subprocess.Popen[str]) -> set[int]:
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    children = {int(child) for task in tasks for child in task.read_text().split()}
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    return children


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(images, tmp_path):
    process = start(images, tmp_path / "run", start_new_session=True)
    wait_for_parts(tmp_path / "run", 3, process)
    children = interrupt(process)
    out, complaints = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert complaints.endswith("error: interrupted\n\nhint: the same command again goes on where this one stopped\n")
    assert children
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert not list((tmp_path / "run").rglob("*.tmp"))
    kept = {path: path.stat().st_mtime_ns for path in finished(tmp_path / "run")}
    finish(images, tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_ctrl_c_in_a_terminal_leaves_the_cursor_on(images, tmp_path):
    ours, theirs = pty.openpty()
    command = words(images, tmp_path / "run")
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    wait_for_parts(tmp_path / "run", 2, process)
    interrupt(process)
    seen = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    os.close(ours)
    assert process.wait(timeout=60) == 130
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l")
    assert b"goes on where this one stopped" in re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]|\r\n", b" ", seen).replace(b"  ", b" ")


def test_ctrl_c_before_anything_is_done(images, tmp_path):
    process = start(images, tmp_path / "run", start_new_session=True)
    time.sleep(0.4)
    os.killpg(process.pid, signal.SIGINT)
    _, complaints = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in complaints or process.returncode == -signal.SIGINT
