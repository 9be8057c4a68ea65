"""The border between the library and a person: words, streams and exit statuses."""

import os
import subprocess
import sys

import click
import pytest

from clipsieve.cli import entry, render
from clipsieve.errors import ClipsieveError, TooManyFailuresError, UsageError

EXAMPLE = """\
3 of 1,204 shards in `runs/laion` were written by another encoder
  expected: ViT-L-14__openai
  found:    ViT-B-32__openai
  nothing was written

hint: encode just those shards again"""


def test_an_error_says_what_expected_found_state_and_hint() -> None:
    error = ClipsieveError(
        "3 of 1,204 shards in `runs/laion` were written by another encoder",
        expected="ViT-L-14__openai",
        found="ViT-B-32__openai",
        state="nothing was written",
        hint="encode just those shards again",
    )
    assert str(error) == EXAMPLE


def test_errors_cross_process_borders_whole() -> None:
    import copyreg

    error = UsageError("what", expected="a", found="b", state="c", hint="d")
    rebuild, arguments = error.__reduce_ex__(4)[:2]
    again = rebuild(*arguments)
    assert type(again) is UsageError
    assert str(again) == str(error)
    assert copyreg is not None


def test_ctrl_c_while_a_library_is_loaded_is_an_interruption(monkeypatch, capsys) -> None:
    def load(**_: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            raise ImportError("initialization failed") from interrupt

    monkeypatch.setattr(entry.group, "main", load)
    assert entry.run([]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [(ClipsieveError("x"), 1), (UsageError("x"), 2), (TooManyFailuresError("x"), 3), (KeyboardInterrupt(), 130)],
)
def test_each_error_has_its_exit_status(error: BaseException, status: int, monkeypatch, capsys) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(entry.group, "main", fail)
    assert entry.run([]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")


def test_an_unforeseen_error_is_told_in_words_and_raised_for_developers(monkeypatch, capsys) -> None:
    def fail(**_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(entry.group, "main", fail)
    monkeypatch.delenv("CLIPSIEVE_DEBUG", raising=False)
    assert entry.run([]) == 1
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err
    monkeypatch.setenv("CLIPSIEVE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        entry.run([])


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["scor"], "did you mean `score`?"),
        (["score"], "missing argument 'RUN'"),
        (["scan", "x"], "missing option '-o'"),
        (["scan", "x", "-o", "y", "--part-size", "0"], "part-size"),
        (["models", "lst"], "lst"),
    ],
)
def test_bad_usage_is_status_2_and_points_to_the_help(args: list[str], words: str, capsys) -> None:
    assert entry.run(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert "hint: `clipsieve" in err


@pytest.mark.parametrize("args", [["-h"], ["--help"], ["scan", "-h"], ["models", "-h"], ["models", "export", "-h"]])
def test_help_fits_a_terminal_of_80_columns(args: list[str], capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert entry.run(args) == 0
    out = capsys.readouterr().out
    assert "Examples:" in out
    assert "Exit status: 0 done" in out
    examples = [line for line in out.splitlines() if line.startswith("    clipsieve")]
    assert all(len(line) <= 80 for line in out.splitlines() if line not in examples), out


def cli(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clipsieve", *args], capture_output=True, text=True, env=os.environ | env, timeout=60
    )


def test_colour_only_where_it_is_wanted() -> None:
    assert "\x1b" not in cli("scor").stderr
    assert "\x1b" in cli("scor", FORCE_COLOR="1", TERM="xterm").stderr
    assert "\x1b[3" not in cli("scor", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm").stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m clipsieve prompts show offensive | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("elapsed_s", "words"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (42.4, "42 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_durations_read_like_speech(elapsed_s: float, words: str) -> None:
    assert render.seconds(elapsed_s) == words


def test_counts_and_rates_read_like_speech() -> None:
    assert render.count(1, "image") == "1 image"
    assert render.count(1204, "image") == "1,204 images"
    assert render.count(2, "class") == "2 classes"
    assert render.rate(0, 0) == "-"
    assert render.rate(24, 10) == "2.4 images/s"
    assert render.rate(123456, 10) == "12,346 images/s"


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_the_list_of_commands_says_what_each_command_says_of_itself(name: str) -> None:
    command = entry.group.get_command(click.Context(entry.group), name)
    assert command is not None
    assert command.name == name
    assert command.get_short_help_str(limit=1000) == entry.COMMANDS[name][1]
