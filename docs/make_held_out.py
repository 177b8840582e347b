"""Draw docs/held_out.jpg after a test: uv run python docs/make_held_out.py [STEM STEM STEM]."""

import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import data
import images
import report

# Held-out images with animals and text, with a face, and with a sign.
STEMS = sys.argv[1:] or ["267", "823", "786"]


def main() -> None:
    """Draw stimulus, human map, prediction and overlay of each image."""
    _, held_out = data.open_dataset("fixationadd1000", ROOT / "data").load_data()
    by_stem = {
        stimulus.stem: (stimulus, human)
        for stimulus, human in zip(held_out.stimuli, held_out.maps, strict=True)
    }
    figure = Figure(figsize=(12, 2.35 * len(STEMS)), layout="constrained")
    grid = figure.subplots(len(STEMS), 4, squeeze=False)
    titles = ("held-out image", "where people looked", "prediction", "prediction over the image")
    for row, stem in zip(grid, STEMS, strict=True):
        stimulus, human = by_stem[stem]
        picture = images.read_stimulus(stimulus)
        predicted = images.read_map(ROOT / "results" / "images" / "fixationadd1000" / f"{stem}.png")
        shown = (
            picture,
            images.read_map(human),
            predicted,
            report.overlay(picture, predicted / 255),
        )
        for axes, array in zip(row, shown, strict=True):
            axes.imshow(array, cmap=None if array.ndim == 3 else "gray")
            axes.set_axis_off()
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=11)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[..., :3]
    images.write_jpeg(ROOT / "docs" / "held_out.jpg", np.ascontiguousarray(drawn), quality=85)


if __name__ == "__main__":
    main()
