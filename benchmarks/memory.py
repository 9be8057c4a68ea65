"""Whether the memory of a scan grows with the data set: 100,000 small images, as files and in tar files.

The real command in a process of its own; its resident memory, and that of its decoding processes, is read while it runs.
"""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks._machine import describe_machine

N_IMAGES, N_DIFFERENT, N_TARS = 100_000, 200, 10
MARKS = (0.1, 0.25, 0.5, 0.75, 1.0)


def small_images() -> list[bytes]:
    """Return some encoded images of 32 x 32 pixels."""
    rng, found = np.random.default_rng(0), []
    for _ in range(N_DIFFERENT):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "JPEG", quality=80)
        found.append(file.getvalue())
    return found


def write_folder(folder: Path, images: list[bytes]) -> None:
    """Write every image under many names; hard links, since their content does not matter here."""
    (folder / "000").mkdir(parents=True)
    for number, image in enumerate(images):
        (folder / "000" / f"{number:06d}.jpg").write_bytes(image)
    for number in range(len(images), N_IMAGES):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(exist_ok=True)
        os.link(folder / "000" / f"{number % len(images):06d}.jpg", path)


def write_tars(folder: Path, images: list[bytes]) -> None:
    """Write the same as a WebDataset."""
    folder.mkdir()
    for number in range(N_TARS):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for index in range(N_IMAGES // N_TARS):
                content = images[index % len(images)]
                member = tarfile.TarInfo(f"{number:03d}{index:06d}.jpg")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def resident_mib(process: int) -> tuple[float, float]:
    """Return the resident memory of a process, and of its children."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return _rss(process), sum(_rss(int(child)) for child in children)


def _rss(process: int) -> float:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def watch(source: Path, run: Path) -> list[tuple[float, float, float]]:
    """Scan, and return (fraction done, MiB of the command, MiB of its decoders) at each sight of a new part."""
    command = [sys.executable, "-m", "clipsieve", "scan", str(source), "-o", str(run), "--part-size", "1000", "-q"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603
    seen: list[tuple[float, float, float]] = []
    while process.poll() is None:
        n_parts = len(list((run / "images").glob("part-*"))) if (run / "images").exists() else 0
        if n_parts:
            seen.append((n_parts * 1000 / N_IMAGES, *resident_mib(process.pid)))
        time.sleep(0.2)
    assert process.returncode == 0, process.stderr and process.stderr.read()
    return seen


def main() -> None:
    """Measure and print the table."""
    print(describe_machine())
    images = small_images()
    columns = " | ".join(f"{mark:.0%}" for mark in MARKS)
    print(f"\n| {N_IMAGES:,} images, MiB of the command (and of its decoders) at | {columns} | images/s |")
    print("|---" * (len(MARKS) + 2) + "|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, write in (("folder", write_folder), ("webdataset", write_tars)):
            write(folder / kind, images)
            start = time.perf_counter()
            seen = watch(folder / kind, folder / f"{kind}-run")
            rate = N_IMAGES / (time.perf_counter() - start)
            cells = [min(seen, key=lambda each: abs(each[0] - mark)) for mark in MARKS]
            print(
                f"| {kind} | "
                + " | ".join(f"{own:.0f} ({theirs:.0f})" for _, own, theirs in cells)
                + f" | {rate:,.0f} |"
            )


if __name__ == "__main__":
    main()
