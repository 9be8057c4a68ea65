"""Every command and every snippet in the documentation runs, page by page, as a reader would try them.

A page's ``console`` blocks (lines that begin with ``$ ``) run in order in one new folder, then its ``python`` blocks.
Commands that need the network or a GPU stand in ``sh`` blocks: those are only parsed, so that no
option in them is wrong. For a page that reads from `s3://my-bucket`, a real S3 server on loopback holds the demo data set.
"""

import os
import re
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from clipsieve import write_demo_data
from clipsieve.cli import group
from s3_server import BUCKET, S3Server

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def commands(page: Path) -> list[str]:
    """Return the page's `console` commands, continued lines joined."""
    text = "".join(blocks(page, "console")).replace("\\\n", " ")
    return [line[2:] for line in text.splitlines() if line.startswith("$ ")]


def with_blocks(*languages: str) -> list[object]:
    found = [page for page in PAGES if any(blocks(page, language) for language in languages)]
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in found]


@contextmanager
def bucket(page: Path, scratch: Path) -> Iterator[dict[str, str]]:
    """Give the settings of a server that holds what the page reads, if it reads any."""
    if f"s3://{BUCKET}" not in "".join(commands(page)):
        yield {}
        return
    write_demo_data(scratch / "photos", n_images=20)
    with S3Server() as server:
        server.upload(scratch / "photos", "photos")
        for name in ("00000.tar", "00001.tar"):
            with tarfile.open(scratch / name, "w") as tar:
                tar.add(scratch / "photos", ".")
            server.put(f"shards/{name}", (scratch / name).read_bytes())
        yield server.environment


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "NO_COLOR": "1", "COLUMNS": "80"}


@pytest.mark.slow
@pytest.mark.parametrize("page", with_blocks("console", "python"))
def test_commands_and_snippets_run(page: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with bucket(page, tmp_path_factory.mktemp("bucket")) as found:
        for line in commands(page):
            if line.startswith("make "):
                continue  # `make demo` and `make test` are what runs this test
            words, settings = ["bash", "-euc", line], environment() | found
            done = subprocess.run(words, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    for snippet in blocks(page, "python"):
        done = subprocess.run(
            [sys.executable, "-c", snippet],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{snippet}\n{done.stdout}{done.stderr}"


def parse(words: list[str]) -> None:
    """Parse a command line with click without running it; raise click.UsageError if an option or argument is wrong."""
    command: click.Command = group
    context = group.make_context("clipsieve", list(words[1:]), resilient_parsing=False)
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        command = found
        context = command.make_context(name, list(rest), parent=context)


def leaves(command: click.Command, path: str = "clipsieve") -> list[tuple[str, click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            sub = command.get_command(context, name)
            assert sub is not None
            found += leaves(sub, f"{path} {name}")
    return found


@pytest.mark.parametrize("page", with_blocks("sh"))
def test_commands_that_need_more_are_well_formed(page: Path) -> None:
    text = "".join(blocks(page, "sh")).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith("clipsieve ")]
    for line in lines:
        parse(shlex.split(line, comments=True))


@pytest.mark.parametrize(("path", "command"), [pytest.param(*leaf, id=leaf[0]) for leaf in leaves(group)])
def test_help_has_examples_that_parse(path: str, command: click.Command) -> None:
    assert command.examples, f"`{path} -h` shows no example"  # type: ignore[attr-defined]
    for example in command.examples:  # type: ignore[attr-defined]
        parse(shlex.split(re.split(r"[|>]", example)[0]))


@pytest.mark.parametrize(("path", "command"), [pytest.param(*leaf, id=leaf[0]) for leaf in leaves(group)])
def test_every_option_has_help(path: str, command: click.Command) -> None:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} {parameter.name}"


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target and not target.startswith("mailto:"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
