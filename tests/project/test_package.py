"""What the package as a whole promises: a light import, one sorted public list, layers, types, style."""

import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from PIL import Image

import clipsieve
from clipsieve.cli.entry import COMMANDS

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "ray", "fastapi", "onnxruntime", "onnx", "pyarrow", "PIL", "huggingface_hub", "rich"}


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_loads_nothing_heavy() -> None:
    loaded = python("import sys, clipsieve; print(*sys.modules)").split()
    assert not HEAVY & set(loaded)


def test_import_is_fast() -> None:
    def once() -> float:
        start = time.perf_counter()
        python("import clipsieve")
        return time.perf_counter() - start

    def empty() -> float:
        start = time.perf_counter()
        python("")
        return time.perf_counter() - start

    # The best of several: the bound is on the work, not on what else the machine does.
    assert min(once() for _ in range(5)) - min(empty() for _ in range(5)) < 0.3


def test_help_loads_no_command_and_nothing_that_one_needs() -> None:
    code = """
import sys
from clipsieve.cli.entry import run
assert run(["--help"]) == 0
print(*sys.modules)
"""
    loaded = set(python(code).splitlines()[-1].split())
    assert not (HEAVY | {"numpy", "jaxtyping", "rich"}) & loaded
    commands = {f"clipsieve.cli.{module}" for module, _ in COMMANDS.values()}
    assert not commands & loaded


@pytest.mark.slow
def test_a_scan_loads_none_of_the_libraries_that_it_does_not_need(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "photos/one.png")
    code = f"""
import sys
from clipsieve.cli.entry import run
assert run(["scan", {str(tmp_path / "photos")!r}, "-o", {str(tmp_path / "run")!r}, "-q"]) == 0
print(*sys.modules)
"""
    loaded = set(python(code).splitlines()[-1].split())
    # pandas is nowhere asked for, but pyarrow loads it where it is installed, to see whether a list is a series.
    assert not {"pandas", "torch", "openvino", "onnx", "sklearn", "matplotlib", "datasets", "faiss"} & loaded


def test_public_names_are_one_sorted_list_and_all_there() -> None:
    assert sorted(set(clipsieve.__all__)) == list(clipsieve.__all__)
    for name in clipsieve.__all__:
        assert getattr(clipsieve, name) is not None
    assert set(clipsieve.__all__) <= set(dir(clipsieve))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = clipsieve.no_such_name


def test_every_public_name_says_what_it_is() -> None:
    for name in clipsieve.__all__:
        thing = getattr(clipsieve, name)
        if callable(thing):
            assert thing.__doc__, name


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["lint-imports"], ["mypy"]],
    ids=["ruff", "format", "import rule", "types"],
)
def test_code_keeps_the_rules(command: list[str]) -> None:
    tool = Path(sys.executable).parent / command[0]
    done = subprocess.run([tool, *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "src").rglob("*.py")), ids=lambda path: path.name)
def test_no_module_outgrows_a_reader(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_contributing_fits_on_a_page() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 50


# What else is chosen asks for newer ones (s3fs for fsspec, and that for datasets), or the tests do (jaxtyping).
NEWER = {"datasets", "fsspec", "jaxtyping"}
NOT_TRIED = {"gs", "torch"}


def test_the_oldest_versions_that_are_allowed_are_those_that_are_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name not in NOT_TRIED}
    wanted = [Requirement(line) for line in sum(extras.values(), project["dependencies"])]
    tried = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements/lowest.txt").read_text(), re.MULTILINE))
    for one in wanted:
        found, (bound,) = Version(tried[one.name]), one.specifier
        assert found in one.specifier, one
        assert one.name in NEWER or found.release[:2] == (*Version(bound.version).release, 0)[:2], one
