"""Regions of interest: the share of predicted attention that each gets, in numbers and drawn."""

import bisect
import csv
import dataclasses
import functools
import io
import itertools
import json
import math
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from utils import MissingFileError, UserError, atomic_write, bullet_list, count_of

Row = dict[str, Any]
# Where a region stands in its file, its values, and why these cannot be used.
_Entry = tuple[str, Mapping[str, Any], str]
# Left, top, right and bottom, in pixels; the latter two are the first outside.
_Box = tuple[int, int, int, int]

_INPUT = ("image", "name", "x", "y", "w", "h")
COLUMNS = (*_INPUT, "attention", "area", "ratio", "rank")

# Sums of decimal fractions, as in x + w, miss the border they mean by less than this.
_SLACK = 1e-6

# Shares that differ by less than rounding does are equal; their ranks have to be too.
_RANK_DIGITS = 12

# Pillow's own font has few letters beyond ASCII.
_FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"

# Light, so that black text is legible on each of them, and apart from most of the heat map.
_COLOURS = ("#5ce1e6", "#b6f36b", "#ffffff", "#ff9ecf", "#9fc2ff", "#ffe45c")


@dataclass(frozen=True)
class Region:
    """A rectangle of an image that somebody wants to know about.

    Attributes:
        image: The image's name, as the file gives it or, after `assign`, its path below the
            folder of all images.
        name: The region's name, unique within its image.
        x: Its left edge in pixels of the upright image, counted from 0; may be fractional.
        y: Its upper edge, likewise.
        width: Its width in pixels, at least 1.
        height: Its height in pixels, at least 1.
        place: Where it stands in the file, as in "line 3".
        problem: Why it cannot be used; empty where it can.
    """

    image: str
    name: str
    x: float
    y: float
    width: float
    height: float
    place: str
    problem: str = ""


@dataclass(frozen=True)
class Measured:
    """A region and how much of the predicted attention it gets.

    Attributes:
        region: The region.
        attention: Its share of the map's sum, 0..1.
        area: Its share of the image's area, 0..1.
        ratio: `attention / area`: above 1 it gets more attention than its size alone would.
        rank: Its place among the image's regions by attention, from 1; equal shares, equal ranks.
    """

    region: Region
    attention: float
    area: float
    ratio: float
    rank: int


