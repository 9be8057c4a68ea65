"""How every picture looks and is saved: sizes, colours, lines, legends, and bytes that depend on the input alone."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from clipsieve.errors import MissingExtraError, UsageError
from clipsieve.outputs.lettering import LETTER_PT, fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # annotations are checked at run time by the tests, and matplotlib is loaded by nobody who draws nothing
    Axes = Figure = Any

__all__ = ["GUIDE", "MAX_LINES", "Canvas", "canvas", "line_style", "load", "share_axes", "show_percent"]

WIDTH_IN, DPI = 6.4, 200  # 1280 px, which stays sharp where it is shown at 640
MARGIN_IN = 0.1
_SUFFIXES = (".png", ".svg")
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#8C8C8C",
    "axes.grid": True,
    "axes.labelcolor": "#262626",
    "axes.labelpad": 6.0,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "white",
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same letters on every machine
    "font.size": 9.0,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "hatch.linewidth": 0.7,
    "legend.fontsize": LETTER_PT,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "legend.labelspacing": 0.6,
    "lines.linewidth": 1.7,
    "savefig.facecolor": "white",
    "svg.fonttype": "none",  # words stay words: they can be searched and read aloud
    "svg.hashsalt": "clipsieve",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "xtick.color": "#8C8C8C",
    "xtick.labelcolor": "#404040",
    "ytick.color": "#8C8C8C",
    "ytick.labelcolor": "#404040",
}
_DRAWING = Lock()  # matplotlib's settings belong to the whole process


# Colour, dashes, marker and its size: no two lines are told apart by colour alone.
# Okabe and Ito 2008, "Color universal design"; grey stands for their yellow, which is too faint on white.
_LINES: tuple[tuple[str, Any, str, float], ...] = (
    ("#0072B2", "-", "o", 5),
    ("#D55E00", (0, (4, 1.3)), "s", 5),
    ("#009E73", (0, (5, 1.3, 1, 1.3)), "^", 5.5),
    ("#000000", (0, (1.6, 1)), "D", 4.5),
    ("#CC79A7", "-", "v", 5.5),
    ("#E69F00", (0, (7, 1.8)), "P", 7),
    ("#56B4E9", (0, (5, 1.2, 1, 1.2, 1, 1.2)), "X", 7),
    ("#6E6E6E", (0, (2.8, 1.2)), "<", 5.5),
)
MAX_LINES = len(_LINES)
GUIDE: dict[str, Any] = {"color": "#8C8C8C", "linewidth": 1.1, "linestyle": (0, (1, 2)), "zorder": 1}


def line_style(number: int) -> dict[str, Any]:
    """Return how line `number`, from 0 to `MAX_LINES` - 1, is drawn."""
    color, dashes, marker, size = _LINES[number]
    ink = {"color": color, "linestyle": dashes, "zorder": 3 + 0.1 * number}
    return {**ink, "marker": marker, "markersize": size, "markeredgecolor": "white", "markeredgewidth": 0.5}


@dataclass(slots=True)
class Canvas:
    """A picture in the making.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        To draw on.
    alt_text : str
        What the picture shows, for those who do not see it; saved as its description.
    entries : list of (handle, str)
        The lines of the legend, in order.
    """

    figure: Figure
    alt_text: str = ""
    entries: list[tuple[Any, str]] = field(default_factory=list)

    def add_entry(self, handle: object, *lines: str) -> None:
        """Add a name to the legend, wrapped or shortened to what fits, with further lines as they are."""
        self.entries.append((handle, "\n".join([fit(lines[0]), *lines[1:]])))

    def show_legend(self) -> None:
        """Draw the legend to the right of the axes, where it hides nothing."""
        handles, labels = [handle for handle, _ in self.entries], [label for _, label in self.entries]
        self.figure.legend(handles, labels, loc="outside right upper", alignment="left")


@contextmanager
def canvas(path: Path, height_in: float) -> Iterator[Canvas]:
    """Yield a white canvas, 6.4 inches wide, and save it when the block ends without an error.

    Parameters
    ----------
    path : Path
        A file that ends in .png or .svg. An older one is replaced.
    height_in : float
        Inches, 200 pixels each in a PNG; less if the picture is empty below, more if the legend needs it.

    Raises
    ------
    UsageError
        If the suffix is another one or the file cannot be written.
    MissingExtraError
        If matplotlib is not installed.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"cannot draw `{path}`", expected="a file that ends in .png or .svg", found=f"`{path.name}`")
    load("matplotlib")
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with _DRAWING, matplotlib.rc_context(), warnings.catch_warnings():
        # A letter that the font lacks becomes a box; the description has it in full.
        warnings.filterwarnings("ignore", message=r"(?s)Glyph .* missing from font")
        matplotlib.rcdefaults()  # pictures do not depend on the settings of a person
        matplotlib.rcParams.update(_STYLE)
        layout = ConstrainedLayoutEngine(w_pad=MARGIN_IN, h_pad=MARGIN_IN)
        sheet = Canvas(Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout=layout))
        FigureCanvasAgg(sheet.figure)
        yield sheet
        _trim(sheet.figure)
        _save(sheet, path)


def _trim(figure: Figure) -> None:
    """Cut off what is empty below, where axes are square, and make room for a legend that reaches further."""
    figure.draw_without_rendering()
    empty_in = figure.get_tightbbox().y0 - MARGIN_IN
    if abs(empty_in) > 0.01:
        figure.set_figheight(figure.get_figheight() - empty_in)


def _save(sheet: Canvas, path: Path) -> None:
    """Write without a date or a version, so that equal pictures are equal files."""
    kind = path.suffix.lower()[1:]
    silent: dict[str, str | None] = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    drawn = io.BytesIO()
    sheet.figure.savefig(drawn, format=kind, metadata={**silent, "Description": sheet.alt_text})
    try:
        path.write_bytes(drawn.getvalue())
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or str(error)
        hint = "give a file in a folder that exists and that you may write to"
        raise UsageError(f"cannot write `{path}`: {reason}", hint=hint) from error


def load(name: str) -> Any:  # noqa: ANN401 - a module, some of which come without types
    """Import a library that only pictures need, or raise MissingExtraError."""
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(f"pictures need `{name}`", hint="pip install matplotlib scikit-learn") from error


def share_axes(axes: Axes) -> None:
    """Let both axes run from 0 to 100 %, with room for the lines at the border."""
    ticks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), xticks=ticks, yticks=ticks)
    show_percent(axes.xaxis, axes.yaxis)


def show_percent(*axes: object) -> None:
    """Label an axis, whose values are shares, with percentages."""
    from matplotlib.ticker import PercentFormatter

    for axis in axes:
        axis.set_major_formatter(PercentFormatter(xmax=1, symbol=" %"))  # type: ignore[attr-defined]
