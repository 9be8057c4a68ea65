"""How fast images become stored embeddings here and elsewhere: the same files, the same random weights, the same machine.

The other sides are (a) the way of the published script: one image at a time, Pillow, torch; (b) a DataLoader with worker
processes and torch in batches of 32, as clip-retrieval does it; (c) the zero-shot pipeline of transformers, with the batch
size that it has by default and with 32. Ours is `clipsieve.scan` into a run folder. Reading, decoding and writing count on
every side, and so does the start of processes that decode; loading the model counts on none. Torch keeps its own choice of
threads, except where a row says otherwise. Large JPEGs are decoded by us at a reduced scale and by the others in full;
photographs of about 500 pixels, as taken here, gain little or nothing by that.

Each side runs in a process of its own, started anew for each measurement; the sides take turns, the slowest of them once.
Without `--full`, there are five sides and ViT-B/32 alone, with few photographs: starting weighs on ours then.

clip-retrieval itself is measured where `$CLIP_RETRIEVAL_PYTHON` names the interpreter of an environment that has it. Its weights
are random ones of its own; what its start takes is measured with a few photographs, in turn with the rest, and left out.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks._machine import describe_machine
from benchmarks._peer_sides import INT8, MAKE_INT8, OURS, REDUCED, REFERENCE, SIDES, core_seconds
from benchmarks._photographs import photographs, write_images
from benchmarks._process import how_it_ended
from benchmarks._towers import own_home, tower_folder

# Shape, number of photographs, rounds. Starting each side anew, with torch and transformers, takes longer than its work.
CASES = (("ViT-B/32", 192, 1),)
FULL_CASES = (("ViT-B/32", 320, 2), ("ViT-L/14", 32, 1))  # the larger tower is so slow that one round is steady enough
ONCE = ("(c) pipeline",)  # the slowest one, in the first round only
CLIP_RETRIEVAL = "clip-retrieval"  # where there is one, for ViT-B/32
SHORT = ("(a) one at a time, torch", REFERENCE, "(c) pipeline, batch_size=32", "clipsieve fp32", INT8)
N_WARM = 8
TIMEOUT_S = 900
LEAST_COSINE = 0.998  # fast decoding alone may cost 0.001


class SideError(Exception):
    """A side's process died, failed or hung."""


class LeftOutError(Exception):
    """A side cannot run on this machine."""


@dataclass(frozen=True)
class Taken:
    """What some images took on one side: seconds on the clock, and of all cores."""

    n: int
    seconds: float
    core_seconds: float


@dataclass(frozen=True)
class Place:
    """Where the files of one shape lie."""

    folder: Path
    models: Path

    @property
    def images(self) -> Path:
        """The photographs that are measured."""
        return self.folder / "images"

    @property
    def warm(self) -> Path:
        """A few of them, to begin with."""
        return self.folder / "warm"

    def results(self, name: str) -> Path:
        """Return a folder that is there, for what a side leaves."""
        folder = self.folder / "".join(letter if letter.isalnum() else "-" for letter in name)
        folder.mkdir(exist_ok=True)
        return folder

    def write_photographs(self, n: int) -> None:
        """Write n photographs, over and over if there are fewer."""
        contents = photographs(n)
        write_images(self.images, contents, n)
        write_images(self.warm, contents, N_WARM)


