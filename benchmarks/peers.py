"""How fast images become stored embeddings here and elsewhere: the same files, the same random weights, the same machine.

The other sides are (a) the way of the published script: one image at a time, Pillow, torch; (b) a DataLoader with worker
processes and torch in batches of 32, as clip-retrieval does it; (c) the zero-shot pipeline of transformers, with the batch
size that it has by default and with 32. Ours is `clipsieve.scan` into a run folder. Reading, decoding and writing count on
every side; loading the model on none. Torch keeps its own choice of threads, except where a row says otherwise.

clip-retrieval itself is measured where `$CLIP_RETRIEVAL_PYTHON` names the interpreter of an environment that has it.
"""

import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks._machine import describe_machine
from benchmarks._photographs import photographs
from benchmarks._towers import tower_folder
from clipsieve import Run, load_encoder, open_source, scan
from clipsieve.encoders import Encoder
from clipsieve.errors import UsageError
from clipsieve.images import fit_to_recipe

# Shape, number of photographs, rounds; the larger tower is so slow that one round of few images is steady enough.
CASES = (("ViT-B/32", 150, 2), ("ViT-L/14", 12, 1))
N_CALIBRATION = 32
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
LABELS = ["something positive", "something negative"]

Side = Callable[[Path], np.ndarray | None]


class Photographs:
    """Files as the reference prepares them: what open_clip's transforms do, in Pillow and numpy."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401 - a torch tensor
        import torch

        with Image.open(self.paths[index]) as image:
            scale = 224 / min(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            fitted = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        left, top = (size[0] - 224) // 2, (size[1] - 224) // 2
        pixels = np.asarray(fitted.crop((left, top, left + 224, top + 224)), dtype=np.float32) / 255
        return torch.from_numpy(((pixels - MEAN) / STD).astype(np.float32).transpose(2, 0, 1).copy())


def torch_side(model: Any, paths: list[Path], *, batch_size: int, workers: int = 0) -> Side:  # noqa: ANN401
    """Return (a) for a batch of one without workers, and (b) otherwise."""
    import torch
    from torch.utils.data import DataLoader

    def run(scratch: Path) -> np.ndarray:
        batches = DataLoader(Photographs(paths), batch_size=batch_size, num_workers=workers)  # type: ignore[arg-type]
        with torch.inference_mode():
            found = [model.get_image_features(batch).pooler_output for batch in batches]
        rows = torch.nn.functional.normalize(torch.cat(found), dim=-1).numpy()
        np.save(scratch / "embeddings.npy", rows.astype(np.float16))
        return rows

    return run


def with_threads(n: int, side: Side) -> Side:
    """Return a side for which torch is told how many threads to use."""
    import torch

    def run(scratch: Path) -> np.ndarray | None:
        before = torch.get_num_threads()
        torch.set_num_threads(n)
        try:
            return side(scratch)
        finally:
            torch.set_num_threads(before)

    return run


def pipeline_side(model: Any, folder: Path, paths: list[Path], batch_size: int) -> Side:  # noqa: ANN401
    """Return (c): it gives probabilities of labels in place of embeddings."""
    from transformers import AutoTokenizer, CLIPImageProcessorPil, pipeline

    pipe = pipeline(
        "zero-shot-image-classification",
        model=model,
        tokenizer=AutoTokenizer.from_pretrained(folder),
        image_processor=CLIPImageProcessorPil.from_pretrained(folder),
    )

    def run(scratch: Path) -> None:
        found = list(pipe([str(path) for path in paths], candidate_labels=LABELS, batch_size=batch_size))
        assert len(found) == len(paths)
        (scratch / "scores.json").write_text(json.dumps(found))

    return run


def our_side(encoder: Encoder, images: Path) -> Side:
    """Return a scan, which writes Parquet."""

    def run(scratch: Path) -> np.ndarray:
        with tempfile.TemporaryDirectory(dir=scratch) as name:
            scan(open_source(images), Path(name) / "run", encoder)
            parts = Run.open(Path(name) / "run").iter_images(["embedding"])
            return np.concatenate([np.array(part.column("embedding").to_pylist(), np.float32) for part in parts])

    return run


def our_encoders(folder: Path, paths: list[Path]) -> Iterator[tuple[str, Encoder]]:
    """Yield our encoders: fp32, and bf16 and int8 where OpenVINO is there and the processor can."""
    yield "clipsieve fp32", load_encoder(str(folder))
    if find_spec("openvino") is None:
        return
    yield "clipsieve fp32, OpenVINO", load_encoder(str(folder), backend="openvino")
    try:
        yield "clipsieve bf16", load_encoder(str(folder), precision="bf16")
    except UsageError as error:
        print(f"no bf16: {error}")
    make_int8(folder, paths[:N_CALIBRATION])
    yield "clipsieve int8", load_encoder(str(folder), precision="int8")


def make_int8(folder: Path, paths: list[Path]) -> None:
    """Make the int8 tower of a model folder, calibrated on some photographs."""
    from clipsieve.encoders.quantize import quantize

    with load_encoder(str(folder)) as encoder:
        recipe = encoder.recipe
    images = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    quantize(folder, np.stack([fit_to_recipe(image, recipe) for image in images]))


def measure(side: Side, scratch: Path) -> tuple[float, float, np.ndarray | None]:
    """Return seconds on the clock, seconds of all cores, and what came of it."""
    start, cores = time.perf_counter(), core_seconds()
    rows = side(scratch)
    return time.perf_counter() - start, core_seconds() - cores, rows


def core_seconds() -> float:
    """Return what this process and its ended children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