def read_regions(path: Path | str) -> list[Region]:
    """Read a file of regions: CSV or JSON, in UTF-8.

    A CSV has a first line that names the columns image, name, x, y, w and h, in any order;
    further columns are ignored. A JSON file, known by its suffix or its first character, is a
    list of objects with these keys, or an object with such a list for each image's name.

    Args:
        path: The file.

    Returns:
        Every region, in the file's order. One that cannot be used says why in `problem`, so that
        `assign` can report everything at once.

    Raises:
        MissingFileError: There is no such file.
        UserError: The file as a whole cannot be used: not UTF-8, no CSV or JSON, without a
            column, or without a region.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise MissingFileError(f"{path}: there is no such file.") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: not UTF-8 text. Save the file as UTF-8 (in a spreadsheet: "
            '"CSV UTF-8").'
        ) from error
    is_json = path.suffix.lower() == ".json" or text.lstrip()[:1] in ("[", "{")
    entries = _json_entries(path, text) if is_json else _csv_entries(path, text)
    regions = [_region(*entry) for entry in entries]
    if not regions:
        raise UserError(f"{path}: the file holds no regions.")
    return regions


def _csv_entries(path: Path, text: str) -> Iterator[_Entry]:
    lines = _csv_lines(path, text)
    _, header = next(lines, (1, []))
    names = [name.strip().lower() for name in header]
    missing = [name for name in _INPUT if name not in names]
    repeated = [name for name in _INPUT if names.count(name) > 1]
    if missing or repeated:
        complaint = [f"no column {name}" for name in missing]
        complaint += [f"more than one column {name}" for name in repeated]
        raise UserError(
            f"{path}: {', '.join(complaint)}. The first line has to name the columns "
            f"{', '.join(_INPUT)}, separated by commas."
        )
    for line, cells in lines:
        problem = ""
        if any(cell.strip() for cell in cells[len(names) :]):
            problem = (
                f"{len(cells)} values for {len(names)} columns; text with a comma has to stand in "
                "quotes"
            )
        yield f"line {line}", dict(zip(names, cells, strict=False)), problem


def _csv_lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of every line that is not blank, with the number of its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    first = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield first, cells
            first = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path}, line {first}: not readable as CSV ({error}). Check the quotes."
        ) from error


def _json_entries(path: Path, text: str) -> Iterator[_Entry]:
    try:
        content = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}).") from error
    lists = content if isinstance(content, dict) else {None: content}
    if not all(isinstance(entries, list) for entries in lists.values()):
        raise UserError(
            f"{path}: the file has to hold a list of objects with the keys {', '.join(_INPUT)}, or "
            "an object with such a list for each image's name."
        )
    for image, entries in lists.items():
        of_image, key = ("", {}) if image is None else (f" of {image!r}", {"image": image})
        for number, entry in enumerate(entries, start=1):
            place = f"entry {number}{of_image}"
            if isinstance(entry, dict):
                yield place, entry | key, ""
            else:
                yield place, {}, "no object with the keys of a region"


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict; of two equal keys `json` would silently drop the first."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {key!r} stands twice in one object")
        values[key] = value
    return values


def _region(place: str, entry: Mapping[str, Any], problem: str) -> Region:
    if problem:
        return Region("", "", math.nan, math.nan, math.nan, math.nan, place, problem)
    read = [(_text if key in ("image", "name") else _number)(key, entry.get(key)) for key in _INPUT]
    values, problems = zip(*read, strict=True)
    return Region(*values, place, "; ".join(filter(None, problems)))


def _text(key: str, value: Any) -> tuple[str, str]:
    """Return a value as text and what is wrong with it."""
    if not isinstance(value, str | None):
        return "", f"{key} is {value!r}, which is no text"
    text = unicodedata.normalize("NFC", value or "").strip()
    if not text:
        return "", f"{key} is missing"
    # JSON can hold halves of characters, which no file can.
    if any(unicodedata.category(character) == "Cs" for character in text):
        return "", f"{key} holds a broken character"
    return text, ""


def _number(key: str, value: Any) -> tuple[float, str]:
    """Return a value as a number and what is wrong with it."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan, f"{key} is missing"
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        return math.nan, f"{key} is {value!r}, which is no number"
    if key in ("w", "h") and number < 1:
        return math.nan, f"{key} is {number:g}, but has to be at least 1 pixel"
    return number, ""


def assign(
    regions: Sequence[Region],
    source: Path | str,
    paths: Sequence[Path],
    root: Path,
    size_of: Callable[[Path], tuple[int, int]],
) -> dict[Path, list[Region]]:
    r"""Find every region's image and check that all of them can be measured.

    An image is named by its path below `root`, by its path as given, by its file name or by its
    file name without suffix, with / or \ between folders; the first of these that is some
    image's counts.

    Args:
        regions: What `read_regions` returned.
        source: The file they come from, for messages.
        paths: The images that are to be predicted.
        root: The folder that all of them lie in.
        size_of: Returns an image's (height, width), upright, or raises UserError; called once for
            an image that has regions. One that cannot be read is left for the prediction to report.

    Returns:
        The regions of each image that has any, in the file's order; their `image` is now its path
        below `root`.

    Raises:
        UserError: Some regions cannot be used. The message lists each with its place: values that
            are missing or no numbers, an image that is unknown or ambiguous, a name that is
            repeated within its image, a region that is partly or wholly outside of its image.
    """
    index = _index(paths, root)
    sizes: dict[Path, tuple[int, int] | None] = {}
    first_places: dict[tuple[Path, str], str] = {}
    assigned: dict[Path, list[Region]] = defaultdict(list)
    problems: list[str] = []
    for region in regions:
        found = [region.problem] if region.problem else []
        candidates = index.get(_key(region.image), []) if region.image else []
        if len(candidates) == 1:
            path = candidates[0]
            if path not in sizes:
                sizes[path] = _size_or_none(size_of, path)
            first_place = first_places.setdefault((path, region.name), region.place)
            if region.name and first_place != region.place:
                found.append(f"the name {region.name!r} is repeated; {first_place} has it already")
            if size := sizes[path]:
                found += _outside(region, path, size)
            image = path.relative_to(root).as_posix()
            assigned[path].append(dataclasses.replace(region, image=image))
        elif region.image:
            found.append(_image_problem(region.image, candidates, paths, root))
        if found:
            problems.append(f"{region.place}: {'; '.join(found)}")
    if problems:
        raise UserError(
            f"{source}: {count_of(len(problems), 'region')} of {len(regions):,} cannot be used:\n"
            f"{bullet_list(problems)}\nCorrect or remove them and run the command again."
        )
    return dict(assigned)


