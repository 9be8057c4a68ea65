"""Files that are whole or absent, and errors that name the file."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from clipsieve.errors import RunConflictError, RunCorruptError, RunError, RunNotFoundError
from clipsieve.store import Run, RunManifest, remove_superseded, set_aside
from clipsieve.store.writer import append_line, write_table
from tiny_encoder import TinyEncoder


def manifest(**changes) -> RunManifest:
    facts = {
        "source_kind": "folder",
        "source_location": "/photos/caf\\xe9",
        "part_size": 10,
        "n_images": 3,
        "n_parts": 1,
        "n_ignored": 0,
        "encoder": TinyEncoder().identity,
        "encoder_location": "tiny",
        "options": {"max_pixels": 1000},
        "clipsieve_version": "0.0.0",
    }
    return RunManifest(**facts | changes)


def test_what_is_created_opens_as_it_was(tmp_path):
    Run.create(tmp_path / "run", manifest())
    assert Run.open(tmp_path / "run").manifest == manifest()


def test_a_folder_without_a_run_says_how_to_make_one(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunNotFoundError, match="there is no run") as caught:
            Run.open(path)
        assert "clipsieve scan" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"format_version": 1}', '{"format_version": 1, "encoder": []}', "\udc80"]
)
def test_a_damaged_description_is_named(tmp_path, text):
    (tmp_path / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunCorruptError, match=r"run\.json"):
        Run.open(tmp_path)


def test_another_format_version_is_named(tmp_path):
    run = Run.create(tmp_path / "run", manifest())
    facts = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(facts | {"format_version": 2}))
    with pytest.raises(RunCorruptError, match="another format version") as caught:
        Run.open(run.path)
    assert (caught.value.expected, caught.value.found) == ("1", "2")


def test_a_second_run_cannot_be_created_over_the_first(tmp_path):
    Run.create(tmp_path / "run", manifest())
    with pytest.raises(RunConflictError, match="holds other files"):
        Run.create(tmp_path / "run", manifest())


def test_surplus_parts_go_and_nothing_else(tmp_path):
    run = Run.create(tmp_path / "run", manifest(n_parts=1))
    facts = {
        "clipsieve.inputs": "i",
        "clipsieve.encoder": run.manifest.encoder.fingerprint,
        "clipsieve.options": run.manifest.options_fingerprint,
    }
    table = pa.table({"image_id": ["a"]}).replace_schema_metadata(facts)
    for path in [run.image_part(0), run.image_part(1), run.score_part("s", 0), run.score_part("s", 7)]:
        run.write_part(path, table)
    for name in ("part-of-mine.txt", "part-of-mine.parquet"):
        (run.path / "images" / name).touch()
    set_aside(run, ["i"])
    remove_superseded(run)
    left = {path.name for path in (run.path / "images").iterdir()}
    assert left == {"part-00000.parquet", "part-of-mine.txt", "part-of-mine.parquet"}
    assert [path.name for path in (run.path / "scores" / "s").iterdir()] == ["part-00000.parquet"]


FULL_DISK = """
import resource, signal, sys
import numpy as np, pyarrow as pa
from pathlib import Path
from clipsieve.errors import RunError
from clipsieve.store.writer import write_table
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_table(Path(sys.argv[1]), pa.table({"embedding": np.random.default_rng(0).random(100_000)}))
except RunError as error:
    print(error)
"""


def test_a_write_that_finds_no_room_leaves_the_old_part(tmp_path):
    part = tmp_path / "part-00000.parquet"
    write_table(part, pa.table({"embedding": [1.0]}))
    before = part.read_bytes()
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(part)], capture_output=True, text=True)
    assert "cannot write" in done.stdout, done.stderr
    assert "hint: make room" in done.stdout
    assert part.read_bytes() == before
    assert list(tmp_path.iterdir()) == [part]


def test_the_same_table_gives_the_same_bytes(tmp_path):
    table = pa.table({"embedding": np.arange(1000.0), "label": ["a", None] * 500})
    for name in ("a", "b"):
        write_table(tmp_path / name, table)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write"):
        write_table(tmp_path / "file" / "part", pa.table({"embedding": [1.0]}))


def test_a_line_of_the_history_that_was_cut_is_left_out(tmp_path):
    run = Run.create(tmp_path / "run", manifest())
    assert run.history() == []
    run.record(what="scan", n_new=1)
    with (run.path / "history.jsonl").open("a") as file:
        file.write('{"what": "sc')
    append_line(run.path / "history.jsonl", {"what": "score"})
    assert [line["what"] for line in run.history()] == ["scan", "score"]
