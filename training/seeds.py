"""Figures of the recipe over seeds: every checkpoint is exported and measured like the shipped one."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from benchmarks._pictogram_model import ShippedModel
from benchmarks._pictogram_tasks import PROMPTS, names_found, zero_shot
from benchmarks.pictogram_figures import rounded

from export import export_model

__all__ = ["figures_of", "main"]


def figures_of(checkpoint_path: Path) -> dict[str, float]:
    """Return the gated figures of one checkpoint."""
    with TemporaryDirectory() as folder:
        export_model(torch.load(checkpoint_path, weights_only=True), Path(folder))
        model = ShippedModel(Path(folder))
        names = names_found(model)
        figures = {f"names_{part}_{k}": names[part][k] for part in ("all", "reserved") for k in ("r1", "r5")}
        for group in "AB":
            affect = zero_shot(model, group, (PROMPTS,))[0]
            figures |= {f"{group}_accuracy": affect["accuracy"], f"{group}_auc": affect["auc"]}
    return figures


def main() -> None:
    """Measure every seed, keep each one's figures with mean and standard deviation, and its log."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("runs_dir", type=Path)
    parser.add_argument("figures_path", type=Path)
    parser.add_argument("seeds", type=int, nargs="+")
    args = parser.parse_args()
    by_seed = {str(seed): figures_of(args.runs_dir / f"checkpoint-{seed}.pt") for seed in args.seeds}
    columns = {key: np.array([figures[key] for figures in by_seed.values()]) for key in next(iter(by_seed.values()))}
    spread = {
        key: {"mean": float(values.mean()), "sd": float(values.std(ddof=1)) if len(values) > 1 else None}
        for key, values in columns.items()
    }
    kept = json.loads(args.figures_path.read_text()) if args.figures_path.exists() else {}
    kept["seeds"] = rounded({"figures": by_seed, "over_seeds": spread})
    args.figures_path.write_text(json.dumps(kept, indent=2) + "\n")
    for seed in args.seeds:
        shutil.copy(args.runs_dir / f"log-{seed}.jsonl", Path(__file__).parent / "logs")
    print(json.dumps(kept["seeds"]["over_seeds"]))


if __name__ == "__main__":
    main()