@contextmanager
def sides(shape: str, images: Path) -> Iterator[dict[str, Side]]:
    """Yield every side, its model loaded and tried once."""
    from transformers import CLIPModel

    paths = sorted(images.iterdir())
    models = tower_folder(shape)
    model = CLIPModel.from_pretrained(models / "torch").eval()
    loader = torch_side(model, paths, batch_size=32, workers=2)
    found = {
        "(a) one at a time, torch": torch_side(model, paths, batch_size=1),
        "(b) DataLoader, 2 workers, torch": loader,
        "(b) 1 worker": torch_side(model, paths, batch_size=32, workers=1),
        "(b) 2 workers, torch with 1 thread": with_threads(1, loader),
        "(c) pipeline": pipeline_side(model, models / "torch", paths, 1),
        "(c) pipeline, batch_size=32": pipeline_side(model, models / "torch", paths, 32),
    }
    encoders = dict(our_encoders(models / "onnx", paths))
    try:
        blank = np.zeros((2, 224, 224, 3), dtype=np.uint8)
        for name, encoder in encoders.items():
            encoder.encode_images(blank)
            found[name] = our_side(encoder, images)
        yield found
    finally:
        for encoder in encoders.values():
            encoder.close()


def check(found: dict[str, np.ndarray]) -> str:
    """Make sure that ours and theirs are the same embeddings, and say how near ours are in each precision."""
    theirs = found["(b) DataLoader, 2 workers, torch"]
    cosines = {name: (rows * theirs).sum(axis=1) for name, rows in found.items() if name.startswith("clipsieve")}
    assert cosines["clipsieve fp32"].min() > 0.998, cosines
    return "; ".join(f"{name} {values.mean():.5f} ({values.min():.5f})" for name, values in cosines.items())


def table(shape: str, n: int, taken: dict[str, list[tuple[float, float]]]) -> None:
    """Print the rates of every side, and how many times faster ours are."""
    ours = [name for name in taken if name.startswith("clipsieve")]
    print(f"\n| {shape}, {n} photographs | images/s | core-s per image | " + " | ".join(f"{o} is" for o in ours) + " |")
    print("|---" * (3 + len(ours)) + "|")
    seconds = {name: float(np.median([wall for wall, _ in each])) for name, each in taken.items()}
    for name, each in taken.items():
        cells = " | ".join(f"{seconds[name] / seconds[o]:.2f}x" for o in ours)
        print(f"| {name} | {n / seconds[name]:.1f} | {np.median([cpu for _, cpu in each]) / n:.3f} | {cells} |")


def clip_retrieval(python: str, images: Path, scratch: Path, n: int) -> tuple[float, float]:
    """Return what clip-retrieval itself takes for ViT-B/32 with random weights; its own start is measured apart, and left out."""
    weights = scratch / "open-clip.pt"
    make = "import sys, torch, open_clip; torch.save(open_clip.create_model('ViT-B-32').state_dict(), sys.argv[1])"
    subprocess.run([python, "-c", make, str(weights)], check=True, capture_output=True)  # noqa: S603
    few = scratch / "few"
    few.mkdir()
    first = min(images.iterdir())
    (few / first.name).write_bytes(first.read_bytes())
    command = [
        str(Path(python).with_name("clip-retrieval")),
        "inference",
        "--clip_model",
        f"open_clip:ViT-B-32/{weights}",
    ]
    command += ["--enable_text=False", "--use_jit=False", "--batch_size=32", "--num_prepro_workers=2"]
    taken = []
    for number, folder in enumerate((few, images)):
        ends = [f"--input_dataset={folder}", f"--output_folder={scratch / f'theirs-{number}'}"]
        start, cores = time.perf_counter(), core_seconds()
        subprocess.run([*command, *ends], check=True, capture_output=True)  # noqa: S603
        taken.append((time.perf_counter() - start, core_seconds() - cores))
    assert len(np.load(next((scratch / "theirs-1").rglob("*.npy")))) == n
    return taken[1][0] - taken[0][0], taken[1][1] - taken[0][1]


def one_case(shape: str, n: int, rounds: int, scratch: Path) -> None:
    """Measure every side in turn, and print the table."""
    images = scratch / "images"
    images.mkdir()
    for number, content in enumerate(photographs(n)):
        (images / f"{number:04d}.jpg").write_bytes(content)
    n = len(list(images.iterdir()))
    taken: dict[str, list[tuple[float, float]]] = {}
    embeddings: dict[str, np.ndarray] = {}
    with sides(shape, images) as found:
        for _ in range(rounds):
            for name, side in found.items():
                wall, cores, rows = measure(side, scratch)
                taken.setdefault(name, []).append((wall, cores))
                if rows is not None:
                    embeddings[name] = rows
    python = os.environ.get("CLIP_RETRIEVAL_PYTHON")
    if python and shape == "ViT-B/32":
        taken["clip-retrieval"] = [clip_retrieval(python, images, scratch, n)]
    table(shape, n, taken)
    print(f"\nMean (least) cosine to torch in fp32: {check(embeddings)}.")


def main() -> None:
    """Measure and print the tables."""
    print(describe_machine())
    before = os.environ.get("CLIPSIEVE_HOME")
    with tempfile.TemporaryDirectory() as name:
        os.environ["CLIPSIEVE_HOME"] = str(Path(name) / "home")
        try:
            for shape, n, rounds in CASES:
                folder = Path(name) / shape.replace("/", "-")
                folder.mkdir()
                one_case(shape, n, rounds, folder)
        finally:
            os.environ.pop("CLIPSIEVE_HOME") if before is None else os.environ.update(CLIPSIEVE_HOME=before)


if __name__ == "__main__":
    main()
