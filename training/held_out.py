"""Figures in a drawing style that training never saw (OpenMoji, CC BY-SA: only measured, never part of the project)."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks._pictogram_model import ShippedModel
from benchmarks._pictogram_tasks import PROMPTS, names_found, zero_shot
from benchmarks.pictogram_figures import rounded

from atlas import HELD_OUT, build_atlas

__all__ = ["held_out_figures", "main"]


def held_out_figures(model: ShippedModel, icons_dir: Path) -> dict[str, object]:
    """Return name retrieval and zero-shot figures on the held-out style."""
    with TemporaryDirectory() as folder:
        style = str(Path(folder).resolve() / HELD_OUT)
        build_atlas(icons_dir, HELD_OUT).save(f"{style}.webp", lossless=True)
        names = names_found(model, styles=(style,))
        affect = {group: zero_shot(model, group, (PROMPTS,), styles=(style,))[0] for group in "AB"}
    return {"style": HELD_OUT, "names": {"n_names": names["n_names"], **names["all"]}, "zero_shot": affect}


def main() -> None:
    """Measure, and keep the figures beside the others."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("icons_dir", type=Path)
    parser.add_argument("figures_path", type=Path)
    args = parser.parse_args()
    kept = json.loads(args.figures_path.read_text()) if args.figures_path.exists() else {}
    kept["held_out_style"] = rounded(held_out_figures(ShippedModel(), args.icons_dir))
    args.figures_path.write_text(json.dumps(kept, indent=2) + "\n")
    print(json.dumps(kept["held_out_style"]))


if __name__ == "__main__":
    main()
