"""Draw the pictogram data set: a small, harmless stand-in for the data sets that clipsieve is made for.

`pictograms.csv` is the hand-written table, `sprites/` the drawings (see `NOTICE.md` for whose they are).
"""

from __future__ import annotations

from clipsieve.demo.dataset import DemoData, write_demo_data
from clipsieve.demo.table import Pictogram, load_pictograms

__all__ = ["DemoData", "Pictogram", "load_pictograms", "write_demo_data"]
