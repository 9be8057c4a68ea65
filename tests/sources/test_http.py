"""Sources behind HTTP: changes are noticed, silence is bounded, secrets are not repeated, Ctrl-C ends it."""

import functools
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from clipsieve.engines import LocalEngine, scan
from clipsieve.remote import connect
from clipsieve.sources import open_source
from clipsieve.store import Run
from clipsieve.types import Failure, FailureCode
from image_files import png, tar
from tiny_encoder import TinyEncoder

pytestmark = pytest.mark.slow


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if "hang" in self.path:
            self.server.asked.set()
            self.server.released.wait(60)
            return
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    (tmp_path / "www").mkdir()
    handler = functools.partial(Handler, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.asked, server.released = threading.Event(), threading.Event()
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.released.set()
        server.shutdown()


@pytest.fixture
def site(tmp_path, server):
    return tmp_path / "www", f"http://127.0.0.1:{server.server_port}"


def do(location, run, encoder=None):
    return scan(open_source(location), run, encoder or TinyEncoder(), engine=LocalEngine(workers=1))


def test_a_folder_behind_http_notices_what_has_changed(site, tmp_path):
    www, url = site
    for index in range(3):
        (www / f"{index}.png").write_bytes(png(index))
    assert do(url, tmp_path / "run").n_scanned == 3
    assert do(url, tmp_path / "run").n_new == 0
    os.utime(www / "1.png", (1, 1))
    (www / "1.png").write_bytes(png(77))
    os.utime(www / "1.png", (10**9, 10**9))
    encoder = TinyEncoder()
    assert (do(url, tmp_path / "run", encoder).n_new, encoder.n_images) == (3, 1)


def test_a_tar_behind_http_notices_what_has_changed(site, tmp_path):
    www, url = site
    (www / "a.tar").write_bytes(tar([("1.png", png(1))]))
    os.utime(www / "a.tar", (10**9, 10**9))
    do(f"{url}/a.tar", tmp_path / "run")
    (www / "a.tar").write_bytes(tar([("1.png", png(2))]))
    os.utime(www / "a.tar", (10**9 + 5, 10**9 + 5))
    assert do(f"{url}/a.tar", tmp_path / "run").n_new == 1


def test_what_gives_access_is_neither_shown_nor_stored(site, tmp_path):
    www, url = site
    (www / "0.png").write_bytes(png(0))
    secret = url.replace("://", "://somebody:s3cret@")
    (www / "t.csv").write_text(f"url\n{secret}/0.png?Signature=abcdef\n{secret}/missing.png?Signature=abcdef\n")
    source = open_source(f"{secret}/t.csv?Signature=abcdef")
    report = scan(source, tmp_path / "run", TinyEncoder(), engine=LocalEngine(workers=1))
    assert report.n_listed == 2
    rows = [row for part in Run.open(tmp_path / "run").iter_images() for row in part.to_pylist()]
    stored = json.dumps([{k: v for k, v in row.items() if k != "embedding"} for row in rows])
    stored += (tmp_path / "run" / "run.json").read_text()
    for word in ("s3cret", "abcdef"):
        assert word not in stored
    words = [sys.executable, "-m", "clipsieve", "scan", "http://u:s3cret@127.0.0.1:9/x.csv?Signature=abcdef", "-o", "r"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "s3cret" not in done.stderr
    assert "abcdef" not in done.stderr


def test_a_server_that_stays_silent_costs_a_bounded_time(site, monkeypatch):
    www, url = site
    monkeypatch.setattr(connect, "READ_TIMEOUT_S", 1)
    monkeypatch.setattr("clipsieve.remote.retry.ATTEMPTS", 2)
    (www / "0.png").write_bytes(png(0))
    (www / "t.csv").write_text(f"url\n{url}/hang.png\n{url}/0.png\n")
    begun_s = time.monotonic()
    source = open_source(www / "t.csv")
    refs = [ref for shard in source.plan(10).shards for ref in source.read(shard)]
    assert time.monotonic() - begun_s < 20
    assert isinstance(refs[0].content, Failure)
    assert refs[0].content.code in (FailureCode.READ_ERROR, FailureCode.TIMED_OUT)
    assert refs[1].content == png(0)


def test_ctrl_c_ends_a_scan_that_waits_for_a_silent_server(site, server, tmp_path):
    www, url = site
    (www / "t.csv").write_text("url\n" + f"{url}/hang.png\n" * 40)
    words = [sys.executable, "-m", "clipsieve", "scan", str(www / "t.csv"), "-o", str(tmp_path / "run"), "-q"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert server.asked.wait(60)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, complaints = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "goes on where this one stopped" in complaints
    assert not (tmp_path / "run" / ".lock").exists()
