"""A real PostgreSQL server on loopback, for tests and benchmarks.

`postgres_url()` gives the URL of a new, empty database. The first call starts a server for this process, in a folder of its own,
with a random port and password; it ends, and its folder goes, when this process ends, however it ends. Where PostgreSQL is not
installed the calling test is skipped with the reason. Mark tests that call it `slow`: the first call takes two seconds.

    from postgres import postgres_url

    @pytest.mark.slow
    def test_something():
        with open_ledger(postgres_url(), "run") as ledger: ...

`PostgresServer(fsync="on")` is a server of one's own, with settings of one's own:

    with PostgresServer() as server:
        url = server.new_database()

Run as a script it serves: `python tests/postgres.py '{}'` prints a URL, and stops when its input ends. As root it takes the user
`postgres`, or `nobody`, since PostgreSQL refuses root.
"""

import contextlib
import functools
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HOW_TO_INSTALL = "PostgreSQL is not installed: `apt install postgresql`, or put `initdb` and `postgres` on the PATH"


class PostgresServer:
    """A server; starts on entering the block, and ends on leaving it."""

    def __init__(self, **settings: str) -> None:
        self.settings = settings
        self._n_databases = 0

    def __enter__(self) -> "PostgresServer":
        if _programs() is None:
            pytest.skip(HOW_TO_INSTALL)
        # A process between this one and the server: it sees its input end when this one is gone, even when it was killed.
        self._keeper = subprocess.Popen(
            [sys.executable, __file__, json.dumps(self.settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._keeper.stdout is not None
        self.url = self._keeper.stdout.readline().strip()
        if not self.url:
            self.__exit__()
            raise RuntimeError("the PostgreSQL server did not start; what it said stands above")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.close()
        self._keeper.wait()
        self._keeper.stdout.close()

    def new_database(self) -> str:
        """Make an empty database, and return its URL."""
        self._n_databases += 1
        name = f"ledger_{self._n_databases}"
        self.execute(f"CREATE DATABASE {name}")
        return f"{self.url.rpartition('/')[0]}/{name}"

    def execute(self, statement: str) -> list[tuple]:
        """Run a statement as the server's owner, outside of a transaction, and return its rows."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@functools.cache
def shared_server() -> PostgresServer:
    """Return this process's server, started at the first call; its keeper ends it with the process."""
    return PostgresServer().__enter__()


def postgres_url() -> str:
    """Return the URL of a new, empty database on this process's server."""
    return shared_server().new_database()


def _programs() -> Path | None:
    on_path = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = Path(on_path).resolve() if on_path else debian[-1] if debian else None
    return found.parent if found else None


def _user() -> dict:
    """Return as whom PostgreSQL runs."""
    if os.getuid():
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`")


def _serve(settings: dict[str, str]) -> None:
    programs, user, password = _programs(), _user(), secrets.token_hex(16)
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        (folder / "password").write_text(password)
        if user:
            for path in (folder, folder / "password"):
                os.chown(path, user["user"], user["group"])
        where = {"cwd": folder, "env": {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}, **user}
        initdb = [programs / "initdb", "-D", folder / "data", "-U", "clipsieve", "-A", "scram-sha-256", "-E", "UTF8"]
        options = [f"--pwfile={folder / 'password'}", "--no-sync", "--no-instructions"]
        subprocess.run([*initdb, *options], check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, **where)
        _run_until_input_ends(programs, folder, password, settings, where)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_until_input_ends(programs: Path, folder: Path, password: str, settings: dict[str, str], where: dict) -> None:
    for _ in range(5):  # somebody may take the port that was free a moment ago
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        all_settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "200",
            "log_min_messages": "fatal",
            **settings,
        }
        options = [part for name, value in all_settings.items() for part in ("-c", f"{name}={value}")]
        command = [programs / "postgres", "-D", folder / "data", *options]
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **where)
        try:
            if _answers(server, programs, port):
                print(f"postgresql://clipsieve:{password}@127.0.0.1:{port}/postgres", flush=True)
                sys.stdin.read()
                return
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: nothing of it is needed any more
            server.wait()
    print((folder / "log").read_text(), file=sys.stderr)


def _answers(server: subprocess.Popen, programs: Path, port: int) -> bool:
    ask = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    for _ in range(300):
        if server.poll() is not None:
            return False
        if subprocess.run(ask).returncode == 0:
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(0.1)
    return False


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1] if len(sys.argv) > 1 else "{}"))
