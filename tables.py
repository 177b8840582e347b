"""Files of single fixations: CSV and MATLAB's .mat."""

import csv
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fixations import table_rows
from utils import MissingFileError, UserError

# Other names under which the optional columns of a CSV are known.
_SYNONYMS = {
    "viewer": ("viewer", "subject", "observer", "participant", "user"),
    "order": ("order", "index"),
    "duration": ("duration", "duration_ms"),
}


def load_mat(path: Path | str) -> dict[str, Any]:
    """Read a MATLAB file, with structs as dicts.

    Raises:
        MissingFileError: There is no such file.
        UserError: It is no MATLAB file, or damaged.
    """
    from scipy.io import loadmat

    if not Path(path).is_file():
        raise MissingFileError(f"{path}: there is no such file.")
    try:
        return loadmat(path, simplify_cells=True)
    except Exception as error:  # fed rubbish, the reader may raise anything
        raise UserError(f"{path}: not a readable MATLAB file ({error}).") from error


def read_tables(path: Path) -> dict[str, np.ndarray]:
    """Read single fixations from a .csv file, or a .mat file in OSIE's form.

    Returns:
        The rows of a `fixations.Table` by the image's name.

    Raises:
        UserError: The file is damaged or has another form; a CSV's line is named.
    """
    return read_osie_mat(path) if path.suffix.lower() == ".mat" else read_csv(path)


def read_csv(path: Path) -> dict[str, np.ndarray]:
    """Read a CSV of fixations: columns image, x, y, and viewer, order, duration where present.

    x and y are pixels from the top left, counted from 0; further columns are ignored. Viewers may
    be named by any text; they are numbered in the order they appear.

    Returns:
        The rows of a `fixations.Table` by the image's name.

    Raises:
        UserError: A column is missing, or a line holds no numbers.
    """
    columns: dict[str, list[list[float]]] = defaultdict(list)
    viewers: dict[str, int] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="(more)", strict=True)
            names = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
            missing = [name for name in ("image", "x", "y") if name not in names]
            if missing:
                raise UserError(
                    f"{path}: no column {' and no column '.join(missing)}. The first line has to "
                    "name the columns image, x and y."
                )
            optional = {
                column: next((names[name] for name in synonyms if name in names), None)
                for column, synonyms in _SYNONYMS.items()
            }
            for line in reader:
                columns[_text(line[names["image"]])].append(
                    [
                        _number(line[names["x"]]),
                        _number(line[names["y"]]),
                        _viewer(line.get(optional["viewer"]), viewers),
                        _number(line.get(optional["order"]), empty=np.nan),
                        _number(line.get(optional["duration"]), empty=np.nan),
                    ]
                )
    except (ValueError, csv.Error) as error:
        where = f"line {reader.line_num}" if "reader" in locals() else "the file"
        raise UserError(f"{path}, {where}: {error}.") from error
    if not columns:
        raise UserError(f"{path}: the file holds no fixations.")
    return {image: np.array(rows) for image, rows in columns.items()}


def _text(value: str | None) -> str:
    if not value or not value.strip():
        raise ValueError("no image is named")
    return value.strip()


def _number(value: str | None, empty: float | None = None) -> float:
    text = (value or "").strip()
    if not text and empty is not None:
        return empty
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise ValueError(f"{text!r} is no number")
    return number


def _viewer(value: str | None, viewers: dict[str, int]) -> float:
    text = (value or "").strip()
    return viewers.setdefault(text, len(viewers) + 1) if text else np.nan


def read_osie_mat(path: Path) -> dict[str, np.ndarray]:
    """Read a .mat file in the form of OSIE's fixations.mat.

    Its variable `fixations` holds an entry per image, with `img`, its name, and `subjects`, an
    entry per viewer with `fix_x`, `fix_y` and, where recorded, `fix_duration` in milliseconds.

    Returns:
        The rows of a `fixations.Table` by the image's name.

    Raises:
        UserError: The file is damaged or has another form.
    """
    content = load_mat(path)
    try:
        return {
            str(entry["img"]): np.concatenate(
                [
                    _viewer_rows(number, viewer)
                    for number, viewer in enumerate(np.atleast_1d(entry["subjects"]), start=1)
                ]
            )
            for entry in np.atleast_1d(content["fixations"])
        }
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"{path}: not in OSIE's form (fixations with img and subjects, these with fix_x and "
            f"fix_y): {error}."
        ) from error


def _viewer_rows(number: int, viewer: Mapping[str, Any]) -> np.ndarray:
    x, y = np.atleast_1d(viewer["fix_x"]), np.atleast_1d(viewer["fix_y"])
    duration = viewer.get("fix_duration", np.nan)
    return table_rows(x, y, number, np.arange(1, len(x) + 1), duration)
