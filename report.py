"""Pictures about results: overlays and curves."""

from pathlib import Path

import matplotlib
import numpy as np

from utils import History, atomic_write

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


def draw_history(history: History, path: Path | str) -> None:
    """Draw training and held-out loss over the epochs as PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    epochs = range(1, len(history) + 1)
    axes.plot(epochs, history.train, marker="o", label="training")
    axes.plot(epochs, history.valid, marker="o", label="held out")
    axes.set_xlabel("epoch")
    axes.set_ylabel("Kullback-Leibler divergence")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120)
