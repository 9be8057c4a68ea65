"""The key of a run: made once, whoever asks first."""

import json
import threading

import pytest

from clipsieve.errors import RunCorruptError
from clipsieve.review.keys import find_run_key, run_key
from clipsieve.store import Run
from scored_runs import write_scored_run


def test_a_key_is_made_once_and_moves_with_the_run(tmp_path):
    run = write_scored_run(tmp_path / "run", [0.5], threshold=0.5)
    assert find_run_key(run) is None
    key = run_key(run)
    assert len(key) == 32
    (tmp_path / "run").rename(tmp_path / "moved")
    moved = Run.open(tmp_path / "moved")
    assert find_run_key(moved) == run_key(moved) == key
    assert [path.name for path in moved.path.iterdir() if "review" in path.name] == ["review.json"]


def test_all_who_begin_at_once_get_the_same_key(tmp_path):
    run = write_scored_run(tmp_path / "run", [0.5], threshold=0.5)
    found, gate = [], threading.Barrier(8)

    def ask():
        gate.wait()
        found.append(run_key(run))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run_key": 3}', '{"run_key": "../../etc"}', '{"run_key": "AB"}'])
def test_a_damaged_key_is_no_reason_to_make_another(tmp_path, text):
    run = write_scored_run(tmp_path / "run", [0.5], threshold=0.5)
    (run.path / "review.json").write_text(text)
    with pytest.raises(RunCorruptError, match="is damaged"):
        run_key(run)
    assert (run.path / "review.json").read_text() == text
    (run.path / "review.json").write_text(json.dumps({"run_key": "ab" * 16}))
    assert run_key(run) == "ab" * 16