def _key(name: str) -> str:
    """Return a name in the one form in which names are compared."""
    return str(PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/")))


def _index(paths: Sequence[Path], root: Path) -> dict[str, list[Path]]:
    """Return the images that each name may stand for."""
    index: dict[str, list[Path]] = {}
    namings: tuple[Callable[[Path], Path | str], ...] = (
        lambda path: path.relative_to(root),
        lambda path: path,
        lambda path: path.name,
        lambda path: path.stem,
    )
    for naming in namings:
        level: dict[str, list[Path]] = defaultdict(list)
        for path in paths:
            level[_key(str(naming(path)))].append(path)
        index = level | index
    return index


def _image_problem(name: str, candidates: Sequence[Path], paths: Sequence[Path], root: Path) -> str:
    if candidates:
        one, other = (path.relative_to(root).as_posix() for path in candidates[:2])
        return (
            f"the image {name!r} may be any of {len(candidates):,}, such as {one} and {other}; "
            "name it by such a path"
        )
    known = (
        f", only {paths[0].name}" if len(paths) == 1 else f" among the {len(paths):,} to predict"
    )
    return f"there is no image {name!r}{known}"


def _size_or_none(size_of: Callable[[Path], tuple[int, int]], path: Path) -> tuple[int, int] | None:
    try:
        return size_of(path)
    except UserError:
        return None


def _outside(region: Region, path: Path, size: tuple[int, int]) -> list[str]:
    """Return what is wrong with a region's position, which is nothing where it is unknown."""
    height, width = size
    right, bottom = region.x + region.width, region.y + region.height
    over = (-region.x, -region.y, right - width, bottom - height)
    # Comparisons with NaN are false, so values that were reported already are not again.
    if not any(distance > _SLACK for distance in over):
        return []
    apart = region.x >= width or region.y >= height or right <= 0 or bottom <= 0
    return [
        f"the region {region.name!r} (x {region.x:.10g}, y {region.y:.10g}, "
        f"w {region.width:.10g}, h {region.height:.10g}) is {'wholly' if apart else 'partly'} "
        f"outside of {path.name}, which is {width} pixels wide and {height} high"
    ]


def measure(saliency: np.ndarray, regions: Sequence[Region]) -> list[Measured]:
    """Measure how much of an image's predicted attention falls on each of its regions.

    A pixel that a region's edge cuts counts by the share of it that is inside. Regions may
    overlap; each is measured on its own. A map of zeros stands for attention that is the same
    everywhere.

    Args:
        saliency: The predicted map, float [height, width], 0 or above, on any scale.
        regions: The image's regions, inside of it.

    Returns:
        A measurement for each region, in the order of `regions`.

    Raises:
        ValueError: The map holds NaN, infinity or negative values.
    """
    total = float(saliency.sum(dtype=np.float64))
    if not math.isfinite(total) or saliency.min() < 0:
        raise ValueError("The map holds NaN, infinity or negative values.")
    areas = [region.width * region.height / saliency.size for region in regions]
    shares = areas
    if total > 0:
        shares = [min(_sum_inside(saliency, region) / total, 1.0) for region in regions]
    return [
        Measured(region, share, area, share / area, rank)
        for region, share, area, rank in zip(regions, shares, areas, _ranks(shares), strict=True)
    ]


def _sum_inside(saliency: np.ndarray, region: Region) -> float:
    rows, row_shares = _covered(region.y, region.height, saliency.shape[0])
    columns, column_shares = _covered(region.x, region.width, saliency.shape[1])
    return float(row_shares @ saliency[rows, columns] @ column_shares)


def _covered(start: float, length: float, pixels: int) -> tuple[slice, np.ndarray]:
    """Return which pixels of an axis an interval touches, and how much of each it covers."""
    start, end = max(start, 0.0), min(start + length, pixels)
    touched = slice(math.floor(start), math.ceil(end))
    left = np.arange(touched.start, touched.stop, dtype=np.float64)
    return touched, np.minimum(left + 1, end) - np.maximum(left, start)


def _ranks(shares: Sequence[float]) -> list[int]:
    rounded = [round(share, _RANK_DIGITS) for share in shares]
    ranks: dict[float, int] = {}
    for rank, share in enumerate(sorted(rounded, reverse=True), start=1):
        ranks.setdefault(share, rank)
    return [ranks[share] for share in rounded]


def to_rows(measured: Iterable[Measured]) -> list[Row]:
    """Return what `measure` returned for an image as dicts with the keys `COLUMNS`, by rank."""
    return [
        {
            "image": item.region.image,
            "name": item.region.name,
            "x": _whole(item.region.x),
            "y": _whole(item.region.y),
            "w": _whole(item.region.width),
            "h": _whole(item.region.height),
            "attention": item.attention,
            "area": item.area,
            "ratio": item.ratio,
            "rank": item.rank,
        }
        for item in sorted(measured, key=lambda item: item.rank)
    ]


def _whole(value: float) -> float | int:
    return int(value) if value == int(value) else value


def write_csv(path: Path | str, rows: Iterable[Row]) -> None:
    """Write rows of `to_rows` as CSV, whole or not at all; `read_regions` can read it again."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows:
            shares = {key: f"{row[key]:.6g}" for key in ("attention", "area", "ratio")}
            writer.writerow(row | shares)


def table(rows: Sequence[Row]) -> str:
    """Return rows of `to_rows` as aligned text for the terminal."""
    cells = [("image", "region", "attention", "area", "ratio", "rank")]
    cells += [
        (
            _one_line(row["image"]),
            _one_line(row["name"]),
            _percent(row["attention"]),
            _percent(row["area"]),
            f"{row['ratio']:.2f}",
            str(row["rank"]),
        )
        for row in rows
    ]
    widths = [max(map(_columns, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            # Names begin in one column, figures end in one.
            cell + " " * (width - _columns(cell)) if number < 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    return "\n".join(
        [*lines, "ratio: attention / area; above 1, more than the region's size alone would get"]
    )


def _columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(
        0
        if unicodedata.combining(character)
        else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def _one_line(text: str) -> str:
    """Return a text without line breaks and other characters that would steer a terminal."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for character in " ".join(text.split())
    )


