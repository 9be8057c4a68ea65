"""What a table of measurements says of the machine that made it."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["describe_machine"]


def describe_machine() -> str:
    """Return date, processor, cores and Python's version."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores of {name}, Python {platform.python_version()}"
