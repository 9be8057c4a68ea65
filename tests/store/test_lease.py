"""One writer at a time for a run behind a URL, whoever is killed, stands still or comes too early."""

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest

from clipsieve.errors import RunConflictError
from clipsieve.store import Run, RunManifest, locked, run_path
from clipsieve.store.lease import LeaseTimes, leased
from clipsieve.store.paths import RunPath
from scored_runs import IDENTITY
from waiting import wait_until

TIMES = LeaseTimes(renew_s=0.05, lapse_s=0.4, poll_s=0.1, settle_s=0.02)
PATIENT = replace(TIMES, lapse_s=20)  # a busy machine renews late
ELSEWHERE = {"holder": "process 1 on elsewhere", "place": "elsewhere", "pid": 1, "begun": "1", "token": "a", "beat": 0}


@pytest.fixture
def folder() -> RunPath:
    return run_path(f"memory://{uuid.uuid4().hex}/run")


def hold(folder: RunPath, times: LeaseTimes = TIMES, on_wait: Callable[[str], object] = lambda _: None):
    return leased(folder, ".lock", on_wait, times)


def write_lock(folder: RunPath, **facts) -> None:
    (folder / ".lock").write_bytes(json.dumps(ELSEWHERE | facts).encode())


def test_the_lock_names_its_holder_and_is_gone_at_the_end(folder):
    with hold(folder):
        found = json.loads((folder / ".lock").read_bytes())
        assert (found["pid"], f"process {os.getpid()} on" in found["holder"]) == (os.getpid(), True)
    assert not (folder / ".lock").exists()


def test_a_second_writer_on_this_machine_is_refused_at_once(folder):
    begun = time.monotonic()
    with (
        hold(folder, PATIENT),
        pytest.raises(RunConflictError, match="another process is writing") as caught,
        hold(folder, PATIENT),
    ):
        pass
    assert f"process {os.getpid()}" in caught.value.found
    assert time.monotonic() - begun < PATIENT.lapse_s


def test_a_lock_of_another_machine_that_is_renewed_is_refused(folder):
    write_lock(folder)
    is_over = threading.Event()

    def renew() -> None:
        for beat in range(1, 100):
            if is_over.wait(0.05):
                return
            write_lock(folder, beat=beat)

    holder = threading.Thread(target=renew)
    holder.start()
    said: list[str] = []
    try:
        with (
            pytest.raises(RunConflictError, match="another process is writing") as caught,
            hold(folder, PATIENT, on_wait=said.append),
        ):
            pass
    finally:
        is_over.set()
        holder.join()
    assert caught.value.found == "process 1 on elsewhere"
    assert len(said) == 1
    assert "elsewhere" in said[0]
    assert json.loads((folder / ".lock").read_bytes())["token"] == "a"


@pytest.mark.parametrize("content", [json.dumps(ELSEWHERE).encode(), b"", b"{", b"[]", b"\xff"])
def test_a_lock_that_nobody_renews_is_taken_over_when_it_has_lapsed(folder, content):
    (folder / ".lock").write_bytes(content)
    begun = time.monotonic()
    with hold(folder):
        assert json.loads((folder / ".lock").read_bytes())["pid"] == os.getpid()
        assert time.monotonic() - begun >= TIMES.lapse_s


def test_a_lock_that_goes_away_meanwhile_is_waited_for_no_longer(folder):
    write_lock(folder)
    with hold(folder, LeaseTimes(lapse_s=60, poll_s=0.05), on_wait=lambda _: (folder / ".lock").unlink()):
        assert json.loads((folder / ".lock").read_bytes())["pid"] == os.getpid()


def test_the_lock_of_a_process_of_this_machine_that_has_ended_is_taken_over_at_once(folder):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    with hold(folder):
        mine = json.loads((folder / ".lock").read_bytes())
    ended.wait()
    (folder / ".lock").write_bytes(json.dumps(mine | {"pid": ended.pid, "token": "b"}).encode())
    with hold(folder, LeaseTimes(settle_s=0.02), on_wait=pytest.fail):
        pass


def test_it_is_renewed_as_long_as_it_is_held(folder):
    with hold(folder, PATIENT):
        wait_until(lambda: json.loads((folder / ".lock").read_bytes())["beat"] >= 2, "it is not renewed")


@pytest.mark.parametrize("left", [json.dumps(ELSEWHERE).encode(), None])
def test_whoever_stood_still_and_lost_it_writes_no_more(folder, left):
    """The other one is there still, or has come, finished and gone."""
    run = Run(folder, RunManifest("folder", "/photos", 10, 3, 1, 0, IDENTITY, "tiny", {}, "0"))
    holding = hold(folder, LeaseTimes(renew_s=60))
    holding.__enter__()
    run.save()
    (folder / ".lock").unlink()
    if left is not None:
        (folder / ".lock").write_bytes(left)
    before = (folder / "run.json").read_bytes()
    for write in (run.save, lambda: run.record(what="scan"), lambda: run.write_score_facts("a", {"threshold": 0.5})):
        with pytest.raises(RunConflictError, match="has taken over") as caught:
            write()
    assert caught.value.state == "what was written before that is whole"
    with pytest.raises(RunConflictError, match="has taken over"):
        holding.__exit__(None, None, None)
    assert (folder / "run.json").read_bytes() == before
    assert not (folder / "history.jsonl").exists()
    assert ((folder / ".lock").read_bytes() if left else None) == left


def test_a_lock_lost_in_silence_is_told_at_the_end(folder):
    with pytest.raises(RunConflictError, match="has taken over"), hold(folder):
        write_lock(folder)


def test_an_error_within_is_not_hidden(folder):
    holding = hold(folder)
    holding.__enter__()
    write_lock(folder)
    error = ZeroDivisionError()
    assert not holding.__exit__(ZeroDivisionError, error, None)


def test_of_many_that_begin_at_once_one_gets_it(folder):
    outcomes: list[bool] = []
    ready, refused = threading.Barrier(8), threading.Semaphore(0)

    def begin() -> None:
        ready.wait()
        try:
            with hold(folder, PATIENT):
                outcomes.append(True)
                for _ in range(7):
                    refused.acquire(timeout=30)
        except RunConflictError:
            outcomes.append(False)
            refused.release()

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]


def test_a_folder_of_this_machine_is_locked_as_before(tmp_path):
    with locked(tmp_path / "run"), pytest.raises(RunConflictError, match="another process"), locked(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()
