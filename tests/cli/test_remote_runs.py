"""Runs behind URLs, by the real commands against a real S3 server: the same bytes and the same answers as in a folder."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset
import pytest

from clipsieve import write_demo_data
from s3_server import BUCKET, S3Server

pytestmark = pytest.mark.slow
N_IMAGES, PART_SIZE = 400, 25
LOCAL = "run-in-a-folder"


@dataclass
class Place:
    """A folder with images, a run of them, and the same run behind a URL."""

    server: S3Server
    folder: Path
    url: str = f"s3://{BUCKET}/r/run"

    def start(self, *words: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "clipsieve", *map(str, words)]
        environment = os.environ | self.server.environment
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=environment, cwd=self.folder, text=True, **pipes)

    def run(self, *words: object, status: int = 0) -> tuple[str, str]:
        with self.start(*words) as process:
            out, err = process.communicate(timeout=300)
        assert process.returncode == status, err
        assert "Traceback" not in err
        return out, err

    def scan(self, where: object, *words: object) -> tuple[str, str]:
        return self.run("scan", "images", "-o", where, "--part-size", PART_SIZE, "-q", *words)

    def remote_files(self, prefix: str = "r/run/") -> dict[str, bytes]:
        client = self.server.client()
        listed = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        names = [each["Key"] for each in listed]
        return {n.removeprefix(prefix): client.get_object(Bucket=BUCKET, Key=n)["Body"].read() for n in names}

    def local_files(self) -> dict[str, bytes]:
        run = self.folder / LOCAL
        return {path.relative_to(run).as_posix(): path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("remote")
    write_demo_data(folder / "images", n_images=N_IMAGES)
    with S3Server() as server:
        place = Place(server, folder)
        for where in (LOCAL, place.url):
            place.scan(where)
            place.run("score", where, "-c", "positive-negative", "-q")
        yield place


@pytest.fixture
def place(both) -> Iterator[Place]:
    both.server.fail()
    yield both
    both.server.fail()


def test_the_same_files_with_the_same_bytes(place):
    """But for the history, which tells how long it took."""
    here, there = place.local_files(), place.remote_files()
    assert here.keys() == there.keys()
    assert sum(name.startswith("images/part-") for name in here) == -(-(N_IMAGES + 3) // PART_SIZE)
    assert [name for name in here if here[name] != there[name]] == ["history.jsonl"]


def test_the_same_command_again_finds_it_done(place):
    before = place.remote_files()
    n_before = place.server.counts()["n_requests"]
    out, _ = place.scan(place.url)
    assert "nothing new" in out
    assert place.server.counts()["n_requests"] - n_before < 4 * PART_SIZE
    after = place.remote_files()
    assert {name for name in after if after[name] != before[name]} == {"history.jsonl"}


@pytest.mark.parametrize(
    "words",
    [
        ("summary", "RUN", "--json"),
        ("search", "RUN", "a flower", "--json"),
        ("duplicates", "RUN", "--json"),
        ("evaluate", "RUN", "--ratings", "images/ratings.csv", "--method", "zero-shot", "--json"),
        ("threshold", "RUN", "--ratings", "images/ratings.csv", "--recall", "0.8", "--dry-run", "--json"),
        ("tune", "RUN", "--ratings", "images/ratings.csv", "-o", "tuned.safetensors"),
        ("prevalence", "RUN", "--plan", "sample.csv"),
        ("export", "RUN", "kept-RUN", "--policy", "flagged", "--undecided", "keep"),
        ("report", "RUN", "-o", "report-RUN.html"),
        ("datasheet", "RUN", "-o", "datasheet-RUN"),
    ],
    ids=lambda words: words[0],
)
def test_every_command_answers_as_for_a_folder(place, words):
    answers = []
    for where, short in ((LOCAL, "here"), (place.url, "there")):
        given = [where if word == "RUN" else word.replace("RUN", short) for word in words]
        out, _ = place.run(*given)
        answers.append(plain(out).replace(where, "RUN").replace(f"-{short}", "-RUN"))
        for name in ("sample.csv", "tuned.safetensors"):
            (place.folder / name).unlink(missing_ok=True)
    assert answers[0] == answers[1]


def plain(answer: str) -> str:
    """Return an answer without seconds, without the size of a page that holds some, and however it is wrapped."""
    timeless = re.sub(r'("elapsed_s": |in )[0-9.e-]+( s)?|[0-9]+ kB', "", answer)
    return "".join(timeless.split())


def test_thresholds_are_written_as_in_a_folder(place):
    words = ("--ratings", "images/ratings.csv", "--recall", "0.8")
    for where in (LOCAL, place.url):
        place.run("threshold", where, *words)
    found = [files["scores/positive-negative/classifier.json"] for files in (place.local_files(), place.remote_files())]
    here, there = (json.loads(each) for each in found)
    assert here["threshold"] == there["threshold"]
    assert [len(each["operating_points"]) for each in (here, there)] == [1, 1]


def test_other_tools_read_it(place, monkeypatch):
    for name, value in place.server.environment.items():
        monkeypatch.setenv(name, value)
    import s3fs

    files = s3fs.S3FileSystem(endpoint_url=place.server.url, skip_instance_cache=True)
    found = pyarrow.dataset.dataset(f"{BUCKET}/r/run/images", filesystem=files, format="parquet")
    assert found.count_rows() == N_IMAGES + 3
    own = pyarrow.dataset.dataset(place.folder / LOCAL / "images", format="parquet")
    assert found.to_table().equals(own.to_table())


def test_a_scan_that_is_killed_goes_on_at_once_with_the_same_bytes(place):
    """The lock that it leaves names a process of this machine that has ended."""
    whole = {name: content for name, content in place.local_files().items() if name.startswith("images/")}
    moments, n_cut = random.Random(8), 0
    for number in range(3):
        prefix = f"killed{number}/run/"
        where = f"s3://{BUCKET}/{prefix[:-1]}"
        process = place.start("scan", "images", "-o", where, "--part-size", PART_SIZE, "-q", "--workers", 1)
        n_parts = moments.randint(2, 10)
        while process.poll() is None and len(place.remote_files(f"{prefix}images/")) < n_parts:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        kept = place.remote_files(prefix)
        n_cut += ".lock" in kept
        begun = time.monotonic()
        place.scan(where)
        assert time.monotonic() - begun < 45
        after = place.remote_files(prefix)
        assert {name: content for name, content in after.items() if name.startswith("images/")} == whole
        assert ".lock" not in after
    assert n_cut


def test_passing_faults_lose_nothing(place):
    place.server.fail(every=10)
    where = f"s3://{BUCKET}/faults/run"
    place.scan(where)
    place.run("score", where, "-c", "positive-negative", "-q")
    assert place.server.counts()["n_failed"]
    place.server.fail()
    whole = place.local_files()
    for name, content in place.remote_files("faults/run/").items():
        if name.endswith(".parquet"):
            assert content == whole[name]


def test_of_a_lock_that_is_renewed_it_is_said_who_holds_it(place):
    lock = {"holder": "process 1 on elsewhere", "place": "elsewhere", "pid": 1, "begun": "1", "token": "a"}
    is_over = threading.Event()

    def renew() -> None:
        beat = 0
        while not is_over.wait(0 if beat == 0 else 1):
            place.server.put("r/run/.lock", json.dumps(lock | {"beat": beat}).encode())
            beat += 1

    holder = threading.Thread(target=renew)
    holder.start()
    try:
        time.sleep(0.5)
        _, err = place.run("score", place.url, "-c", "positive-negative", "-q", status=1)
    finally:
        is_over.set()
        holder.join()
        place.server.client().delete_object(Bucket=BUCKET, Key="r/run/.lock")
    assert "may be in use: waiting 60 s" in err
    assert "error: another process is writing to `s3://my-bucket/r/run`\n  found:    process 1 on elsewhere" in err


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("summary", "s3://no-bucket/run"), 1, "no bucket `no-bucket`"),
        (("scan", "images", "-o", "s3://no-bucket/run"), 1, "there is no bucket `no-bucket`"),
        (("summary", f"s3://{BUCKET}/nowhere"), 1, f"there is no run in `s3://{BUCKET}/nowhere`"),
        (("summary", "gs://bucket/run"), 1, "pip install 'clipsieve[gs]'"),
        (("summary", "s3://me:hunter2@bucket/run"), 2, "a password or a query"),
        (("summary", "nothing://bucket/run"), 2, "no service that can hold a run"),
        (("review", f"s3://{BUCKET}/r/run"), 2, "copy the run to this machine"),
        (("verdicts", "list", f"s3://{BUCKET}/r/run"), 2, "copy the run to this machine"),
        (("export", f"s3://{BUCKET}/r/run", f"s3://{BUCKET}/r/run/x"), 2, "is not apart from the run"),
    ],
)
def test_what_cannot_be_is_told_in_words(place, words, status, told):
    _, err = place.run(*words, status=status)
    assert told in err
    assert "hunter2" not in err


def test_no_permission_and_no_network_are_told_in_words(place):
    before = place.remote_files()
    place.server.fail(containing="part-00003", status=403)
    for words in (
        ("score", place.url, "-c", "positive-negative"),
        ("scan", "images", "-o", place.url, "--part-size", 25),
    ):
        _, err = place.run(*words, "-q", status=1)
        assert "error: cannot" in err
        assert "part-00003.parquet" in err
    place.server.fail()
    after = place.remote_files()
    assert {name for name in before if before[name] != after.get(name)} <= {
        "scores/positive-negative/classifier.json",
        "history.jsonl",
    }
    place.run("score", place.url, "-c", "positive-negative", "-q")
    place.server.environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    try:
        _, err = place.run("summary", place.url, status=1)
    finally:
        place.server.environment["AWS_ENDPOINT_URL"] = place.server.url
    assert "error: cannot read `s3://my-bucket/r/run/run.json`" in err
