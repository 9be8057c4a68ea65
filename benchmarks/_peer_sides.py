"""One side of `benchmarks.peers`, in a process of its own: `python -m benchmarks._peer_sides SIDE MODELS IMAGES WARM RESULTS`.

MODELS is a folder of `tower_folder`; IMAGES and WARM hold the photographs that are measured and a few to begin with. RESULTS gets
`result.json`, and `embeddings.npy` where the side has embeddings. The model is loaded and tried before the clock starts.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipsieve import Run, load_encoder, open_source, scan
from clipsieve.errors import MissingExtraError, UsageError
from clipsieve.images import fit_to_recipe

__all__ = ["INT8", "MAKE_INT8", "OURS", "REDUCED", "REFERENCE", "SIDES", "core_seconds"]

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)
LABELS = ["something positive", "something negative"]

# From a folder of photographs and one to write to, to the embeddings if there are any.
Work = Callable[[Path, Path], np.ndarray | None]


class Photographs:
    """Files as the reference prepares them: what open_clip's transforms do, in Pillow and numpy."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.iterdir())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401 - a torch tensor
        import torch

        with Image.open(self.paths[index]) as image:
            scale = 224 / min(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            fitted = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        left, top = (size[0] - 224) // 2, (size[1] - 224) // 2
        pixels = np.asarray(fitted.crop((left, top, left + 224, top + 224)), dtype=np.float32) / np.float32(255)
        return torch.from_numpy(((pixels - MEAN) / STD).transpose(2, 0, 1).copy())


@contextmanager
def torch_side(models: Path, *, batch_size: int, workers: int = 0, threads: int | None = None) -> Iterator[Work]:
    """Yield (a) for a batch of one without workers, and (b) otherwise; torch chooses its threads unless they are given."""
    import torch
    from torch.utils.data import DataLoader
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(models / "torch").eval()
    if threads is not None:
        torch.set_num_threads(threads)

    def work(images: Path, scratch: Path) -> np.ndarray:
        batches = DataLoader(Photographs(images), batch_size=batch_size, num_workers=workers)  # type: ignore[arg-type]
        with torch.inference_mode():
            found = [model.get_image_features(batch).pooler_output for batch in batches]
        rows = torch.nn.functional.normalize(torch.cat(found), dim=-1).numpy()
        np.save(scratch / "written.npy", rows.astype(np.float16))
        return rows

    yield work


@contextmanager
def pipeline_side(models: Path, *, batch_size: int) -> Iterator[Work]:
    """Yield (c): it gives probabilities of labels in place of embeddings."""
    from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel, pipeline

    folder = models / "torch"
    pipe = pipeline(
        "zero-shot-image-classification",
        model=CLIPModel.from_pretrained(folder).eval(),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        image_processor=CLIPImageProcessorPil.from_pretrained(folder),
    )

    def work(images: Path, scratch: Path) -> None:
        paths = [str(path) for path in sorted(images.iterdir())]
        found = list(pipe(paths, candidate_labels=LABELS, batch_size=batch_size))
        assert len(found) == len(paths)
        (scratch / "scores.json").write_text(json.dumps(found))

    yield work


@contextmanager
def our_side(models: Path, **options: str) -> Iterator[Work]:
    """Yield a scan, which writes Parquet."""

    def work(images: Path, scratch: Path) -> np.ndarray:
        with tempfile.TemporaryDirectory(dir=scratch) as name:
            scan(open_source(images), Path(name) / "run", encoder)
            parts = Run.open(Path(name) / "run").iter_images(["embedding"])
            return np.concatenate([np.array(part.column("embedding").to_pylist(), np.float32) for part in parts])

    with load_encoder(str(models / "onnx"), **options) as encoder:  # type: ignore[arg-type]
        encoder.encode_images(np.zeros((1, 224, 224, 3), dtype=np.uint8))
        yield work


REFERENCE, INT8 = "(b) DataLoader, 2 workers, torch", "clipsieve int8"
MAKE_INT8 = "make int8"  # no side: what is done once, before the int8 one
SIDES: dict[str, Callable[[Path], AbstractContextManager[Work]]] = {
    "(a) one at a time, torch": partial(torch_side, batch_size=1),
    REFERENCE: partial(torch_side, batch_size=32, workers=2),
    "(b) 2 workers, torch with 1 thread": partial(torch_side, batch_size=32, workers=2, threads=1),
    "(c) pipeline": partial(pipeline_side, batch_size=1),
    "(c) pipeline, batch_size=32": partial(pipeline_side, batch_size=32),
    "clipsieve fp32": our_side,
    "clipsieve fp32, OpenVINO": partial(our_side, backend="openvino"),
    "clipsieve bf16": partial(our_side, precision="bf16"),
    INT8: partial(our_side, precision="int8"),
}
OURS = [name for name in SIDES if name.startswith("clipsieve")]
REDUCED = ("clipsieve bf16", INT8)


def make_int8(models: Path, images: Path) -> None:
    """Make the int8 tower of a model folder, calibrated on some photographs."""
    from clipsieve.encoders.quantize import FEWEST_IMAGES, quantize

    with load_encoder(str(models / "onnx")) as encoder:
        recipe = encoder.recipe
    pixels = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(images.iterdir())[:FEWEST_IMAGES]]
    quantize(models / "onnx", np.stack([fit_to_recipe(each, recipe) for each in pixels]))


def core_seconds() -> float:
    """Return what this process and its ended children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def measure(name: str, models: Path, images: Path, warm: Path, results: Path) -> dict[str, object]:
    """Return what is written of a side: what it took, or why it cannot run here."""
    try:
        with SIDES[name](models) as work:
            work(warm, results)
            start, cores = time.perf_counter(), core_seconds()
            rows = work(images, results)
            seconds, cores = time.perf_counter() - start, core_seconds() - cores
    except (MissingExtraError, UsageError) as error:
        return {"left_out": error.what}
    if rows is not None:
        np.save(results / "embeddings.npy", rows)
    return {"seconds": seconds, "core_seconds": cores}


def main(side: str, *folders: str) -> None:
    """Measure one side, or make the int8 tower."""
    models, images, warm, results = map(Path, folders)
    if side == MAKE_INT8:
        make_int8(models, images)
    else:
        found = measure(side, models, images, warm, results)
        (results / "result.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
