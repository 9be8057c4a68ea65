"""A newcomer's first command, in a new folder with an empty environment."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a copy of the working tree as a clone would hold it: what git tracks or would add, and nothing else."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).exists():
            (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / "clone" / name)
    return tmp_path / "clone"


@pytest.mark.slow
def test_make_demo_in_a_fresh_clone(clone: Path, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "LANG"))}
    clean = kept | {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PIP_NO_CACHE_DIR": "1",
        "PYTHONDONTWRITEBYTECODE": "",
    }
    done = subprocess.run(["make", "demo"], cwd=clone, env=clean, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("scanned", "failed", "flagged", "images/s", "next"):
        assert words in done.stdout.lower(), done.stdout
    assert list((clone / "demo/run/images").glob("part-*.parquet"))
    assert not list((clone / "demo/run").rglob("*.tmp"))
