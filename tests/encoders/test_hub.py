"""Models from the hub, by the real command against a real server on this machine that speaks the hub's protocol."""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from clipsieve.encoders.hub import is_hub_id
from model_folders import make_onnx_folder

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

REPO = "someone/tiny"
FIRST, SECOND = "1" * 40, "2" * 40


@dataclass
class Repository:
    """What the server knows of one repository: branches, and the files of each commit."""

    branches: dict[str, str]
    commits: dict[str, dict[str, bytes]]
    status: int = 200
    error_code: str = ""
    swapped: dict[str, bytes] = field(default_factory=dict)  # sent in place of what was announced


@dataclass
class Hub:
    """A server, its repositories, and the paths it was asked for."""

    repositories: dict[str, Repository]
    url: str = ""
    asked: list[str] = field(default_factory=list)
    down: bool = False
    fails_at: str = ""
    hangs_at: str = ""
    ended: threading.Event = field(default_factory=threading.Event)


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 - what git uses


def is_large(name: str) -> bool:
    return name.endswith((".onnx", ".bin", ".safetensors", ".data"))


class Handler(BaseHTTPRequestHandler):
    """The three requests that a download makes: the revision, then HEAD and GET of each file."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        if self.hub.asked[-1] == self.hub.hangs_at:
            self.hub.ended.wait()
        self.hub.down = self.hub.down or self.hub.asked[-1] == self.hub.fails_at
        if self.hub.down:
            return self.reply(500, b"it fell over", {}, with_body)
        words = path.strip("/").split("/")
        is_api = words[:2] == ["api", "models"]
        owner, name, kind, revision, *rest = [*(words[2:] if is_api else words), "", "", ""]
        repository = self.hub.repositories.get(f"{owner}/{name}")
        if repository is None or kind not in ("revision", "resolve"):
            return self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)
        if repository.status != 200:
            return self.reply(repository.status, b"{}", {"X-Error-Code": repository.error_code}, with_body)
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            return self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, with_body)
        if is_api:
            return self.reply(200, self.describe(f"{owner}/{name}", commit, repository), {}, with_body)
        return self.send_file("/".join(rest).rstrip("/"), commit, repository, with_body)

    def describe(self, repo: str, commit: str, repository: Repository) -> bytes:
        siblings = []
        for name, content in repository.commits[commit].items():
            sibling: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": git_hash(content)}
            if is_large(name):
                digest = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
            siblings.append(sibling)
        return json.dumps({"id": repo, "modelId": repo, "sha": commit, "siblings": siblings}).encode()

    def send_file(self, name: str, commit: str, repository: Repository, with_body: bool) -> None:
        content = repository.commits[commit].get(name)
        if content is None:
            return self.reply(404, b"", {"X-Error-Code": "EntryNotFound"}, with_body)
        etag = hashlib.sha256(content).hexdigest() if is_large(name) else git_hash(content)
        content = repository.swapped.get(name, content)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
        if is_large(name):
            headers |= {"X-Linked-ETag": f'"{etag}"', "X-Linked-Size": str(len(content))}
        return self.reply(200, content, headers, with_body)

    def reply(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the other side gave up waiting
                self.wfile.write(body)


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the files of two commits: the same model with other weights."""
    root = tmp_path_factory.mktemp("models")
    first, second = (files_of(make_onnx_folder(root / str(seed), seed=seed)) for seed in (0, 1))
    first |= {"README.md": b"not wanted", "visual/rknpu/x/model.rknn": b"not wanted", "visual/model.armnn": b"no"}
    return first, second


