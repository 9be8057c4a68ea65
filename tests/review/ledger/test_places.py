"""Where a ledger may lie, and what is said of a place that cannot be used: never its password."""

import os
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from clipsieve.errors import ClipsieveError, LedgerError, UsageError
from clipsieve.review.ledger import database as database_module
from clipsieve.review.ledger import open_ledger
from clipsieve.review.ledger.places import read_place
from clipsieve.review.records import Choice, VerdictRow


def row(verdict_id, note=""):
    return VerdictRow(verdict_id, "a.jpg", None, "Ann", Choice.KEEP, datetime.now(UTC), note=note)


def test_a_file_is_made_with_its_folders_for_its_owner_alone(tmp_path):
    path = tmp_path / "new" / "folder" / "verdicts.db"
    with open_ledger(str(path), "run") as ledger:
        ledger.append([row("v1")])
        assert ledger.place == str(path)
        modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert modes == {0o600}
        assert len(list(path.parent.iterdir())) == 3  # with the log and its index
    assert [file.name for file in path.parent.iterdir()] == ["verdicts.db"]


def test_a_url_of_sqlite_is_a_file(tmp_path):
    with open_ledger(f"sqlite:///{tmp_path / 'verdicts.db'}", "run") as ledger:
        assert ledger.place == str(tmp_path / "verdicts.db")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_is_understood_and_shown_without_its_password(scheme):
    place = read_place(f"{scheme}://ann:s3cret%2F@db.example:5433/verdicts?sslmode=require&sslpassword=s3cret")
    assert place.shown == "postgresql://ann@db.example:5433/verdicts"
    assert place.url.drivername == "postgresql+psycopg"
    assert place.url.password == "s3cret/"
    assert "s3cret" not in repr(place)


@pytest.mark.parametrize(
    "place",
    ["mysql://ann:s3cret@host/db", "postgresql+asyncpg://ann:s3cret@host/db", "postgresql://ann:s3cret@host:port/db",
     "postgresql://ann:s3cret@host", "sqlite://", "sqlite:///:memory:", "", ":memory:", "a\0b", "file:x?mode=ro",
     "http://ann:s3cret@x"],
)  # fmt: skip
def test_what_is_no_place_is_refused(place):
    with pytest.raises(UsageError) as refused:
        open_ledger(place, "run")
    assert "s3cret" not in "".join(traceback.format_exception(refused.value))


def test_files_that_are_no_database_are_left_as_they_are(tmp_path):
    text = tmp_path / "verdicts.csv"
    text.write_text("image_id,verdict\n" * 1000)
    with pytest.raises(LedgerError, match="no database"):
        open_ledger(text, "run")
    assert text.read_text() == "image_id,verdict\n" * 1000
    for place in (tmp_path, text / "verdicts.db"):
        with pytest.raises(LedgerError, match="cannot"):
            open_ledger(place, "run")


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "verdicts.db"
    with open_ledger(path, "run") as ledger:
        ledger.append([row(f"v{number}", "x" * 2000) for number in range(50)])
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"verdicts\.db"), open_ledger(path, "run") as ledger:
        ledger.rows()


def test_a_file_that_may_not_be_written_to(small_disk):
    path = small_disk / "verdicts.db"
    open_ledger(path, "run").close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(LedgerError, match=r"verdicts\.db"), open_ledger(path, "run") as ledger:
        ledger.append([row("v1")])
    with pytest.raises(LedgerError, match="cannot make"):
        open_ledger(small_disk / "other.db", "run")


def test_a_full_disk_keeps_what_was_accepted(small_disk):
    accepted = []
    with open_ledger(small_disk / "verdicts.db", "run") as ledger:

        def append_for_ever():
            for number in range(1000):
                ledger.append([row(f"v{number}", "x" * 2000)])
                accepted.append(f"v{number}")

        with pytest.raises(LedgerError, match="no room left") as refused:
            append_for_ever()
        assert refused.value.state == "nothing was written"
        assert accepted
        assert [found.verdict_id for _, found in ledger.rows()] == accepted


def test_another_process_that_keeps_hold_is_waited_for_and_then_named(tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "WAIT_S", 0.3)
    path = tmp_path / "verdicts.db"
    with open_ledger(path, "run") as ledger:
        holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="keeps hold"):
            ledger.append([row("v1")])
        timer = threading.Timer(0.05, holder.execute, ["ROLLBACK"])
        timer.start()
        assert ledger.append([row("v1")])
        timer.join()
        holder.close()


def test_whoever_waits_behind_one_who_waits_gives_up_too_and_readers_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "WAIT_S", 1)
    path = tmp_path / "verdicts.db"
    with open_ledger(path, "run") as ledger, ThreadPoolExecutor(12) as pool:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        done = [pool.submit(ledger.append, [row(f"v{number}")]) for number in range(4)]
        done += [pool.submit(ledger.release, ["a"], "ann") for _ in range(8)]
        assert ledger.rows() == []
        assert not any(each.done() for each in done)
        assert all(isinstance(each.exception(), LedgerError) for each in done)
        assert time.monotonic() - started < 8  # and not one after the other
        holder.close()


@pytest.mark.slow
def test_a_missing_library_is_named_with_its_extra(tmp_path):
    code = """if True:
        import sys
        sys.modules[{name!r}] = None
        from clipsieve.errors import MissingExtraError
        import clipsieve.review.ledger as ledger
        try:
            ledger.open_ledger({place!r}, "run")
        except MissingExtraError as error:
            print(error.hint)
    """
    for name, place, extra in [
        ("sqlalchemy", str(tmp_path / "v.db"), "review"),
        ("argon2", str(tmp_path / "v.db"), "review"),
        ("psycopg", "postgresql://ann:s3cret@host/db", "postgresql"),
    ]:
        command = [sys.executable, "-c", code.format(name=name, place=place)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.stdout == f"pip install 'clipsieve[{extra}]'\n", done.stderr


def test_the_ledger_is_light_until_it_is_opened():
    code = "import sys, clipsieve.review, clipsieve.review.ledger, clipsieve.review.consensus; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"sqlalchemy", "alembic", "argon2", "psycopg"} & set(done.stdout.split())


def test_a_server_that_is_not_there_is_named():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = sa.URL.create("postgresql", "ann", "s3" + "cret", "127.0.0.1", closed.getsockname()[1], "db")
        with pytest.raises(LedgerError, match=r"cannot reach `postgresql://ann@127\.0\.0\.1") as refused:
            open_ledger(url.render_as_string(hide_password=False), "run")
    assert "s3cret" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"password": "wr0ng pass"}, "password"),
        ({"database": "absent"}, "no database"),
        ({"username": "eve"}, "password"),
    ],
)
def test_what_a_server_refuses_is_said_without_the_password(change, message):
    from postgres import postgres_url

    url = sa.make_url(postgres_url()).set(**change)
    with pytest.raises(ClipsieveError, match=message) as refused:
        open_ledger(url.render_as_string(hide_password=False), "run")
    text = "".join(traceback.format_exception(refused.value))
    assert str(url.password) not in text
    assert "wr0ng" not in text


@pytest.mark.slow
def test_a_user_without_rights_is_told_so():
    from postgres import postgres_url, shared_server

    url = sa.make_url(postgres_url())
    shared_server().execute("CREATE USER reader PASSWORD 'reads-only'")
    reader = url.set(username="reader", password="reads-only").render_as_string(hide_password=False)
    with pytest.raises(LedgerError, match="may not do that"):
        open_ledger(reader, "run")
