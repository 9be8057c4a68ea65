"""The figures of the embedded model's card, measured from the shipped files.

`python -m benchmarks.pictogram_figures` prints them; `--write` also keeps them in `docs/models/pictogram-figures.json`.
Figures that need more than the shipped files (parity with the checkpoint, other seeds, a drawing style that is not part
of the project) are added to the same file by `training/make`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from benchmarks._pictogram_model import ShippedModel
from benchmarks._pictogram_tasks import PROMPTS, demo_figures, free_text, names_found, zero_shot

__all__ = ["FIGURES_PATH", "main", "measure", "rounded"]

ROOT = Path(__file__).parent.parent
FIGURES_PATH = ROOT / "docs/models/pictogram-figures.json"
MORE_PROMPTS = {
    "pleasant": ("something unpleasant", "something pleasant"),
    "praiseworthy": ("This image is about something blameworthy", "This image is about something praiseworthy"),
}


def _images_per_s(model: ShippedModel) -> float:
    pixels = np.random.default_rng(0).integers(0, 256, (1024, model.size_px, model.size_px, 3), dtype=np.uint8)
    model.encode_fitted(pixels[:256])
    begun = time.perf_counter()
    model.encode_fitted(pixels)
    return len(pixels) / (time.perf_counter() - begun)


def measure(model: ShippedModel) -> dict[str, object]:
    """Return every figure that the shipped files alone decide."""
    demo, rows, images = demo_figures(model)
    by_group = {group: zero_shot(model, group, (PROMPTS, *MORE_PROMPTS.values())) for group in "AB"}
    return {
        "bytes": model.n_bytes,
        "names": names_found(model),
        "zero_shot": {group: figures[0] for group, figures in by_group.items()},
        "zero_shot_auc_of_other_prompts": {
            name: {group: figures[place]["auc"] for group, figures in by_group.items()}
            for place, name in enumerate(MORE_PROMPTS, 1)
        },
        "demo_data": demo,
        "free_text": free_text(model, rows, images, Path(__file__).with_name("free_text.toml")),
    }


def rounded(value: object) -> object:
    """Return figures with four decimals."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def _table(figures: dict[str, object], prefix: str = "") -> None:
    for key, value in figures.items():
        if isinstance(value, dict):
            _table(value, f"{prefix}{key}.")
        else:
            print(f"{prefix + key:48} {value}")


def main(argv: list[str] | None = None) -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--write", action="store_true", help=f"keep the figures in {FIGURES_PATH.relative_to(ROOT)}")
    args = parser.parse_args(argv if argv is not None else [])
    model = ShippedModel()
    figures = rounded(measure(model))
    assert isinstance(figures, dict)
    if args.write:
        kept = json.loads(FIGURES_PATH.read_text()) if FIGURES_PATH.exists() else {}
        FIGURES_PATH.write_text(json.dumps({**kept, "shipped": figures}, indent=2) + "\n")
    if args.json:
        print(json.dumps(figures))
    else:
        _table(figures)
        print(f"{'images per second (image tower, on this machine)':48} {_images_per_s(model):.0f}")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