@pytest.fixture
def hub(contents: tuple[dict[str, bytes], dict[str, bytes]]) -> Iterator[Hub]:
    commits = {FIRST: dict(contents[0]), SECOND: dict(contents[1])}
    hub = Hub({REPO: Repository({"main": FIRST, "next": SECOND}, commits)})  # each test may change it
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    yield hub
    hub.ended.set()
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class Machine:
    """A computer with a clipsieve of its own: where it keeps models, and how it reaches the hub."""

    home: Path
    url: str

    def run(self, *args: object, **settings: str) -> subprocess.CompletedProcess[str]:
        folders = {"CLIPSIEVE_HOME": str(self.home / "clipsieve"), "HF_HOME": str(self.home / "hf")}
        bare = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("_proxy")}
        command = [sys.executable, "-m", "clipsieve", *map(str, args)]
        environment = bare | folders | {"HF_ENDPOINT": self.url, "NO_COLOR": "1", "COLUMNS": "200"} | settings
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    def installed(self) -> list[str]:
        models = self.home / "clipsieve" / "models"
        return sorted(p.relative_to(models).as_posix() for p in models.rglob("*") if p.is_file())


@pytest.fixture
def machine(hub: Hub, tmp_path: Path) -> Machine:
    return Machine(tmp_path, hub.url)


def refused(done: subprocess.CompletedProcess[str], *words: str, status: int = 1) -> None:
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: "), done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def test_a_model_is_fetched_once_and_then_needs_no_network(hub: Hub, machine: Machine) -> None:
    done = machine.run("models", "fetch", REPO, "--json")
    assert done.returncode == 0, done.stderr
    info = json.loads(done.stdout)
    wanted = {
        n: c for n, c in hub.repositories[REPO].commits[FIRST].items() if "not wanted" not in str(c) and c != b"no"
    }
    assert info["repo"] == REPO
    assert info["commit"] == FIRST
    assert info["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in wanted.items()}
    assert not [path for path in hub.asked if "README" in path or "rknn" in path or "armnn" in path]
    base = f"someone--tiny/{FIRST}"
    folder = machine.home / "clipsieve/models" / base
    assert folder.stat().st_mode == folder.parent.stat().st_mode, "others on this machine may read it too"
    assert machine.installed() == sorted(["someone--tiny/pin.json", *(f"{base}/{name}" for name in wanted)])

    hub.asked.clear()
    again = machine.run("models", "info", REPO, "--json", HF_HUB_OFFLINE="1")
    assert json.loads(again.stdout) == info
    assert hub.asked == []


@pytest.fixture
def fetched(machine: Machine) -> Machine:
    done = machine.run("models", "fetch", REPO)
    assert done.returncode == 0, done.stderr
    return machine


def test_a_download_with_wrong_bytes_is_refused_and_nothing_is_installed(hub: Hub, machine: Machine) -> None:
    repository = hub.repositories[REPO]
    announced = repository.commits[FIRST]["visual/model.onnx"]
    repository.swapped["visual/model.onnx"] = changed = announced[:-1] + bytes([announced[-1] ^ 1])
    digests = [hashlib.sha256(content).hexdigest() for content in (announced, changed)]
    refused(machine.run("models", "fetch", REPO), "visual/model.onnx", "nothing was installed", *digests)
    assert machine.installed() == []
    assert list((machine.home / "clipsieve/models").iterdir()) == []


@pytest.mark.slow
def test_a_small_file_is_checked_too(hub: Hub, machine: Machine) -> None:
    swapped = hub.repositories[REPO].swapped
    swapped["config.json"] = hub.repositories[REPO].commits[FIRST]["config.json"].replace(b"16", b"61")
    refused(machine.run("models", "fetch", REPO), "config.json", "git blob")
    assert machine.installed() == []


@pytest.mark.slow
def test_a_download_that_breaks_off_is_refused(hub: Hub, machine: Machine) -> None:
    repository = hub.repositories[REPO]
    repository.swapped["textual/model.onnx"] = repository.commits[FIRST]["textual/model.onnx"][:100]
    refused(machine.run("models", "fetch", REPO), "textual/model.onnx")
    assert machine.installed() == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["visual/model.onnx", "config.json"])
def test_a_file_that_changed_since_is_refused_and_fetching_again_mends_it(fetched: Machine, name: str) -> None:
    path = fetched.home / "clipsieve/models/someone--tiny" / FIRST / name
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes() + b" ")
    after = hashlib.sha256(path.read_bytes()).hexdigest()
    done = fetched.run("models", "info", REPO)
    refused(done, str(path), before, after, f"clipsieve models fetch {REPO} --revision {FIRST}")
    mended = fetched.run("models", "fetch", REPO, "--revision", FIRST, "--json")
    assert json.loads(mended.stdout)["files"][name] == before


