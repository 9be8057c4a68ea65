"""Draw the sprite sheets: every pictogram of the table in every drawing style, from the SVGs of the npm packages."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

from clipsieve.demo.sprites import COLUMNS, SPRITE_DIR, SPRITE_PX, STYLES
from clipsieve.demo.table import load_pictograms

__all__ = ["HELD_OUT", "PACKAGES", "build_atlas", "main"]

# The npm package of each style; `package.json` pins the versions.
PACKAGES = {
    "noto": "@iconify-json/noto",
    "twemoji": "@iconify-json/twemoji",
    "fluent": "@iconify-json/fluent-emoji-flat",
    "emojitwo": "@iconify-json/emojione",
    "blob": "@iconify-json/noto-v1",
    "openmoji": "@iconify-json/openmoji",
}
HELD_OUT = "openmoji"
# Packages without a map from code points go by name; these know the names they are likely to use.
_NAMERS = ("noto", "fluent", "twemoji", "openmoji")


def package_dir(icons_dir: Path, style: str) -> Path:
    """Return where `npm install` puts the SVGs of one style."""
    return icons_dir / "node_modules" / PACKAGES[style]


def _load(icons_dir: Path, style: str, file: str) -> dict[str, object]:
    path = package_dir(icons_dir, style) / file
    return json.loads(path.read_text()) if path.exists() else {}


class _Icons:
    """The SVG bodies of one package, found by code point."""

    def __init__(self, icons_dir: Path, style: str) -> None:
        data = _load(icons_dir, style, "icons.json")
        self.bodies, self.aliases = data["icons"], data.get("aliases", {})
        self.width, self.height = data.get("width", data["height"]), data["height"]
        own = _load(icons_dir, style, "chars.json")
        self.maps = [own] if own else [_load(icons_dir, namer, "chars.json") for namer in _NAMERS]

    def svg(self, code_point: str) -> str | None:
        for chars in self.maps:
            name = chars.get(code_point)
            name = self.aliases.get(name, {}).get("parent", name)
            if name in self.bodies:
                icon = self.bodies[name]
                box = f"0 0 {icon.get('width', self.width)} {icon.get('height', self.height)}"
                return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{icon["body"]}</svg>'
        return None


def _render(svg: str) -> Image.Image:
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=4 * SPRITE_PX))
    image = Image.open(io.BytesIO(png)).convert("RGBa")
    image = image.resize((SPRITE_PX, SPRITE_PX), Image.Resampling.BOX).convert("RGBA")
    pixels = np.array(image)
    pixels[pixels[..., 3] < 8] = 0
    return Image.fromarray(pixels)


def build_atlas(icons_dir: Path, style: str) -> Image.Image:
    """Return one sheet: row-major cells in the order of the table; a missing glyph leaves its cell clear."""
    pictograms, icons = load_pictograms(), _Icons(icons_dir, style)
    rows = -(-len(pictograms) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * SPRITE_PX, rows * SPRITE_PX))
    for index, pictogram in enumerate(pictograms):
        svg = icons.svg(pictogram.code_point)
        if svg is not None:
            sheet.paste(_render(svg), (index % COLUMNS * SPRITE_PX, index // COLUMNS * SPRITE_PX))
    return sheet


def main() -> None:
    """Write the sheets of the trained styles into the package."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("icons_dir", type=Path, help="where `npm install` was run")
    icons_dir = parser.parse_args().icons_dir
    SPRITE_DIR.mkdir(exist_ok=True)
    for style in STYLES:
        build_atlas(icons_dir, style).save(SPRITE_DIR / f"{style}.webp", lossless=True, quality=100, method=6)


if __name__ == "__main__":
    main()
