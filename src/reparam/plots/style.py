"""What all pictures share: one palette, one scale of type, and figures that no global setting touches."""

from __future__ import annotations

import functools
import io
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
from torch import Tensor

from reparam.errors import require
from reparam.run import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure
else:  # matplotlib is optional, and annotations are resolved where types are checked at run time
    Figure = Any

# Paul Tol's muted colours, told apart with every common form of colour blindness, and behind them three that are told
# apart from most of these.
PALETTE = (
    "#332288", "#CC6677", "#117733", "#88CCEE", "#DDCC77", "#882255",
    "#44AA99", "#999933", "#AA4499", "#EE7733", "#6699CC", "#661100",
)  # fmt: skip
MAX_POINTS = 20_000
MAX_PANELS = 12
DPI = 150

FIRST, SECOND = PALETTE[:2]  # training and data; validation and model
INK, MUTED, PALE = "#222222", "#6b6b6b", "#d0d0d0"
PLATE = {"fc": "white", "ec": "none", "alpha": 0.85, "pad": 1.5}  # behind words that stand on a drawing
STYLE: dict[str, Any] = {
    "figure.dpi": DPI, "figure.facecolor": "white", "savefig.facecolor": "white",
    "font.size": 9, "text.color": INK, "text.parse_math": False, "axes.unicode_minus": True,
    "axes.titlesize": 10, "axes.titlelocation": "left", "axes.titlepad": 8, "axes.titlecolor": INK,
    "figure.titlesize": 11, "axes.labelsize": 9, "axes.labelcolor": MUTED, "axes.edgecolor": "#b0b0b0",
    "axes.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": "#ececec", "grid.linewidth": 0.6,
    "xtick.labelsize": 8, "ytick.labelsize": 8, "xtick.color": "#b0b0b0", "ytick.color": "#b0b0b0",
    "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "xtick.major.size": 3, "ytick.major.size": 3, "legend.frameon": False, "legend.fontsize": 9,
    "lines.linewidth": 1.5, "lines.solid_capstyle": "round",
}  # fmt: skip
_P = ParamSpec("_P")


def house_style() -> Any:
    """matplotlib's own defaults and the house style, for the length of a ``with`` block."""
    style = require("matplotlib.style", "plot", "drawing pictures")
    return style.context(["default", STYLE])


def drawn(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """A drawing function in the house style, whatever the caller's own."""

    @functools.wraps(draw)
    def styled(*args: _P.args, **options: _P.kwargs) -> Figure:
        with house_style():
            return draw(*args, **options)

    return styled


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """An empty figure of this size in inches, with a canvas that needs no display."""
    figure = require("matplotlib.figure", "plot", "drawing pictures").Figure((width, height), layout=layout)
    require("matplotlib.backends.backend_agg", "plot", "drawing pictures").FigureCanvasAgg(figure)
    return figure


def count(n: int, thing: str) -> str:
    """A number of things in words: 1 row, 2,000 rows."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def numbers(x: Tensor | np.ndarray) -> np.ndarray:
    """The values as a float64 array, wherever they are."""
    return x.detach().cpu().double().numpy() if isinstance(x, Tensor) else np.asarray(x).astype(np.float64)


def short(text: Any, most: int = 24) -> str:
    """One line of at most so many characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def dot_size(n: int) -> float:
    """The area of a dot, in points², for n of them."""
    return min(22.0, max(3.0, 9000 / n))


def dot_alpha(n: int) -> float:
    """How opaque each of n dots is, so that dense places show."""
    return min(0.85, max(0.25, 0.85 - 0.15 * math.log10(max(1.0, n / 100))))


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG at 150 dots per inch, the same bytes for the same figure."""
    buffer = io.BytesIO()
    with house_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # names in scripts that the font lacks
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure as a PNG file at 150 dots per inch: whole, or not at all."""
    atomic_write(Path(path), png_bytes(figure))
