"""Whether time and memory grow with the data set in any other way than its images do, and what a start costs.

Small images, as files and in tar files, scanned by the real command with the embedded model: time per image, and the most
memory that the command and its decoding processes hold. Then a second scan of a finished run, which lists everything, finds
every part done and encodes nothing. Then the start of the command line.

`python -m benchmarks.growth` goes to 10,000 images; with `--full` to 1,000,000, which takes an hour on two cores.
"""

import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks._machine import describe_machine
from clipsieve import load_encoder, open_source, scan, write_demo_data
from clipsieve.engines import LocalEngine
from clipsieve.engines.base import FinishedShard, ScanJob
from clipsieve.types import EmbeddedImage, FileFacts, ImageRef, Shard

SIZES, FULL_SIZES = (1_000, 10_000), (1_000, 10_000, 100_000, 1_000_000)
LISTED, FULL_LISTED = 30_000, 1_000_000
N_DIFFERENT, N_IN_FOLDER, N_IN_TAR = 200, 1_000, 10_000
N_STARTS = 5
STARTS = {
    "an empty Python": ["-c", ""],
    "import clipsieve": ["-c", "import clipsieve"],
    "clipsieve --help": ["-m", "clipsieve", "--help"],
    "clipsieve scan --help": ["-m", "clipsieve", "scan", "--help"],
}


def small_images() -> list[bytes]:
    """Return some encoded images of 32 x 32 pixels."""
    rng, found = np.random.default_rng(0), []
    for _ in range(N_DIFFERENT):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "JPEG", quality=80)
        found.append(file.getvalue())
    return found


def write_folder(folder: Path, images: list[bytes], n: int) -> None:
    """Write every image under many names; hard links, since their content does not matter here."""
    (folder / "000").mkdir(parents=True)
    for number, image in enumerate(images):
        (folder / "000" / f"{number:06d}.jpg").write_bytes(image)
    for number in range(len(images), n):
        path = folder / f"{number // N_IN_FOLDER:03d}" / f"{number:06d}.jpg"
        if number % N_IN_FOLDER == 0:
            path.parent.mkdir(exist_ok=True)
        os.link(folder / "000" / f"{number % len(images):06d}.jpg", path)


def write_tars(folder: Path, images: list[bytes], n: int) -> None:
    """Write the same as a WebDataset."""
    folder.mkdir()
    for start in range(0, n, N_IN_TAR):
        with tarfile.open(folder / f"{start // N_IN_TAR:05d}.tar", "w") as tar:
            for number in range(start, min(start + N_IN_TAR, n)):
                content = images[number % len(images)]
                member = tarfile.TarInfo(f"{number:08d}.jpg")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


@dataclass(frozen=True)
class Scanned:
    """What one command took: seconds, and MiB at most, of itself and of its decoding processes."""

    seconds: float
    own_mib: float
    decoders_mib: float


def watch(source: Path, run: Path) -> Scanned:
    """Scan in a process of its own, and see how much memory it holds."""
    command = [sys.executable, "-m", "clipsieve", "scan", str(source), "-o", str(run), "-q"]
    start, own, decoders = time.perf_counter(), 0.0, 0.0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603
    while process.poll() is None:
        own = max(own, _mib(process.pid))
        decoders = max(decoders, sum(map(_mib, _children(process.pid))))
        time.sleep(0.05)
    assert process.returncode == 0, process.stderr and process.stderr.read()
    return Scanned(time.perf_counter() - start, own, decoders)