def _percent(share: float) -> str:
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def draw(picture: np.ndarray, measured: Sequence[Measured]) -> np.ndarray:
    """Draw regions on a picture, each with its name and its share of attention.

    Lines and letters grow with the picture. Labels stay inside of it, off each other and, as far
    as there is room, off the regions; one that is not beside its box has a line to it. Where room
    runs out, labels say only the share, and the last ranks have none.

    Args:
        picture: uint8 [height, width, 3], for example an overlay.
        measured: What `measure` returned for the picture's regions.

    Returns:
        uint8 [height, width, 3], a new array.
    """
    image = Image.fromarray(picture)
    scale = math.sqrt(image.width * image.height)
    line = max(1, round(scale / 250))
    font = ImageFont.truetype(_FONT, max(10, round(scale / 42)))
    pen = ImageDraw.Draw(image)
    marks = [
        _Mark(item, _frame(item.region, line, image.size), colour)
        for item, colour in zip(measured, itertools.cycle(_COLOURS), strict=False)
    ]
    labels = _place_labels(marks, font, image.size)
    # What is small must not be lost under what is large.
    for mark in sorted(marks, key=lambda mark: -mark.item.area):
        _draw_frame(pen, mark, line)
    for label in labels:
        _draw_leader(pen, label, line)
    for label in labels:
        _draw_label(pen, label, font)
    return np.asarray(image)


