"""The report of an evaluation: one HTML file that needs no network."""

import base64
import io
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

import fixations
import images
import report
from utils import History, count_of, in_parallel, write_text

# A page has to go through a mail server, so it never becomes larger, whatever the number of images.
MOST_BYTES = 12_000_000


@dataclass(frozen=True)
class Item:
    """An image of the gallery.

    Attributes:
        name: What it is called, as in the column "image" of the rows and the regions.
        stimulus: Its file.
        human: The file of its human saliency map, if there is one.
        prediction: The predicted map as an 8-bit grey PNG of the image's own size.
    """

    name: str
    stimulus: Path
    human: Path | None
    prediction: Path


@dataclass(frozen=True)
class _Measure:
    name: str
    meaning: str
    higher_is_better: bool = True


_MEASURES = (
    _Measure("AUC", "Tells fixated pixels from all others; 0.5 is chance."),
    _Measure("sAUC", "AUC against fixations of other images; 0.5 is chance."),
    _Measure("NSS", "Standard deviations by which fixated pixels stand out."),
    _Measure("CC", "Correlation with the human map; 1 is best."),
    _Measure("SIM", "Overlap with the human map; 1 is best."),
    _Measure("KLD", "What is missed of the human map; 0 is best.", False),
    _Measure("IG", "Bits per fixation gained over the centre bias."),
)

# Known in every evaluation, bounded, and easy to read: what images are ordered by at first.
_FAVOURITE = "CC"

# The CSS colour of each predictor of the summary.
_COLOURS = {
    "model": "model",
    "centre bias": "centre",
    "uniform": "uniform",
    "human ceiling": "human",
}
_GOAL = "human ceiling"

# The uniform map is so far off on some measures that it would press the histogram into a corner.
_MARKED = ("model", "centre bias", _GOAL)


@dataclass(frozen=True)
class _Level:
    """How an image's pictures are stored on a page of at most so many images."""

    most_images: int
    side: int
    quality: int


# Photographs fill about 85% of the page at these; what needs more bytes takes the next level.
_LEVELS = (
    _Level(60, 800, 82),
    _Level(100, 640, 80),
    _Level(200, 440, 76),
    _Level(240, 380, 74),
    _Level(300, 340, 70),
    _Level(430, 260, 64),
)

# Smooth grey maps cost next to nothing, but it shows when their gradients become steps.
_MAP_QUALITY = 90


@dataclass(frozen=True)
class _Entry:
    """An image with all that is known of it."""

    item: Item
    values: Mapping[str, float | None]
    regions: Sequence[Mapping[str, Any]]


_NOTHING = "\N{EN DASH}"


def _known(value: float | None) -> float | None:
    """Return a finite number, or None; JSON knows neither NaN nor infinity."""
    return float(value) if value is not None and math.isfinite(value) else None


def _number(value: float | None, digits: int = 3) -> str:
    """Write a number as a person would, with a minus in place of a hyphen."""
    if _known(value) is None:
        return _NOTHING
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _percent(share: float | None) -> str:
    if _known(share) is None:
        return _NOTHING
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).resolve().parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(number=_number, percent=_percent, count_of=count_of)
    return environment


