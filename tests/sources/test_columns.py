"""Columns by name on the command line: one that is not there is a mistake of usage, and the message lists those that are."""

import subprocess
import sys

import pytest

from image_files import png


@pytest.mark.slow
@pytest.mark.parametrize("what", ["image", "id", "label", "caption"])
def test_a_column_that_is_not_there_is_told_with_those_that_are(tmp_path, what):
    (tmp_path / "0.png").write_bytes(png(0))
    (tmp_path / "t.csv").write_text("path,key\n0.png,k0\n")
    words = ["scan", str(tmp_path / "t.csv"), "-o", str(tmp_path / "run"), f"--{what}-column", "zzz"]
    done = subprocess.run([sys.executable, "-m", "clipsieve", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert f"no column `zzz` for the {what}" in done.stderr
    assert "`path`, `key`" in done.stderr
    assert not (tmp_path / "run").exists()