@dataclass(frozen=True)
class _Mark:
    """A region as it is drawn: its frame, around the region or along the picture's border."""

    item: Measured
    frame: _Box
    colour: str


@dataclass(frozen=True)
class _Label:
    """A label as it is drawn."""

    mark: _Mark
    text: str
    box: _Box


def _frame(region: Region, line: int, size: tuple[int, int]) -> _Box:
    """Return where the line around a region has its outer edge, inside a (width, height)."""
    width, height = size
    return (
        max(math.floor(region.x) - line, 0),
        max(math.floor(region.y) - line, 0),
        min(math.ceil(region.x + region.width) + line, width),
        min(math.ceil(region.y + region.height) + line, height),
    )


def _draw_frame(pen: ImageDraw.ImageDraw, mark: _Mark, line: int) -> None:
    left, top, right, bottom = mark.frame
    edge = max(1, line // 2)
    # Black on both sides keeps the line apart from a background of any colour.
    around = (left - edge, top - edge, right - 1 + edge, bottom - 1 + edge)
    pen.rectangle(around, outline="black", width=line + 2 * edge)
    pen.rectangle((left, top, right - 1, bottom - 1), outline=mark.colour, width=line)


def _place_labels(
    marks: Sequence[_Mark], font: ImageFont.FreeTypeFont, room: tuple[int, int]
) -> list[_Label]:
    """Return the labels that have room in a picture's (width, height), the first ranks first."""
    frames = _array([mark.frame for mark in marks])
    labels: list[_Label] = []
    for mark in sorted(marks, key=lambda mark: mark.item.rank):
        taken = _array([label.box for label in labels])
        for text in _label_texts(mark, font, room[0]):
            size = _label_size(text, font)
            if box := _label_box(mark.frame, size, room, taken, frames):
                labels.append(_Label(mark, text, box))
                break
    return labels


def _padding(font: ImageFont.FreeTypeFont) -> int:
    return max(2, round(font.size / 4))


def _label_size(text: str, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    """Return a label's (width, height)."""
    padding = _padding(font)
    return (
        math.ceil(font.getlength(text)) + 2 * padding,
        sum(font.getmetrics()) + padding,
    )


@functools.cache
def _letters() -> frozenset[int]:
    return frozenset(FT2Font(str(_FONT)).get_charmap())


def _label_texts(mark: _Mark, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Return what a label may say: first the name, shortened to fit, and the share; then this."""
    name, share = _one_line(mark.item.region.name), _percent(mark.item.attention)
    if not _letters().issuperset(map(ord, name)):
        # The font lacks letters of this script; in the table the rank stands beside the name.
        name = f"#{mark.item.rank}"
    # A label may be as wide as its box; beyond that it would hide too much of the picture.
    room = max(mark.frame[2] - mark.frame[0], width // 2, round(12 * font.size))
    room = min(room, width) - 2 * _padding(font)
    if font.getlength(f"{name} {share}") <= room:
        return [f"{name} {share}", share]

    def shortened(letters: int) -> str:
        return f"{name[:letters].rstrip()}… {share}"

    fitting = bisect.bisect_right(
        range(1, len(name)), room, key=lambda letters: font.getlength(shortened(letters))
    )
    return [shortened(fitting), share] if fitting else [share]


def _array(boxes: Sequence[_Box]) -> np.ndarray:
    """Return boxes as int64 [n, 4], also where there are none."""
    return np.array(boxes, dtype=np.int64).reshape(-1, 4)


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the pixels that boxes [n, 4] share with other boxes [m, 4], as [n, m]."""
    left, top, right, bottom = boxes.T[:, :, None]
    other_left, other_top, other_right, other_bottom = others.T[:, None, :]
    widths = np.minimum(right, other_right) - np.maximum(left, other_left)
    heights = np.minimum(bottom, other_bottom) - np.maximum(top, other_top)
    return widths.clip(min=0) * heights.clip(min=0)


def _label_box(
    frame: _Box,
    size: tuple[int, int],
    room: tuple[int, int],
    taken: np.ndarray,
    frames: np.ndarray,
) -> _Box | None:
    """Return where a label is best put: beside or in its frame, else as near as there is room.

    Args:
        frame: The region's frame.
        size: The label's (width, height).
        room: The picture's (width, height).
        taken: The labels that have their place [n, 4].
        frames: The frames of all regions [m, 4].

    Returns:
        A place inside the picture and off the other labels; None where there is none.
    """
    if size[0] > room[0] or size[1] > room[1]:
        return None
    return _best(_corners_beside(frame, size), size, room, taken, frames) or _best(
        _corners_anywhere(frame, size, room), size, room, taken, frames
    )


def _corners_beside(frame: _Box, size: tuple[int, int]) -> np.ndarray:
    """Return the upper left corners [n, 2] of labels around a frame, then in it, best first."""
    left, top, right, bottom = frame
    width, height = size
    return np.array(
        [
            (left, top - height),
            (left, bottom),
            (right - width, top - height),
            (right - width, bottom),
            (right, top),
            (left - width, top),
            (left, top),
            (right - width, top),
            (left, bottom - height),
            (right - width, bottom - height),
        ]
    )


def _corners_anywhere(frame: _Box, size: tuple[int, int], room: tuple[int, int]) -> np.ndarray:
    """Return the upper left corners [n, 2] of labels all over a picture, the nearest first."""
    columns = np.arange(0, room[0] - size[0] + 1, max(1, size[0] // 4))
    rows = np.arange(0, room[1] - size[1] + 1, max(1, size[1] // 2))
    corners = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    nearest = (np.array(frame[:2]) + frame[2:] - size) / 2
    return corners[np.hypot(*(corners - nearest).T).argsort(kind="stable")]


def _best(
    corners: np.ndarray,
    size: tuple[int, int],
    room: tuple[int, int],
    taken: np.ndarray,
    frames: np.ndarray,
) -> _Box | None:
    """Return a free place that hides little of the regions and comes early in `corners`."""
    corners = corners.clip(0, np.array(room) - size)
    places = np.concatenate([corners, corners + size], axis=1)
    places = places[~_overlaps(places, taken).any(axis=1)]
    if not len(places):
        return None
    areas = (frames[:, 2:] - frames[:, :2]).prod(axis=1)
    hidden = (_overlaps(places, frames) / areas).sum(axis=1)
    cost = 2 * hidden + 0.03 * np.arange(len(places))
    left, top, right, bottom = places[cost.argmin()].tolist()
    return left, top, right, bottom


def _draw_leader(pen: ImageDraw.ImageDraw, label: _Label, line: int) -> None:
    """Join a label to its frame where the two do not touch."""
    left, top, right, bottom = label.box
    start = _nearest(label.mark.frame, ((left + right) / 2, (top + bottom) / 2))
    end = _nearest(label.box, start)
    if math.dist(start, end) > 2 * line:
        pen.line((start, end), fill="black", width=3 * line)
        pen.line((start, end), fill=label.mark.colour, width=line)


def _nearest(box: _Box, point: tuple[float, float]) -> tuple[float, float]:
    """Return the pixel of a box that is nearest to a point."""
    left, top, right, bottom = box
    return min(max(point[0], left), right - 1), min(max(point[1], top), bottom - 1)


def _draw_label(pen: ImageDraw.ImageDraw, label: _Label, font: ImageFont.FreeTypeFont) -> None:
    left, top, right, bottom = label.box
    pen.rectangle((left, top, right - 1, bottom - 1), fill=label.mark.colour, outline="black")
    middle = (top + bottom) / 2
    pen.text((left + _padding(font), middle), label.text, fill="black", font=font, anchor="lm")
