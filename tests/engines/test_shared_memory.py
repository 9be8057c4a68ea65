"""Memory that two processes share: of the size asked for, without a name, and gone when it is closed."""

import os
import subprocess
import sys

import pytest

from clipsieve.engines.shared_memory import open_segment
from open_files import open_files, opened_since


@pytest.fixture(params=["memory", "file"])
def kind(request, monkeypatch):
    if request.param == "file":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    return request.param


@pytest.mark.parametrize("n_bytes", [0, 1, 10_000])
def test_it_has_its_size_and_holds_zeros(kind, n_bytes):
    segment = open_segment(n_bytes)
    try:
        assert os.fstat(segment).st_size == n_bytes
        assert os.pread(segment, n_bytes + 1, 0) == bytes(n_bytes)
        assert os.fstat(segment).st_nlink == 0
    finally:
        os.close(segment)


def test_another_process_writes_into_it(kind):
    segment = open_segment()
    try:
        code = f"import os; os.pwrite({segment}, b'pixels', 3)"
        subprocess.run([sys.executable, "-c", code], pass_fds=[segment], check=True)
        assert os.pread(segment, 100, 0) == b"\0\0\0pixels"
    finally:
        os.close(segment)


def test_a_size_that_cannot_be_leaves_no_descriptor(kind):
    before = open_files()
    with pytest.raises(OSError, match="Invalid"):
        open_segment(-1)
    assert not opened_since(before)
