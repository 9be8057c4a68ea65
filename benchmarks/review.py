"""Fifty people who review at once: how long a decision takes, and whether one was lost or doubled.

Each takes twenty images at a time and decides about one after the other, each decision in a request of its own, which is
harder than what the page does: it sends those of 0.4 s together. The peer, in the same run: one row written and made durable
by SQLite alone.
"""

import argparse
import http.client
import json
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import numpy as np

from benchmarks._machine import describe_machine
from clipsieve import Run
from clipsieve.demo import write_demo_data
from clipsieve.review.keys import run_key
from clipsieve.review.ledger import open_ledger

N_IMAGES, BATCH = 6000, 20


class Reviewer:
    """One person with a browser: logs in, takes images, decides."""

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        parts = urlsplit(url)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        self.headers = {"Origin": self.origin}
        self.sent: list[str] = []
        self.times_s: list[float] = []
        self._log_in(f"{parts.path}?{parts.query}")

    def _log_in(self, path: str) -> None:
        self._ask("GET", path)
        form = {"name": self.name}
        page = self._ask("GET", "/login")
        hidden = dict(re.findall(r'<input[^>]*type="hidden"[^>]*name="(\w+)"[^>]*value="([^"]*)"', page.decode()))
        self._ask("POST", "/login", urlencode(form | hidden), {"Content-Type": "application/x-www-form-urlencoded"})
        page = self._ask("GET", "/").decode()
        found = re.search(r'<meta name="csrf" content="([^"]+)"', page)
        assert found, page[:500]
        self.headers |= {"X-CSRF-Token": found[1], "Content-Type": "application/json"}

    def _ask(self, method: str, path: str, body: str | None = None, more: dict[str, str] | None = None) -> bytes:
        self.connection.request(method, path, body, self.headers | (more or {}))
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
        for value in answer.headers.get_all("Set-Cookie") or ():
            self.headers["Cookie"] = value.split(";", 1)[0]
        return content

    def post(self, path: str, value: object) -> dict:
        """Send JSON, and return the JSON that comes back."""
        return json.loads(self._ask("POST", path, json.dumps(value)))

    def get(self, path: str) -> bytes:
        """Return what comes back."""
        return self._ask("GET", path)

    def review(self, until: float, pause_s: float) -> None:
        """Decide until the time is over."""
        rng = np.random.default_rng(len(self.name))
        while time.monotonic() < until:
            got = self.post("/api/take", {"queue": {"name": "highest", "value": None}, "n": BATCH, "skip": []})
            if not got["items"]:
                return
            for item in got["items"]:
                if time.monotonic() >= until:
                    return
                time.sleep(float(rng.exponential(pause_s)))
                self._decide(item, "remove" if rng.random() < 0.5 else "keep")

    def _decide(self, item: dict, choice: str) -> None:
        verdict_id, started = str(uuid.uuid4()), time.monotonic()
        verdict = {
            "verdict_id": verdict_id,
            "row": item["row"],
            "image_id": item["image_id"],
            "choice": choice,
            "made": datetime.now(UTC).isoformat(),
        }
        answer = self.post("/api/verdicts", {"verdicts": [verdict]})
        self.times_s.append(time.monotonic() - started)
        assert answer["accepted"] == [verdict_id]
        self.sent.append(verdict_id)


def _wait_until_ready(person: Reviewer) -> None:
    """Wait until the embeddings are read, as whoever opens a review does within its first seconds."""
    while not json.loads(person.get("/api/state"))["index"]["is_ready"]:
        time.sleep(0.5)


def durable_commits(path: Path, n: int = 200) -> float:
    """Return the median time in ms of a row that SQLite alone writes and makes durable."""
    connection, times = sqlite3.connect(path), []
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (id TEXT PRIMARY KEY)")
    for _ in range(n):
        started = time.monotonic()
        with connection:
            connection.execute("INSERT INTO t VALUES (?)", (str(uuid.uuid4()),))
        times.append(time.monotonic() - started)
    connection.close()
    return 1000 * statistics.median(times)


def main(arguments: list[str] | None = None) -> None:
    """Make a run, serve it, review it, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviewers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--pause", type=float, default=1.0, help="mean time in s that a person looks at an image")
    parser.add_argument("--ledger", help="postgresql://..., by default SQLite")
    told = parser.parse_args(arguments or [])
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_demo_data(place / "images", n_images=N_IMAGES)
        for words in (["scan", "images", "-o", "run", "-q"], ["score", "run", "-c", "positive-negative"]):
            command = [sys.executable, "-m", "clipsieve", *words]
            subprocess.run(command, cwd=place, check=True, capture_output=True)  # noqa: S603
        _measure(place, told)


def _measure(place: Path, told: argparse.Namespace) -> None:
    command = [sys.executable, "-m", "clipsieve", "review", "run", "--port", "0"]
    command += ["--ledger", told.ledger] if told.ledger else []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=place, text=True, **pipes) as server:  # noqa: S603
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        people = [Reviewer(url, f"reviewer {i}") for i in range(told.reviewers)]
        _wait_until_ready(people[0])
        until = time.monotonic() + told.seconds
        threads = [threading.Thread(target=person.review, args=(until, told.pause)) for person in people]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.terminate()
        server.wait(30)
    times_ms = 1000 * np.sort([t for person in people for t in person.times_s])
    sent = {verdict_id for person in people for verdict_id in person.sent}
    run = Run.open(place / "run")
    with open_ledger(told.ledger or run.path / "verdicts.db", run_key(run)) as ledger:
        rows = [row.verdict_id for _, row in ledger.rows()]
        images = [row.image_id for _, row in ledger.rows()]
    print(describe_machine())
    print(f"{told.reviewers} reviewers, {told.seconds:g} s, {len(sent):,} decisions in requests of their own")
    p50, p95, p99 = (float(np.percentile(times_ms, share)) for share in (50, 95, 99))
    print(f"a decision, ms: median {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f}, most {times_ms[-1]:.1f}")
    print(f"a durable row of SQLite alone, ms: median {durable_commits(place / 'peer.db'):.1f}")
    print(f"lost {len(sent - set(rows)):,}, doubled {len(rows) - len(set(rows)):,}")
    print(f"images that two people decided about: {len(images) - len(set(images)):,}")


if __name__ == "__main__":
    main(sys.argv[1:])