def run(command: Sequence[str]) -> None:
    """Run a process to its end; raise how it ended if that was not well."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise SideError(f"not done after {TIMEOUT_S} s") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()[-4:] or ["it said nothing"]
        raise SideError(f"{how_it_ended(done.returncode)}: {' / '.join(line.strip() for line in said)}")


def run_side(name: str, place: Place) -> Taken:
    """Measure a side once, in a process of its own."""
    results = place.results(name)
    folders = (place.models, place.images, place.warm, results)
    run([sys.executable, "-m", "benchmarks._peer_sides", name, *map(str, folders)])
    found = json.loads((results / "result.json").read_text())
    if "left_out" in found:
        raise LeftOutError(found["left_out"])
    return Taken(len(list(place.images.iterdir())), **found)


def clip_retrieval(python: str, place: Place) -> Taken:
    """Measure clip-retrieval once, for ViT-B/32: all photographs, less what a few of them take."""
    results = place.results(CLIP_RETRIEVAL)
    weights = results / "open-clip.pt"
    if not weights.exists():
        make = "import sys, torch, open_clip; torch.save(open_clip.create_model('ViT-B-32').state_dict(), sys.argv[1])"
        run([python, "-c", make, str(weights)])
    command = [str(Path(python).with_name("clip-retrieval")), "inference"]
    command += [f"--clip_model=open_clip:ViT-B-32/{weights}", "--enable_text=False", "--use_jit=False"]
    command += ["--batch_size=32", "--num_prepro_workers=2"]
    taken = []
    for images in (place.warm, place.images):
        with tempfile.TemporaryDirectory(dir=results) as output:
            start, cores = time.perf_counter(), core_seconds()
            run([*command, f"--input_dataset={images}", f"--output_folder={output}"])
            seconds, cores = time.perf_counter() - start, core_seconds() - cores
            taken.append(Taken(len(np.load(next(Path(output).rglob("*.npy")))), seconds, cores))
    few, all_ = taken
    return Taken(all_.n - few.n, all_.seconds - few.seconds, all_.core_seconds - few.core_seconds)


def measure(sides: dict[str, Callable[[], Taken]], rounds: int) -> tuple[dict[str, list[Taken]], list[str]]:
    """Measure all sides in turn; return what each took, and which failed, in words."""
    taken: dict[str, list[Taken]] = {name: [] for name in sides}
    failures, left = [], dict(sides)
    for number in range(rounds):
        for name, side in list(left.items()):
            if number and name in ONCE:
                continue
            try:
                taken[name].append(side())
            except LeftOutError as error:
                print(f"\n{name} was left out: {error}", flush=True)
                del left[name]
            except SideError as error:
                failures.append(f"{name}: {error}")
                print(f"\n{failures[-1]}", flush=True)
    return {name: each for name, each in taken.items() if each}, failures


def table(title: str, taken: dict[str, list[Taken]]) -> None:
    """Print the rates of every side, and how many times faster ours are."""
    rates = {name: [one.n / one.seconds for one in each] for name, each in taken.items()}
    ours = [name for name in OURS if name in taken]
    heads = [title, "images/s", "least to most", "core-s per image", *(f"{name} is" for name in ours)]
    print(f"\n| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for name, each in taken.items():
        rate, cores = np.median(rates[name]), np.median([one.core_seconds / one.n for one in each])
        spread = f"{min(rates[name]):.1f} to {max(rates[name]):.1f}"
        cells = " | ".join(f"{np.median(rates[our]) / rate:.2f}x" for our in ours)
        print(f"| {name} | {rate:.1f} | {spread} | {cores:.3f} | {cells} |", flush=True)


def check(place: Place) -> str:
    """Make sure that all sides have the same embeddings, and say how near ours are in each precision."""
    rows = {name: place.results(name) / "embeddings.npy" for name in SIDES}
    rows = {name: np.load(path) for name, path in rows.items() if path.exists()}
    if REFERENCE not in rows:
        return "not known, since the side to compare with failed"
    cosines = {name: (each * rows[REFERENCE]).sum(axis=1) for name, each in rows.items()}
    for name, values in cosines.items():
        assert name in REDUCED or values.min() > LEAST_COSINE, (name, values.min())
    said = [f"{name} {cosines[name].mean():.5f} ({cosines[name].min():.5f})" for name in OURS if name in cosines]
    return "; ".join(said)


def one_case(shape: str, n: int, rounds: int, folder: Path, names: Sequence[str]) -> list[str]:
    """Measure these sides, print the table, and return what failed."""
    place = Place(folder, tower_folder(shape))
    place.write_photographs(n)
    sides: dict[str, Callable[[], Taken]] = {
        name: lambda name=name: run_side(name, place) for name in names if name in SIDES
    }
    failures = []
    try:
        arguments = map(str, (place.models, place.images, place.warm, place.results(INT8)))
        run([sys.executable, "-m", "benchmarks._peer_sides", MAKE_INT8, *arguments])
    except SideError as error:
        failures.append(f"{MAKE_INT8}: {error}")
    python = os.environ.get("CLIP_RETRIEVAL_PYTHON")
    if python and CLIP_RETRIEVAL in names and shape == "ViT-B/32":
        sides[CLIP_RETRIEVAL] = lambda: clip_retrieval(python, place)
    taken, failed = measure(sides, rounds)
    table(f"{shape}, {n} photographs, median of {rounds}", taken)
    print(f"\nMean (least) cosine to torch in fp32: {check(place)}.", flush=True)
    return failures + failed


def main(*, full: bool = False) -> None:
    """Measure and print the tables; the full ones have ViT-L/14, too."""
    print(describe_machine(), flush=True)
    failures = []
    with tempfile.TemporaryDirectory() as name, own_home():
        for shape, n, rounds in FULL_CASES if full else CASES:
            folder = Path(name) / shape.replace("/", "-")
            folder.mkdir()
            failures += one_case(shape, n, rounds, folder, (*SIDES, CLIP_RETRIEVAL) if full else SHORT)
    if failures:
        sys.exit("failed: " + "; ".join(failures))


if __name__ == "__main__":
    main(full="--full" in sys.argv[1:])
