"""How much of a GPU the torch backend uses: against the matrix rate, what the cores can decode, and published figures.

Random weights in the true shapes of ViT-L/14, ViT-B/16 and ViT-B/32; drawn JPEGs of 500 x 375. Runs from a bare clone with
torch, transformers, tokenizers, safetensors, numpy, Pillow, pyarrow, fsspec and jaxtyping. Without a GPU it says so and ends;
`smoke()` tries every step with a tiny model on a CPU.
"""

import importlib.util
import itertools
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._gpu_inputs import Shape, write_model, write_photographs
from benchmarks._machine import describe_machine

NEEDED = (
    "torch", "transformers", "tokenizers", "safetensors", "numpy", "PIL", "pyarrow", "fsspec", "jaxtyping", "huggingface_hub",
)  # fmt: skip
CLIP_RETRIEVAL_A100, NEMO_GATE = 312, 112  # images/s of ViT-L/14 on one GPU, as published
BUDGET_S = 420  # what is not begun by then is left out, and said so


SHAPES = [
    Shape("ViT-L/14", 1024, 24, 16, 14, 768),
    Shape("ViT-B/16", 768, 12, 12, 16, 512),
    Shape("ViT-B/32", 768, 12, 12, 32, 512),
]
TINY = Shape("tiny", 32, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    device: str
    precision: str
    matrix: int
    seconds: float
    n_images: int
    repeats: int
    compile_options: dict[str, Any]
    batch_size: int | None = None


GPU = Size("cuda:0", "bf16", 8192, 0.5, 24_000, 5, {"backend": "inductor"})
SMOKE = Size("cpu", "fp32", 64, 0.0, 8, 1, {"backend": "eager"}, 8)


def missing() -> list[str]:
    """Return what has to be installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def find_clipsieve() -> None:
    """Take the package from this clone where it is not installed, here and in the decoding processes."""
    if importlib.util.find_spec("clipsieve") is None:
        source = str(Path(__file__).resolve().parents[1] / "src")
        sys.path.insert(0, source)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))


def matrix_product(size: Size) -> Callable[[Any], Any]:
    """Return a large product on ready tensors; its argument is not used."""
    import torch

    dtype = torch.bfloat16 if size.precision == "bf16" else torch.float32
    a, b = (torch.randn(size.matrix, size.matrix, dtype=dtype, device=size.device) for _ in range(2))
    return lambda _: a @ b


def forward_ways(encoder: Any, size: Size, batch_size: int, convolution: Any) -> dict[str, Callable[[Any], Any]]:  # noqa: ANN401
    """Return the ways to run the image tower on ready tensors, the plainest first; those that fail are named and left out."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from clipsieve.encoders.torch_images import ImageTower
    from clipsieve.encoders.torch_runner import CapturedTower

    dtype = next(encoder.model.parameters()).dtype
    example = torch.zeros((batch_size, *[encoder.recipe.size_px] * 2, 3), dtype=torch.uint8, device=size.device)

    def way(  # noqa: ANN202
        kernel: Any = None,  # noqa: ANN401
        attention: str = "sdpa",
        options: dict[str, Any] | None = None,
        product: bool = True,  # noqa: FBT001, FBT002
    ):
        tower = ImageTower(encoder.model, encoder.recipe, dtype)
        tower.as_written()
        encoder.model.set_attn_implementation(attention)
        assert encoder.model.config.vision_config._attn_implementation == attention  # noqa: SLF001
        encoder.model.vision_model.embeddings.patch_embedding = convolution
        if product:
            tower.project_patches()
        if options:
            torch.compiler.reset()
            tower.compile_layers(**options)
        with sdpa_kernel(kernel) if kernel else nullcontext():
            # What was recorded keeps the kernels that it was recorded with; so each way stays what it is.
            return CapturedTower(tower, example) if size.device != "cpu" else tower

    kinds: dict[str, Callable[[], Callable[[Any], Any]]] = {
        "attention written out, convolution": lambda: way(attention="eager", product=False),
        "SDPA, torch's choice, convolution": lambda: way(product=False),
        "SDPA, torch's choice, patches as a product": way,
        "SDPA, flash": lambda: way(SDPBackend.FLASH_ATTENTION),
        "SDPA, cuDNN": lambda: way(SDPBackend.CUDNN_ATTENTION),
        "SDPA, layers compiled": lambda: way(options=size.compile_options),
        "SDPA cuDNN, layers compiled": lambda: way(SDPBackend.CUDNN_ATTENTION, options=size.compile_options),
    }
    made: dict[str, Callable[[Any], Any]] = {}
    for name, make in kinds.items():
        if size.device == "cpu" and ("flash" in name or "cuDNN" in name):
            continue
        start = time.perf_counter()
        try:
            made[name] = make()
            made[name](example)
        except Exception as error:  # noqa: BLE001 - a kernel that is not there is a finding, too
            made.pop(name, None)
            print(f"- left out, {name}: {' '.join(str(error).split())[:160]}")
        else:
            print(f"- {name}: made ready in {time.perf_counter() - start:.1f} s")
    return made


def measure_forward(shape: Shape, encoder: Any, size: Size) -> tuple[float, float]:  # noqa: ANN401
    """Print the table of one shape; return the best images/s on ready tensors, and the matrix rate in FLOP/s."""
    import torch

    from clipsieve.encoders.torch_runner import seconds_for

    convolution = (
        encoder.model.vision_model.embeddings.patch_embedding
    )  # which is replaced once the encoder is made ready
    batch_size = size.batch_size or encoder.best_batch_size
    print(f"\n{shape.name}: {shape.flops / 1e9:.1f} GFLOP an image; batch {batch_size}; found: {encoder.facts}\n")
    pixels = torch.randint(0, 256, (batch_size, *[shape.side_px] * 2, 3), dtype=torch.uint8).to(size.device)
    seconds: dict[str, list[float]] = {}
    with torch.inference_mode():
        ways = {"large matrix product": matrix_product(size), **forward_ways(encoder, size, batch_size, convolution)}
        for _ in range(size.repeats):  # in turn, so that a clock that sinks sinks for all
            for name, compute in ways.items():
                seconds.setdefault(name, []).append(seconds_for(compute, pixels, at_least_s=size.seconds))
    encoder.model.set_attn_implementation("sdpa")
    best_s = {name: statistics.median(values) for name, values in seconds.items()}
    matrix_rate = 2 * size.matrix**3 / best_s.pop("large matrix product")
    print(
        f"\n| {shape.name}, {size.precision}, ready tensors | images/s | TFLOP/s | of the matrix rate |\n|---|---|---|---|"
    )
    print(f"| product of {size.matrix} x {size.matrix} | | {matrix_rate / 1e12:,.1f} | 1.00 |")
    rates = {name: batch_size / value for name, value in best_s.items()}
    for name, rate in rates.items():
        print(f"| {name} | {rate:,.0f} | {rate * shape.flops / 1e12:,.1f} | {rate * shape.flops / matrix_rate:.2f} |")
    return max(rates.values()), matrix_rate


def decode_rate(photographs: Path, encoder: Any, n: int) -> float:  # noqa: ANN401
    """Return images/s that all cores decode, from memory, with nothing else to do.

    As many are on their way when the clock stops as when it starts, so none is counted that was decoded before.
    """
    from clipsieve.engines.pool import DecodePool
    from clipsieve.images import DecodeLimits
    from clipsieve.types import ImageRef

    contents = [path.read_bytes() for path in sorted(photographs.iterdir())[:64]]
    n_cores = len(os.sched_getaffinity(0))
    window = 64 + 32 * n_cores
    with DecodePool(n_cores, encoder.recipe, DecodeLimits(), window=window) as pool:
        refs = (ImageRef(str(i), str(i), None, None, contents[i % len(contents)]) for i in itertools.count())
        results = pool.map(refs)
        for _ in itertools.islice(results, 2 * window):  # the processes have started
            pass
        start = time.perf_counter()
        for _ in itertools.islice(results, n):
            pass
        return n / (time.perf_counter() - start)


def scan_rate(photographs: Path, run: Path, encoder: Any) -> float:  # noqa: ANN401
    """Return images/s of a whole scan, from files to parts."""
    from clipsieve import open_source, scan

    report = scan(open_source(photographs), run, encoder)  # in parts of 1,000, as the command does it
    assert report.n_scanned == report.n_listed, "every photograph has an embedding"
    return report.n_scanned / report.elapsed_s


def nvjpeg_rate(photographs: Path, size: Size) -> str:
    """Return what the GPU decodes by itself, in words; to full size, and nothing else."""
    import numpy as np
    import torch

    if size.device == "cpu":
        return "not tried without a GPU"
    try:
        from torchvision.io import decode_jpeg

        files = [np.fromfile(path, dtype=np.uint8) for path in sorted(photographs.iterdir())[:64]]
        batch = [torch.from_numpy(file) for file in files]
        decode_jpeg(batch, device=size.device)
        torch.cuda.synchronize()
        start, n = time.perf_counter(), 0
        while time.perf_counter() - start < 3:
            n += len(decode_jpeg(batch, device=size.device))
        torch.cuda.synchronize()
        return f"{n / (time.perf_counter() - start):,.0f} images/s"
    except Exception as error:  # noqa: BLE001 - not built in, or no such library
        return f"not there ({' '.join(str(error).split())[:120]})"


def measure(shape: Shape, scratch: Path, photographs: Path, size: Size) -> None:
    """Print what one shape does on ready tensors and from end to end."""
    from clipsieve.encoders.torch import TorchEncoder

    folder = scratch / shape.name.replace("/", "-")
    write_model(shape, folder)
    options: dict[str, Any] = {"device": size.device, "precision": size.precision, "batch_size": size.batch_size}
    with TorchEncoder(folder, name=shape.name, location=str(folder), **options) as encoder:
        ready, _ = measure_forward(shape, encoder, size)
    decoded, scanned = [], []
    with TorchEncoder(folder, name=shape.name, location=str(folder), compiled=True, **options) as encoder:
        side = encoder.recipe.size_px
        import numpy as np

        encoder.encode_images(np.zeros((1, side, side, 3), dtype=np.uint8))  # made ready before the clock starts
        print(f"\nmade ready: {encoder.facts}")
        for repeat in range(min(size.repeats, 3)):
            decoded.append(decode_rate(photographs, encoder, size.n_images // 2))
            scanned.append(scan_rate(photographs, scratch / f"run-{folder.name}-{repeat}", encoder))
    decode, scan = statistics.median(decoded), statistics.median(scanned)
    bound = min(ready, decode)
    print(f"\n| {shape.name}, end to end | images/s | of the lower bound |\n|---|---|---|")
    print(f"| the GPU on ready tensors | {ready:,.0f} | {ready / bound:.2f} |")
    print(f"| {len(os.sched_getaffinity(0))} cores decoding | {decode:,.0f} | {decode / bound:.2f} |")
    print(f"| `clipsieve.scan` | {scan:,.0f} | {scan / bound:.2f} |")
    if shape.name == "ViT-L/14":
        for name, rate in (("clip-retrieval, A100, published", CLIP_RETRIEVAL_A100), ("NeMo's gate", NEMO_GATE)):
            print(f"| {name} | {rate} | scan is {scan / rate:.1f} times that |")


def run_all(shapes: list[Shape], size: Size) -> None:
    """Measure what fits into the time."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        write_photographs(scratch / "photographs", size.n_images)
        print(f"decoding on the device (nvJPEG, to full size): {nvjpeg_rate(scratch / 'photographs', size)}")
        took = 0.0
        for shape in shapes:
            begun = time.monotonic()
            if begun - start + took > BUDGET_S:
                print(f"\n{shape.name} was left out: no time for it")
                continue
            measure(shape, scratch, scratch / "photographs", size)
            took = time.monotonic() - begun


def smoke() -> None:
    """Try every step with a tiny model on a CPU; the tables say nothing of speed."""
    find_clipsieve()
    assert math.isclose(SHAPES[0].flops / 1e9, 162, rel_tol=0.01), "the formula gives ViT-L/14 its known cost"
    run_all([TINY], SMOKE)


def main() -> None:
    """Measure and print the tables; on a machine without a GPU, only say so."""
    print(describe_machine())
    if names := missing():
        sys.exit(f"benchmarks.gpu needs {', '.join(names)}: `pip install 'clipsieve[torch]'` brings all of it")
    import torch

    if not torch.cuda.is_available():
        print("There is no GPU here that torch can use, so nothing was measured.")
        return
    find_clipsieve()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    run_all(SHAPES, GPU)


if __name__ == "__main__":
    main()
