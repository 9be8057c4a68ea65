"""Pictures of an evaluation, as PNG or SVG files: the same input gives the same bytes.

Each is 6.4 inches wide (1280 pixels), tells methods apart by dashes and markers as well as by colour, and carries a
description of what it shows. Matplotlib and scikit-learn are loaded when the first picture is drawn, and nobody's
settings of matplotlib are read or changed; pictures are drawn one at a time, also by several threads.
"""

from clipsieve.outputs.efficiency_picture import Curve, draw_data_efficiency
from clipsieve.outputs.method_pictures import Series, draw_precision_recall, draw_roc
from clipsieve.outputs.ratings_picture import draw_ratings
from clipsieve.outputs.reliability_picture import draw_reliability

__all__ = [
    "Curve",
    "Series",
    "draw_data_efficiency",
    "draw_precision_recall",
    "draw_ratings",
    "draw_reliability",
    "draw_roc",
]
