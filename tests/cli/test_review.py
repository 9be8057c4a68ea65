"""`clipsieve review` and `clipsieve accounts` as a person types them."""

import json
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

from clipsieve.cli import accounts, review
from clipsieve.errors import LedgerError, PromptSetError, RunNotFoundError, SourceError, UsageError
from reviewed_runs import copy_run

PASSWORD = "a long enough password\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    copy_run(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ask(command, *words: str, given: str | None = None):
    return CliRunner().invoke(command, list(words), input=given, catch_exceptions=False)


def test_accounts_are_added_listed_and_removed(place):
    ask(accounts.command, "add", "run", "ann", "--adjudicator", given=PASSWORD)
    ask(accounts.command, "add", "run", "bob", given=PASSWORD)
    rows = json.loads(ask(accounts.command, "list", "run", "--json").stdout)
    assert [(row["name"], row["role"]) for row in rows] == [("ann", "adjudicator"), ("bob", "reviewer")]
    assert "adjudicator" in ask(accounts.command, "list", "run").stdout
    ask(accounts.command, "password", "run", "ann", given="another long password\n")
    ask(accounts.command, "remove", "run", "bob")
    assert "bob" not in ask(accounts.command, "list", "run").stdout
    for wrong in (["remove", "run", "bob"], ["add", "run", "ann"]):
        with pytest.raises(UsageError):
            ask(accounts.command, *wrong, given=PASSWORD)
    with pytest.raises(UsageError, match="password"):
        ask(accounts.command, "add", "run", "cleo", given="short\n")


def test_a_run_without_scores_or_with_several_is_refused_in_words(place):
    shutil.copytree("run/scores/positive-negative", "run/scores/other")
    with pytest.raises(UsageError, match="several scores"):
        ask(review.command, "run", "--port", "0")
    shutil.rmtree("run/scores")
    with pytest.raises(UsageError, match="no scores"):
        ask(review.command, "run", "--port", "0")
    with pytest.raises(RunNotFoundError):
        ask(review.command, "elsewhere")


def test_what_is_no_ledger_is_refused_and_left_alone(place):
    (place / "notes.db").write_bytes(b"my notes")
    with pytest.raises(LedgerError):
        ask(review.command, "run", "--port", "0", "--ledger", "notes.db")
    assert (place / "notes.db").read_bytes() == b"my notes"


def test_other_machines_take_accounts_and_a_port_is_taken_once(place):
    with pytest.raises(UsageError, match="account"):
        ask(review.command, "run", "--port", "0", "--host", "0.0.0.0")  # noqa: S104 - refused
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match=r"port|address"):
            ask(review.command, "run", "--port", str(taken.getsockname()[1]))


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_an_address_and_ends_without_a_fuss(place, end):
    command = [sys.executable, "-m", "clipsieve", "review", "run", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        url = server.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        assert "token=" in url
        server.send_signal(end)
        words = server.communicate(timeout=60)[1]
    assert server.returncode == 0
    assert "603" not in words
    assert "reviewing 63 images by the scores `positive-negative`; verdicts go to run/verdicts.db" in words
    assert "Traceback" not in words


def test_what_was_named_and_is_not_there_is_told_before_the_page_is_served(place):
    with pytest.raises(PromptSetError):
        ask(review.command, "run", "--port", "0", "--taxonomy", "none.toml")
    with pytest.raises(SourceError):
        ask(review.command, "run", "--port", "0", "--from", "nowhere")
