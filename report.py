"""Pictures about results: overlays, curves and distributions."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from utils import History, atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INFERNO = (matplotlib.colormaps["inferno"](np.arange(256))[:, :3] * 255).astype(np.float32)


def overlay(picture: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """Lay a saliency map over its image as a heat map.

    Where nobody looks the image stays as it is, a little darker; the more attention a place gets,
    the more of the colour covers it, but never so much that the image is lost.

    Args:
        picture: uint8 [height, width, 3].
        saliency: float array [height, width], 0..1.

    Returns:
        uint8 [height, width, 3].
    """
    strength = np.clip(saliency, 0, 1).astype(np.float32)
    colour = _INFERNO[np.rint(55 + 200 * strength).astype(np.uint8)]
    opacity = (0.75 * np.sqrt(strength) * np.clip(strength / 0.1, 0, 1))[..., None]
    base = picture.astype(np.float32) * 0.8
    return np.rint(base * (1 - opacity) + colour * opacity).astype(np.uint8)


def colour_scale(steps: int) -> list[str]:
    """Return the colours of `overlay` from the least to the most attention, as "#rrggbb"."""
    colours = _INFERNO[np.linspace(55, 255, steps).astype(int)].astype(int)
    return ["#{:02x}{:02x}{:02x}".format(*colour) for colour in colours]


def _plot_history(axes: "Axes", history: History, colours: Sequence[str | None]) -> None:
    """Plot training and held-out loss over the epochs, in two colours (None: the usual ones)."""
    from matplotlib.ticker import MaxNLocator

    epochs = range(1, len(history) + 1)
    for losses, label, colour in zip(
        (history.train, history.valid), ("training", "held out"), colours, strict=True
    ):
        axes.plot(epochs, losses, marker="o", label=label, color=colour)
    axes.set_xlabel("epoch")
    axes.set_ylabel("Kullback-Leibler divergence")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()


def draw_history(history: History, path: Path | str) -> None:
    """Draw training and held-out loss over the epochs as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    _plot_history(figure.subplots(), history, (None, None))
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120)


# Matplotlib only takes real colours, so these stand for the CSS variables of the page that an SVG
# is put into, which differ between light and dark mode.
_CSS_COLOURS = {
    name: f"#0000{number:02x}"
    for number, name in enumerate(("muted", "line", "model", "centre", "uniform", "human"), 1)
}

_SVG_STYLE = {
    # Text stays text, so that the page's font applies and it can be read aloud.
    "svg.fonttype": "none",
    "text.color": _CSS_COLOURS["muted"],
    "axes.labelcolor": _CSS_COLOURS["muted"],
    "axes.edgecolor": _CSS_COLOURS["line"],
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": _CSS_COLOURS["line"],
    "grid.alpha": 1.0,
    "xtick.color": _CSS_COLOURS["line"],
    "ytick.color": _CSS_COLOURS["line"],
    "xtick.labelcolor": _CSS_COLOURS["muted"],
    "ytick.labelcolor": _CSS_COLOURS["muted"],
    "legend.frameon": False,
}


def _svg(figure: "Figure") -> str:
    """Return a figure as an <svg> element, in CSS variables for `_CSS_COLOURS`."""
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    # Nothing refers to these names, which are the same in every figure of a page.
    svg = re.sub(r' id="[a-z0-9]+_\d+"', "", buffer.getvalue())
    for name, colour in _CSS_COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg[svg.index("<svg") :]


def svg_history(history: History) -> str:
    """Draw training and held-out loss over the epochs for a page; the lowest is marked.

    Args:
        history: At least one epoch.

    Returns:
        An <svg> element in the CSS colours --model, --uniform, --muted and --line.
    """
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SVG_STYLE):
        figure = Figure(figsize=(5.4, 2.9), layout="constrained")
        axes = figure.subplots()
        _plot_history(axes, history, (_CSS_COLOURS["uniform"], _CSS_COLOURS["model"]))
        best = int(np.argmin(history.valid))
        axes.annotate(
            f"best: {history.valid[best]:.4f}",
            (best + 1, history.valid[best]),
            xytext=(0, -14),
            textcoords="offset points",
            horizontalalignment="center",
        )
        axes.margins(y=0.15)
        return _svg(figure)


def svg_histogram(values: Sequence[float], marks: Mapping[str, float]) -> str:
    """Draw how a measure is distributed over images, for a page.

    Args:
        values: Finite values, at least one.
        marks: Values to mark by a line, keyed by the line's colour: "model", "centre", "uniform"
            or "human".

    Returns:
        An <svg> element in the CSS colours of `marks`, --model, --muted and --line.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    styles = {"model": "-", "human": ":"}
    bins = int(np.clip(2 * np.sqrt(len(values)), 6, 24))
    with matplotlib.rc_context(_SVG_STYLE):
        figure = Figure(figsize=(3.6, 1.7), layout="constrained")
        axes = figure.subplots()
        axes.hist(values, bins, color=_CSS_COLOURS["model"], alpha=0.45, rwidth=0.88)
        for name, value in marks.items():
            style = styles.get(name, "--")
            axes.axvline(value, color=_CSS_COLOURS[name], linestyle=style, linewidth=2)
        axes.set_yticks([])
        axes.xaxis.set_major_locator(MaxNLocator(6))
        return _svg(figure)