def _children(process: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _mib(process: int) -> float:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def scans(scratch: Path, images: list[bytes], sizes: tuple[int, ...]) -> None:
    """Print what scans of growing data sets take; of the time, what an image of the smallest takes is the measure."""
    print("\n| a scan of | images | s | ms per further image | MiB at most | MiB of its decoders |")
    print("|---|---|---|---|---|---|")
    for kind, write in (("a folder", write_folder), ("tar files", write_tars)):
        before = None
        for n in sizes:
            folder = scratch / f"{kind.replace(' ', '-')}-{n}"
            write(folder, images, n)
            found = watch(folder, folder.with_name(f"{folder.name}-run"))
            further = "" if before is None else f"{1000 * (found.seconds - before[1]) / (n - before[0]):.3f}"
            print(
                f"| {kind} | {n:,} | {found.seconds:.1f} | {further} | {found.own_mib:.0f} | {found.decoders_mib:.0f} |"
            )
            before = n, found.seconds


class Finished(LocalEngine):
    """Gives every input the same embedding, and opens none: a run is there as if it had been scanned."""

    def embed(
        self, job: ScanJob, shards: Iterable[Shard], on_images: Callable[[int], object]
    ) -> Generator[FinishedShard, None, None]:
        """Yield each shard with its rows."""
        dim = job.encoder.identity.embedding_dim
        embedding, facts = np.full(dim, dim**-0.5, np.float32), FileFacts("0" * 64, 1000, 32, 32, "JPEG")
        for shard in shards:
            refs = (ImageRef(f"{shard.index}-{i}", "file:///", None, None, b"") for i in range(shard.n_images))
            on_images(shard.n_images)
            yield job.finish(shard, [EmbeddedImage(ref, facts, embedding) for ref in refs])


def resumes(scratch: Path, images: list[bytes], n: int) -> None:
    """Print what a second scan of a finished run takes, beside one of a thousand images."""
    print(
        "\n| a second scan of | images | listing, s | listing and resume, s | MiB at most | bytes per file beyond 1,000 |"
    )
    print("|---|---|---|---|---|---|")
    with load_encoder() as encoder:
        for kind, write in (("a folder", write_folder), ("tar files", write_tars)):
            least = 0.0
            for size in (1_000, n):
                folder = scratch / f"listed-{kind.replace(' ', '-')}-{size}"
                write(folder, images, size)
                run = folder.with_name(f"{folder.name}-run")
                start = time.perf_counter()
                open_source(folder).plan(1000)
                listing = time.perf_counter() - start
                scan(open_source(folder), run, encoder, engine=Finished())
                found = watch(folder, run)
                beyond = f"{(found.own_mib - least) * 2**20 / (size - 1000):.0f}" if size > 1000 else ""
                least = least or found.own_mib
                print(f"| {kind} | {size:,} | {listing:.2f} | {found.seconds:.2f} | {found.own_mib:.0f} | {beyond} |")


def starts(scratch: Path) -> None:
    """Print what it takes until the command line is there, and what a scan of 100 images takes over the work itself."""
    taken: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(N_STARTS):
        for name, arguments in STARTS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
            taken[name].append(time.perf_counter() - start)
    print(f"\n| start | s (median of {N_STARTS}) |\n|---|---|")
    for name, each in taken.items():
        print(f"| {name} | {statistics.median(each):.2f} |")
    whole, work = hundred(scratch)
    print(f"| clipsieve scan of 100 images | {whole:.2f} |")
    print(f"| of that, decoding and encoding alone | {work:.2f} |")
    print(f"| over the work itself | {whole - work:.2f} |")


def hundred(scratch: Path) -> tuple[float, float]:
    """Return seconds of a scan of 100 pictures, and of a second scan in a process that has everything loaded."""
    write_demo_data(scratch / "demo")
    folder = scratch / "hundred"
    folder.mkdir()
    for path in sorted((scratch / "demo").rglob("pictogram_*.png"))[:100]:
        os.link(path, folder / path.name)
    whole = [watch(folder, scratch / f"hundred-run-{i}").seconds for i in range(N_STARTS)]
    return statistics.median(whole), _work(folder)


def _work(folder: Path) -> float:
    from clipsieve.images import DecodeLimits, decode, fit_to_recipe
    from clipsieve.types import DecodedImage

    refs = [ref for shard in open_source(folder).plan(1000).shards for ref in open_source(folder).read(shard)]
    with load_encoder() as encoder:
        start = time.perf_counter()
        images = [decode(ref, DecodeLimits()) for ref in refs]
        fitted = [fit_to_recipe(each.pixels, encoder.recipe) for each in images if isinstance(each, DecodedImage)]
        encoder.encode_images(np.stack(fitted))
        return time.perf_counter() - start


def main(*, full: bool = False) -> None:
    """Measure and print the tables."""
    print(describe_machine())
    images = small_images()
    with tempfile.TemporaryDirectory() as name:
        starts(Path(name))
        scans(Path(name), images, FULL_SIZES if full else SIZES)
        resumes(Path(name), images, FULL_LISTED if full else LISTED)


if __name__ == "__main__":
    main(full="--full" in sys.argv[1:])