def _data_uri(picture: np.ndarray, quality: int) -> str:
    buffer = io.BytesIO()
    # More thorough methods take twice as long to save 3% of the bytes.
    Image.fromarray(picture).save(buffer, format="WEBP", quality=quality, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _fitting(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return a (height, width) of the same shape whose longer side is at most `side`."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _pictures(item: Item, stimulus: np.ndarray, level: _Level) -> list[tuple[str, str]]:
    """Return (caption, data URI) for each picture of an image.

    Args:
        item: The image.
        stimulus: Its pixels at the size of the pictures, uint8 [height, width, 3].
        level: How good they have to be.
    """

    def brightness(path: Path) -> np.ndarray:
        return fixations.to_uint8(images.resize(images.read_map(path), stimulus.shape[:2]))

    prediction = brightness(item.prediction)
    pictures = [("Stimulus", stimulus)]
    if item.human is not None:
        pictures.append(("Human map", brightness(item.human)))
    pictures.append(("Prediction", prediction))
    pictures.append(("Overlay", report.overlay(stimulus, prediction / 255)))
    return [
        (caption, _data_uri(picture, level.quality if picture.ndim == 3 else _MAP_QUALITY))
        for caption, picture in pictures
    ]


def _placed(region: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Return a region with its place on a picture, in percent of the image's (height, width)."""
    height, width = size
    place = {
        "left": 100 * region["x"] / width,
        "top": 100 * region["y"] / height,
        "width": 100 * region["w"] / width,
        "height": 100 * region["h"] / height,
    }
    return {**region, "place": place}


def _card(entry: _Entry, level: _Level, environment: Environment) -> str:
    """Return an image's part of the gallery as HTML."""
    stimulus = images.read_stimulus(entry.item.stimulus)
    size = stimulus.shape[:2]
    stimulus = images.resize(stimulus, _fitting(size, level.side))
    return environment.get_template("card.html").render(
        name=entry.item.name,
        values=entry.values,
        pictures=_pictures(entry.item, stimulus, level),
        size=stimulus.shape[:2],
        regions=[_placed(region, size) for region in entry.regions],
    )


def _ends(sequence: Sequence, most: int) -> Sequence:
    """Return at most so many of a sequence's items: half from its start, half from its end."""
    if len(sequence) <= most:
        return sequence
    first = most - most // 2
    return [*sequence[:first], *sequence[len(sequence) - most // 2 :]]


def _cards(entries: Sequence[_Entry], budget: int, environment: Environment) -> list[str]:
    """Return the gallery's HTML, at the best level and of as many images as the budget allows.

    Args:
        entries: The images, worst first.
        budget: How many bytes there are.
        environment: The templates.
    """
    shown = _ends(entries, _LEVELS[-1].most_images)
    cards: list[str] = []
    for level in _LEVELS:
        if len(shown) > level.most_images:
            continue
        make = partial(_card, level=level, environment=environment)
        cards = list(in_parallel(make, shown, "Making the report", "image"))
        if sum(map(_bytes, cards)) <= budget:
            break
    excess = sum(map(_bytes, cards)) - budget
    while cards and excess > 0:
        excess -= _bytes(cards.pop(len(cards) // 2))
    return cards


def _bytes(text: str) -> int:
    return len(text.encode())


def _favourite(measures: Sequence[_Measure]) -> _Measure | None:
    """Return the measure that images are ordered by at first, if anything was measured."""
    named = {measure.name: measure for measure in measures}
    return named.get(_FAVOURITE) or next(iter(measures), None)


def _entries(
    rows: Sequence[Mapping[str, Any]],
    gallery: Sequence[Item],
    regions: Sequence[Mapping[str, Any]],
    measures: Sequence[_Measure],
) -> list[_Entry]:
    """Bring together what `write_page` is given of each image."""
    regions_of = defaultdict(list)
    for region in sorted(regions, key=lambda region: region["rank"]):
        regions_of[region["image"]].append(region)
    return [
        _Entry(
            item,
            {measure.name: _known(row.get(measure.name)) for measure in measures},
            regions_of[item.name],
        )
        for item, row in zip(gallery, rows, strict=True)
    ]


def _worst_first(entries: Sequence[_Entry], measure: _Measure | None) -> list[_Entry]:
    """Order images by a measure, those without a value last; else those with regions first."""
    if measure is None:
        return sorted(entries, key=lambda entry: not entry.regions)
    sign = 1 if measure.higher_is_better else -1

    def key(entry: _Entry) -> tuple[bool, float]:
        value = entry.values[measure.name]
        return value is None, sign * (value or 0.0)

    return sorted(entries, key=key)


def _means(summary: Mapping[str, Any], measure: _Measure) -> dict[str, float]:
    """Return the mean that each predictor has in a measure; without those that have none."""
    return {
        name: mean
        for name, cells in summary["metrics"].items()
        if (mean := _known((cells.get(measure.name) or {}).get("mean"))) is not None
    }


def _scale(measure: _Measure, means: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return (colour, place) of each predictor between the worst at 0 and the best at 100."""
    if len(means) < 2:
        return []
    low, high = min(means.values()), max(means.values())
    worst, best = (low, high) if measure.higher_is_better else (high, low)
    return [
        (_COLOURS.get(name, "muted"), round(100 * (mean - worst) / ((best - worst) or 1), 2))
        for name, mean in means.items()
    ]


def _table(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the summary as the columns and lines of a table, and what is missing from it."""
    predictors = summary["metrics"]
    left_out = summary.get("left_out", {})
    lines = []
    for measure in _MEASURES:
        line: dict[str, Any] = {"measure": measure, "reason": None}
        if means := _means(summary, measure):
            line["cells"] = [cells.get(measure.name) or {} for cells in predictors.values()]
            line["scale"] = _scale(measure, means)
        elif measure.name in left_out:
            line["reason"] = left_out[measure.name]
        else:
            continue
        lines.append(line)
    columns = [
        {"name": name, "colour": _COLOURS.get(name, "muted"), "goal": name == _GOAL}
        for name in predictors
    ]
    names = {measure.name for measure in _MEASURES}
    missing = [(what, reason) for what, reason in left_out.items() if what not in names]
    return {"columns": columns, "lines": lines, "missing": missing}


def _headline(summary: Mapping[str, Any], measure: _Measure | None) -> str:
    """Say in a sentence how good the model is beside what it is compared with."""
    means = _means(summary, measure) if measure else {}
    if "model" not in means:
        return ""
    others = [
        f"{words} {_number(means[name], 2)}"
        for name, words in (
            ("centre bias", "always expecting the centre gives"),
            (_GOAL, "people predicting other people reach"),
        )
        if name in means
    ]
    compared = f"; {' and '.join(others)}" if others else ""
    return f"The model scores a mean {measure.name} of {_number(means['model'], 2)}{compared}."


def _charts(
    summary: Mapping[str, Any], entries: Sequence[_Entry], measures: Sequence[_Measure]
) -> list[dict[str, Any]]:
    """Return a histogram of each measure, with what it shows in words."""
    charts = []
    for measure in measures:
        values = [value for entry in entries if (value := entry.values[measure.name]) is not None]
        lower, median, upper = (_number(value) for value in np.percentile(values, (25, 50, 75)))
        marks = {
            _COLOURS[name]: mean
            for name, mean in _means(summary, measure).items()
            if name in _MARKED
        }
        charts.append(
            {
                "measure": measure,
                "svg": Markup(report.svg_histogram(values, marks)),
                "median": median,
                "middle": f"half of the images: {lower} to {upper}",
            }
        )
    return charts


def _facts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield (name, text) for everything in nested dictionaries and lists."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _facts(part, f"{name} {key}".strip().replace("_", " "))
    elif isinstance(value, list | tuple) and any(isinstance(part, Mapping) for part in value):
        for part in value:
            yield from _facts(part, name)
    elif isinstance(value, list | tuple):
        yield name, ", ".join(map(str, value))
    elif value is not None:
        yield name, str(value)


def _details(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what an evaluation was made with, as (name, text)."""
    return [
        fact
        for key in ("weights", "input_size", "data", "date", "versions")
        for fact in _facts(summary.get(key), "" if key == "versions" else key.replace("_", " "))
    ]


def _day(date: str) -> str:
    moment = datetime.fromisoformat(date)
    return f"{moment.day} {moment:%B %Y}"


def write_page(
    path: Path | str,
    summary: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    gallery: Sequence[Item],
    history: History | None = None,
    regions: Sequence[Mapping[str, Any]] | None = None,
    title: str | None = None,
) -> None:
    """Write the report of an evaluation as one HTML file of at most 12 MB.

    Of very many images the worst and the best are shown, as many as fit.

    Args:
        path: Where the page belongs, `results/report/<dataset>/index.html`.
        summary: The content of `summary.json`: "dataset", "metrics" (predictor -> measure ->
            "mean", "low", "high"; may be empty), and where known "images", "left_out", "weights",
            "data", "input_size", "date" and "versions".
        rows: For each image its measures by name, None or NaN where one has no value.
        gallery: The images, in the order of `rows`.
        history: The training's losses.
        regions: Regions of interest: "image" (an item's name), "name", "x", "y", "w", "h" in
            pixels of the image, "attention" and "area" (shares, 0..1), "ratio" and "rank".
        title: The page's heading.

    Raises:
        UserError: A picture cannot be read.
    """
    measures = [
        measure
        for measure in _MEASURES
        if any(_known(row.get(measure.name)) is not None for row in rows)
    ]
    favourite = _favourite(measures)
    entries = _worst_first(_entries(rows, gallery, regions or (), measures), favourite)
    environment = _environment()
    frame = {
        "title": title or f"Saliency report: {summary['dataset']}",
        "summary": summary,
        "weights": Path(summary["weights"]["file"]).name if summary.get("weights") else "",
        "day": _day(summary["date"]) if summary.get("date") else "",
        "headline": _headline(summary, favourite),
        "table": _table(summary),
        "charts": _charts(summary, entries, measures),
        "marked": _MARKED,
        "history": Markup(report.svg_history(history)) if history else None,
        "lowest": min(history.valid) if history else None,
        "ramp": report.colour_scale(9),
        "measures": measures,
        "favourite": favourite,
        "details": _details(summary),
        "total": len(entries),
        "has_regions": any(entry.regions for entry in entries),
    }
    template = environment.get_template("report.html")
    empty = template.render(frame, cards=())
    cards = _cards(entries, MOST_BYTES - _bytes(empty) - 1000, environment)
    write_text(path, template.render(frame, cards=[Markup(card) for card in cards]))