@pytest.mark.slow
def test_a_file_that_vanished_since_is_refused(fetched: Machine) -> None:
    (fetched.home / "clipsieve/models/someone--tiny" / FIRST / "textual/tokenizer.json").unlink()
    refused(fetched.run("models", "info", REPO), "textual/tokenizer.json", "no such file")


@pytest.mark.slow
def test_a_branch_that_moved_changes_nothing_until_a_revision_is_asked_for(hub: Hub, fetched: Machine) -> None:
    hub.repositories[REPO].branches["main"] = SECOND
    assert json.loads(fetched.run("models", "fetch", REPO, "--json").stdout)["commit"] == FIRST
    moved = json.loads(fetched.run("models", "fetch", REPO, "--revision", "main", "--json").stdout)
    assert moved["commit"] == SECOND
    assert json.loads(fetched.run("models", "info", REPO, "--json").stdout) == moved


@pytest.mark.slow
def test_a_commit_whose_files_changed_on_the_hub_is_refused_and_the_old_files_stay(hub: Hub, fetched: Machine) -> None:
    commits = hub.repositories[REPO].commits
    before = fetched.installed()
    commits[FIRST] = dict(commits[SECOND])
    refused(fetched.run("models", "fetch", REPO, "--revision", FIRST), "as pinned", "/model.onnx")
    assert fetched.installed() == before
    assert fetched.run("models", "info", REPO).returncode == 0


@pytest.mark.slow
def test_a_repository_or_revision_that_is_not_there_is_named(machine: Machine) -> None:
    refused(machine.run("models", "fetch", "someone/nothing"), "someone/nothing")
    refused(machine.run("models", "fetch", REPO, "--revision", "no-such-branch"), REPO, "no-such-branch")
    assert machine.installed() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(401, "GatedRepo", "licence"), (403, "GatedRepo", "licence"), (401, "RepoNotFound", "private"), (403, "", "403")],
)
def test_a_hub_that_refuses_is_said_to(hub: Hub, machine: Machine, status: int, code: str, words: str) -> None:
    hub.repositories[REPO].status, hub.repositories[REPO].error_code = status, code
    done = machine.run("models", "fetch", REPO)
    refused(done, REPO, words)
    assert "cannot be reached" not in done.stderr


def test_a_hub_that_fails_ends_in_words_and_soon(hub: Hub, machine: Machine) -> None:
    hub.down = True
    begin = time.monotonic()
    refused(machine.run("models", "fetch", REPO), "500", "--model pictogram")
    assert time.monotonic() - begin < 20


@pytest.mark.slow
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_hub_that_fails_in_the_middle_ends_in_words_and_soon(hub: Hub, machine: Machine, method: str) -> None:
    hub.fails_at = f"{method} /{REPO}/resolve/{FIRST}/visual/model.onnx"
    begin = time.monotonic()
    refused(machine.run("models", "fetch", REPO), "500")
    assert time.monotonic() - begin < 20
    assert machine.installed() == []


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.slow
def test_a_hub_that_falls_silent_in_the_middle_ends_in_words_and_soon(hub: Hub, machine: Machine, method: str) -> None:
    hub.hangs_at = f"{method} /{REPO}/resolve/{FIRST}/visual/model.onnx"
    begin = time.monotonic()
    done = machine.run("models", "fetch", REPO)  # the client asks for the rest of a file a few times, and says so
    assert done.returncode == 1
    assert "imed out" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - begin < 90
    assert machine.installed() == []


