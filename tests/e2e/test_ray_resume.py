"""`clipsieve scan --engine ray` with the real command on a real cluster: killed, interrupted, failing; and what a person sees."""

import hashlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipsieve import open_source, scan, write_demo_data
from clipsieve.encoders import EncoderChoice
from clipsieve.engines import ScanOptions
from image_files import png, tar
from model_folders import make_onnx_folder
from ray_cluster import RayMachines, descendants, is_alive
from waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]
PART_SIZE, N_IMAGES = 50, 1500
ENCODERS = "ray::MapWorker"
WIDTH = 80


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ray-resume") / "images"
    write_demo_data(folder, n_images=N_IMAGES)
    return folder


def pin_model(home: Path, seed: int) -> str:
    """Put a model where a fetched one of the hub lies; return its name, the same for each."""
    place, commit = home / "models" / "someone--tiny", "0" * 40
    folder = make_onnx_folder(place / commit, seed=seed)
    files = [path for path in folder.rglob("*") if path.is_file()]
    hashes = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (place / "pin.json").write_text(json.dumps({"repo": "someone/tiny", "commit": commit, "files": hashes}))
    return "someone/tiny"


@pytest.fixture(scope="module")
def homes(tmp_path_factory) -> list[Path]:
    """Return where two machines keep fetched models: of one name, and not the same."""
    found = [tmp_path_factory.mktemp(f"home{seed}") for seed in range(2)]
    for seed, home in enumerate(found):
        pin_model(home, seed)
    return found


@pytest.fixture(scope="module")
def machines(homes) -> Iterator[RayMachines]:
    with RayMachines(2, environment={"CLIPSIEVE_HOME": str(homes[0])}) as running:
        yield running


def words(images: Path, run: Path, machines: RayMachines, *more: str) -> list[str]:
    command = [sys.executable, "-m", "clipsieve", "scan", str(images), "-o", str(run), "--part-size", str(PART_SIZE)]
    return [*command, "--engine", "ray", "--ray-address", machines.address, *more]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "RAY_TMPDIR"} | {"COLUMNS": str(WIDTH)}


def start(command: list[str], **options) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment()}
    return subprocess.Popen(command, **(pipes | options))


def parts(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "images").glob("part-*.parquet")}


def times(run: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (run / "images").glob("part-*.parquet")}


def wait_for_parts(run: Path, n: int, process: subprocess.Popen[str]) -> None:
    wait_until(lambda: len(parts(run)) >= n or process.poll() is not None, 180)
    assert process.poll() is None, process.communicate()


def in_terminal(command: list[str], during=lambda _process: None) -> tuple[int, str]:
    """Run a command in a terminal of its own; return its status and all that was seen there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=environment()
    )
    os.close(theirs)
    seen, is_struck = b"", False
    while process.poll() is None or select.select([ours], [], [], 0.2)[0]:
        if not is_struck:
            is_struck = during(process) is not None
        if select.select([ours], [], [], 0.2)[0]:
            try:
                seen += os.read(ours, 65536)
            except OSError:
                break
    os.close(ours)
    return process.wait(timeout=60), re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", seen).decode()


def test_a_killed_driver_leaves_nothing_behind_and_the_same_command_goes_on(machines, images, tmp_path):
    with EncoderChoice().load() as encoder:
        scan(open_source(images), tmp_path / "whole", encoder, options=ScanOptions(part_size=PART_SIZE))
    first = start(words(images, tmp_path / "run", machines, "-q"))
    wait_for_parts(tmp_path / "run", 3, first)
    first.kill()
    first.communicate(timeout=60)
    kept = times(tmp_path / "run")
    assert 3 <= len(kept) < len(parts(tmp_path / "whole"))
    wait_until(lambda: not machines.named(ENCODERS))
    status, seen = in_terminal(words(images, tmp_path / "run", machines))
    assert status == 0, seen
    assert parts(tmp_path / "run") == parts(tmp_path / "whole")
    assert {path: times(tmp_path / "run")[path] for path in kept} == kept
    lines = [line.strip() for line in re.split(r"[\r\n]+", seen) if line.strip()]
    assert any(re.match(r"scanning folder .*\d+/1503", line) for line in lines)
    ours = ("scanning folder", "read as folder", "scanned 1,500 of", "the encoder was", "photographs, choose")
    assert [line for line in lines if not line.startswith(ours)] == []
    wait_until(lambda: not machines.named(ENCODERS))


def test_quiet_is_quiet_and_stdout_carries_data(machines, tmp_path):
    (tmp_path / "images").mkdir()
    for index in range(60):
        (tmp_path / "images" / f"{index:02d}.png").write_bytes(png(index))
    process = start(words(tmp_path / "images", tmp_path / "run", machines, "-q", "--json"))
    out, complaints = process.communicate(timeout=180)
    assert (process.returncode, complaints) == (0, "")
    assert json.loads(out)["n_scanned"] == 60


def test_ctrl_c_ends_within_seconds_in_words_and_leaves_no_process(machines, images, tmp_path):
    run, told = tmp_path / "run", []

    def interrupt(process: subprocess.Popen[bytes]) -> bool | None:
        if len(parts(run)) < 2:
            return None
        told.extend([*descendants(process.pid), process.pid])
        told.append(time.monotonic())
        os.killpg(process.pid, signal.SIGINT)
        return True

    status, seen = in_terminal(words(images, run, machines), interrupt)
    *pids, struck_s = told
    assert time.monotonic() - struck_s < 15
    assert status == 130, seen
    said = " ".join(seen.split())
    assert said.endswith("error: interrupted hint: the same command again goes on where this one stopped")
    assert "Traceback" not in seen
    assert not any(is_alive(pid) for pid in pids)
    assert not list(run.rglob("*.tmp"))
    wait_until(lambda: not machines.named(ENCODERS))


def error_of(process: subprocess.Popen[str]) -> str:
    """Return the error in a line, having seen that it is one of ours."""
    out, complaints = process.communicate(timeout=180)
    assert (process.returncode, out) == (1, ""), complaints
    assert complaints.startswith("error: ")
    assert "Traceback" not in complaints
    assert max(map(len, complaints.splitlines())) <= WIDTH
    return " ".join(complaints.split())


def test_a_source_that_grows_in_mid_run_is_an_error_in_words(machines, tmp_path):
    members = [(f"{index:04d}.png", png(index)) for index in range(300)]
    source = tmp_path / "t.tar"
    source.write_bytes(tar(members[:200]))
    process = start(words(source, tmp_path / "run", machines, "-q"))
    wait_until(lambda: (tmp_path / "run" / "run.json").exists() or process.poll() is not None, 120)
    source.write_bytes(tar(members))  # a worker has yet to begin
    error = error_of(process)
    assert "changed" in error
    assert "hint: " in error


def test_a_model_that_is_another_one_on_one_machine_is_refused_in_words(machines, homes, images, tmp_path):
    odd = machines.add(environment={"CLIPSIEVE_HOME": str(homes[1])})
    run = tmp_path / "run"
    error = error_of(start(words(images, run, machines, "-q", "--model", "someone/tiny")))
    machines.kill(odd)
    assert "the model `someone/tiny` is another one on a machine of the cluster" in error
    assert "expected: someone/tiny" in error
    assert "hint: give every machine the same files" in error
    assert parts(run) == {} or (run / "run.json").exists()