@pytest.mark.slow
def test_a_refused_connection_ends_in_words_and_soon(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        machine = Machine(tmp_path, f"http://127.0.0.1:{unused.getsockname()[1]}")
        begin = time.monotonic()
        refused(machine.run("models", "fetch", REPO), "cannot be reached", "--model pictogram", "--model DIR")
        assert time.monotonic() - begin < 20


@pytest.mark.slow
def test_a_hub_that_never_answers_ends_in_words_and_soon(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        machine = Machine(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
        begin = time.monotonic()
        refused(machine.run("models", "fetch", REPO), "cannot be reached", "--model pictogram")
        assert time.monotonic() - begin < 30


def test_an_offline_machine_without_the_model_is_told_the_ways_out(hub: Hub, machine: Machine) -> None:
    done = machine.run("models", "info", REPO, HF_HUB_OFFLINE="1")
    refused(done, REPO, "HF_HUB_OFFLINE", "--model pictogram", "--model DIR")
    assert hub.asked == []


@pytest.mark.slow
def test_a_model_of_the_catalog_is_asked_for_under_its_hub_id(machine: Machine) -> None:
    refused(machine.run("models", "fetch", "ViT-B-32__openai"), "immich-app/ViT-B-32__openai")


@pytest.mark.parametrize(
    "name", ["../x", "a/../b", "a/..", "../../etc", "a/b/c", "a/b\n", "a/.b", "/a", "a/", "a b/c", ""]
)
def test_a_name_that_leads_elsewhere_is_no_hub_id(name: str) -> None:
    assert not is_hub_id(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["../x", "a/../b"])
def test_a_name_that_leads_elsewhere_never_reaches_the_hub(hub: Hub, machine: Machine, name: str) -> None:
    refused(machine.run("models", "fetch", name), name)
    assert hub.asked == []
    assert machine.installed() == []


def test_file_names_from_the_hub_that_lead_elsewhere_are_not_fetched(hub: Hub, machine: Machine) -> None:
    names = ["visual/../../evil", "../evil", "/tmp/evil", "visual/..", "visual/.", "textual/x/../../../evil", ".."]  # noqa: S108
    hub.repositories[REPO].commits[FIRST].update(dict.fromkeys(names, b"evil"))
    done = machine.run("models", "fetch", REPO, "--json")
    assert done.returncode == 0, done.stderr
    assert not [path for path in hub.asked if "evil" in path or ".." in path]
    assert not [path for path in machine.home.rglob("*") if path.name == "evil"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["../../evil", "main", "1" * 39, "1" * 40 + "/../x"])
def test_a_hub_that_names_no_commit_is_refused(hub: Hub, machine: Machine, name: str) -> None:
    repository = hub.repositories[REPO]
    repository.commits[name] = repository.commits[FIRST]
    repository.branches["main"] = name
    refused(machine.run("models", "fetch", REPO), REPO)
    assert machine.installed() == []


@pytest.mark.slow
def test_a_repository_with_pickles_alone_is_refused(hub: Hub, machine: Machine) -> None:
    hub.repositories[REPO].commits[FIRST] = {"config.json": b"{}", "pytorch_model.bin": b"\x80\x04."}
    refused(machine.run("models", "fetch", REPO), "pytorch_model.bin", "safetensors")
    assert not [path for path in hub.asked if path.endswith(".bin")]
    assert machine.installed() == []


@pytest.mark.slow
def test_a_damaged_pin_is_named(fetched: Machine) -> None:
    pin = fetched.home / "clipsieve/models/someone--tiny/pin.json"
    whole = json.loads(pin.read_text())
    for content in ("[]", json.dumps(whole | {"commit": "../../.."})):
        pin.write_text(content)
        refused(fetched.run("models", "info", REPO), "pin.json", "fetch the model again")


@pytest.mark.slow
def test_a_fetched_model_can_be_copied_to_another_machine(fetched: Machine, tmp_path: Path) -> None:
    copied = shutil.copytree(fetched.home / "clipsieve/models/someone--tiny" / FIRST, tmp_path / "usb" / "tiny")
    here = json.loads(fetched.run("models", "info", REPO, "--json").stdout)
    there = json.loads(fetched.run("models", "info", copied, "--json", HF_HUB_OFFLINE="1").stdout)
    assert there["identity"]["weights_sha256"] == here["identity"]["weights_sha256"]
