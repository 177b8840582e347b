"""How good predicted maps are: held-out truth, baselines, intervals, tables and comparisons."""

import csv
import json
import math
import platform
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import config
import data
import fixations
import images
import metrics
import prepare
import tables
from metrics import Positions, Scores
from utils import (
    MissingFileError,
    UserError,
    atomic_write,
    count_of,
    in_parallel,
    sha256,
    write_json,
)

METRICS = tuple(field.name for field in fields(Scores))
POINT_METRICS = ("AUC", "sAUC", "NSS", "IG")
LOWER_IS_BETTER = ("KLD",)

MODEL, CENTRE_BIAS, UNIFORM, CEILING = "model", "centre bias", "uniform", "human ceiling"

SUMMARY = "summary.json"
PER_IMAGE = "per_image.csv"
_TRUTH = ("width", "height", "fixations")

SEED = 42
RESAMPLES = 1000
HALVINGS = 10

# The centre bias is made on this many cells along each edge, whatever the images' sizes.
_CELLS = 128
# Standard deviations to choose from, as shares of an edge; of equally good ones the widest counts.
_CENTRE_SIGMAS = np.geomspace(0.32, 0.01, 11)
_FOLDS = 5

# What the centre bias contributes to the prediction that half of the viewers make. A blurred map
# is 0 beyond 4 sigma, which would claim that nobody can look there: a fixation at such a place
# costs more than 30 bits, and a few of them put people below any model in KLD and IG. A hundredth
# ends that and moves the other five measures by less than 0.005 on OSIE.
_CENTRE_SHARE = 0.01

# Beyond these, fixations of other images and images for the ceiling are drawn: a set of thousands
# of images would take hours and its means would move in the fourth digit.
_MOST_OTHERS = 200_000
_MOST_CEILINGS = 500


@dataclass(frozen=True)
class Gaze:
    """Where people looked in one image.

    Attributes:
        fixated: In pixels of `size`; repeated ones count where they are known singly.
        size: The (height, width) that they are on.
        viewers: float [fixations], who looked; NaN where nobody knows.
    """

    fixated: Positions
    size: tuple[int, int]
    viewers: np.ndarray

    def on(self, size: tuple[int, int]) -> Positions:
        """Return the fixations on an image of `size`; moved ones that fall together become one."""
        if self.size == tuple(size):
            return self.fixated
        return np.nonzero(fixations.move_points(self.points(), size))

    def points(self) -> np.ndarray:
        """Return the fixated pixels, bool [height, width]."""
        points = np.zeros(self.size, dtype=bool)
        points[self.fixated] = True
        return points


def read_gaze(dataset: data.Dataset, stimuli: Sequence[Path]) -> list[Gaze]:
    """Read where people looked, singly where the dataset knows it, else from its fixation maps.

    Args:
        dataset: A prepared dataset with fixation points.
        stimuli: Some of its stimuli.

    Raises:
        UserError: A file is missing or damaged, or an image has no fixation.
    """
    table = dataset.path / prepare.TABLE
    if table.is_file():
        rows = tables.read_csv(table)
        # A table of the user's own may name images without their suffix or with another.
        rows = {prepare.stem(name): found for name, found in rows.items()} | rows
        read = partial(_tabled_gaze, dataset, rows)
    else:
        read = partial(_mapped_gaze, dataset.path / "stimuli", dataset._files("fixations"))
    return list(in_parallel(read, stimuli, "Reading fixations"))


def _size(dataset: data.Dataset, stimulus: Path) -> tuple[int, int]:
    sizes = list(dataset.record["sizes"])
    if len(sizes) == 1:
        width, height = map(int, sizes[0].split("x"))
    else:
        width, height = images.open_image(stimulus).size
    return height, width


def _tabled_gaze(dataset: data.Dataset, rows: Mapping[str, np.ndarray], stimulus: Path) -> Gaze:
    name = stimulus.relative_to(dataset.path / "stimuli").as_posix()
    size = _size(dataset, stimulus)
    # Stems tell images apart only where there are no folders below stimuli/.
    key = name if name in rows or "/" in name else prepare.stem(name)
    found = rows.get(key, np.empty((0, len(fixations.COLUMNS))))
    inside = (found[:, :2] >= 0).all(axis=1) & (found[:, :2] < size[::-1]).all(axis=1)
    if not inside.any():
        raise UserError(f"{dataset.path / prepare.TABLE}: no fixation inside the image {name}.")
    xs, ys = found[inside, :2].astype(int).T
    return Gaze((ys, xs), size, found[inside, fixations.COLUMNS.index("viewer")])


def _mapped_gaze(root: Path, maps: Mapping[tuple[str, str], Path], stimulus: Path) -> Gaze:
    name = stimulus.relative_to(root)
    path = maps.get((name.parent.as_posix(), prepare.stem(name.name)))
    if path is None:
        raise MissingFileError(f"{root.parent / 'fixations'}: no map of {name.as_posix()}.")
    points = fixations.extract_points(images.read_map(path))
    fixated = np.nonzero(points)
    if len(fixated[0]) == 0:
        raise UserError(f"{path}: a map without a single fixation.")
    return Gaze(fixated, points.shape, np.full(len(fixated[0]), np.nan))


def centre_bias(gaze: Sequence[Gaze]) -> np.ndarray:
    """Return where people look whatever the image shows: a density over relative positions.

    The fixations of all images are counted on a fixed grid and smoothed by a Gaussian. Its width
    is that of the highest likelihood in five-fold cross-validation over these images. One more
    fixation is spread evenly, so that no place is impossible.

    Args:
        gaze: Of the training images, at least one.

    Returns:
        float64 [128, 128], above 0, sum 1; `stretched` brings it to an image's size.
    """
    random = np.random.default_rng(SEED)
    counts = np.zeros((_FOLDS, _CELLS, _CELLS))
    for index, image in enumerate(gaze):
        # Cells hold unequal numbers of pixels, or none; a place drawn within the pixel evens it
        # out, so that the likelihood cannot favour a width that follows the pattern.
        places = np.transpose(image.fixated) + random.random((len(image.viewers), 2))
        cells = (places * _CELLS / image.size).astype(int)
        np.add.at(counts[index % _FOLDS], tuple(cells.T), 1)
    total = counts.sum(axis=0)

    def likelihood(sigma: float) -> float:
        return sum((fold * np.log(_smoothed(total - fold, sigma))).sum() for fold in counts)

    return _smoothed(total, max(_CENTRE_SIGMAS, key=likelihood))


def _smoothed(counts: np.ndarray, sigma: float) -> np.ndarray:
    smoothed = fixations.blur(counts, sigma * _CELLS) + 1 / counts.size
    return smoothed / smoothed.sum()


def mean_map(maps: Sequence[Path]) -> np.ndarray:
    """Return the centre bias of a dataset of which only smooth maps are known: their mean.

    Args:
        maps: The training images' saliency maps, at least one; each counts the same.

    Returns:
        float64 [128, 128] with the sum 1, as `centre_bias`.

    Raises:
        UserError: A map cannot be read or is empty.
    """

    def density(path: Path) -> np.ndarray:
        saliency = images.resize(images.read_map(path), (_CELLS, _CELLS)).astype(np.float64)
        if saliency.sum() <= 0:
            raise UserError(f"{path}: a map without a single bright pixel.")
        return saliency / saliency.sum()

    return sum(in_parallel(density, maps, "Reading maps")) / len(maps)


def stretched(density: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a density over relative positions on the pixels of an image of `size`, sum 1."""
    pixels = images.resize(density.astype(np.float32), size).astype(np.float64)
    return pixels / pixels.sum()


def human_ceiling(
    gaze: Gaze, sigma: float, others: Positions, baseline: np.ndarray, seed: Sequence[int]
) -> Scores | None:
    """Measure how well half of the viewers predict the other half: the mean of random halvings.

    The prediction is the first half's fixations, blurred, with a hundredth of the centre bias;
    the truth is the second half's fixations and their blurred map.

    Args:
        gaze: Fixations on the image, with viewers.
        sigma: Standard deviation of the blur in pixels.
        others: Where people looked in other images, for sAUC.
        baseline: The centre bias at the image's size, sum 1.
        seed: Of the halvings.

    Returns:
        The means of all measures, or None where fewer than two viewers are known.
    """
    viewers = np.unique(gaze.viewers[np.isfinite(gaze.viewers)])
    if len(viewers) < 2:
        return None
    random = np.random.default_rng(seed)
    halvings = []
    for _ in range(HALVINGS):
        shuffled = random.permutation(viewers)
        one, other = (_of_viewers(gaze, half) for half in np.split(shuffled, [len(viewers) // 2]))
        seen, truth = (fixations.blur(half.points(), sigma) for half in (one, other))
        prediction = (1 - _CENTRE_SHARE) * seen / seen.sum() + _CENTRE_SHARE * baseline
        halvings.append(metrics.scores(prediction, truth, other.fixated, others, baseline))
    by_metric = {name: [getattr(scores, name) for scores in halvings] for name in METRICS}
    return Scores(
        **{
            name: None if None in found else float(np.mean(found))
            for name, found in by_metric.items()
        }
    )


def _of_viewers(gaze: Gaze, viewers: np.ndarray) -> Gaze:
    ys, xs = gaze.fixated
    chosen = np.isin(gaze.viewers, viewers)
    return Gaze((ys[chosen], xs[chosen]), gaze.size, gaze.viewers[chosen])


@dataclass(frozen=True)
class Measured:
    """What was measured on one image.

    Attributes:
        name: The image's place below `stimuli/`.
        size: Its (height, width).
        fixations: How many are known; None where only a smooth map is.
        scores: By what made the map: "model", "centre bias", "uniform", "human ceiling".
    """

    name: str
    size: tuple[int, int]
    fixations: int | None
    scores: Mapping[str, Scores]


class _Pool:
    """The fixations of all held-out images, from which each image takes those of the others."""

    def __init__(self, gaze: Sequence[Gaze]) -> None:
        counts = [len(image.fixated[0]) for image in gaze]
        self._owner = np.repeat(np.arange(len(gaze)), counts)
        self._positions = np.concatenate([image.fixated for image in gaze], axis=1)
        self._sizes = np.repeat([image.size for image in gaze], counts, axis=0).T
        if len(self._owner) > _MOST_OTHERS:
            random = np.random.default_rng(SEED)
            drawn = random.choice(len(self._owner), _MOST_OTHERS, replace=False)
            self._owner = self._owner[drawn]
            self._positions = self._positions[:, drawn]
            self._sizes = self._sizes[:, drawn]

    def others(self, image: int, size: tuple[int, int]) -> Positions:
        """Return what `metrics.nonfixations` does, for an image of `size`."""
        chosen = self._owner != image
        # Each position is scaled from the size of its own image, all of them in one go.
        return metrics.scale_positions(self._positions[:, chosen], self._sizes[:, chosen], size)


@dataclass(frozen=True)
class HeldOut:
    """The truth about a dataset's held-out images, and the baselines that predictions must beat.

    Attributes:
        dataset: The dataset.
        split: The held-out stimuli and their human saliency maps.
        centre_bias: Made from the training images, float64 [128, 128], sum 1.
        sigma: Standard deviation, in pixels, of the blur of the human ceiling's maps.
        gaze: For each image, where people looked; None where only smooth maps are known.
    """

    dataset: data.Dataset
    split: data.Split
    centre_bias: np.ndarray
    sigma: float
    gaze: Sequence[Gaze] | None = None

    def measure(self, index: int, saliency: np.ndarray) -> Measured:
        """Measure a predicted map and the baselines on one held-out image; threads may share this.

        Args:
            index: The image's place in `split`.
            saliency: The prediction, float [height, width], at the image's own size.

        Raises:
            UserError: The human map cannot be read.
            ValueError: The prediction is no finite map.
        """
        size = saliency.shape
        human = images.resize(images.read_map(self.split.maps[index]), size)
        bias = stretched(self.centre_bias, size)
        predictions = {MODEL: saliency, CENTRE_BIAS: bias, UNIFORM: np.ones(size)}
        fixated = others = None
        if self.gaze:
            fixated = self.gaze[index].on(size)
            others = self._pool.others(index, size)
        scores = {
            row: metrics.scores(prediction, human, fixated, others, bias)
            for row, prediction in predictions.items()
        }
        name = self.name(index)
        if index in self._ceilings:
            seed = (SEED, zlib.crc32(name.encode()))
            ceiling = human_ceiling(self.gaze[index], self.sigma, others, bias, seed)
            if ceiling is not None:
                scores[CEILING] = ceiling
        return Measured(name, size, None if fixated is None else len(fixated[0]), scores)

    def name(self, index: int) -> str:
        """Return an image's place below `stimuli/`."""
        return self.split.stimuli[index].relative_to(self.dataset.path / "stimuli").as_posix()

    @cached_property
    def _pool(self) -> _Pool:
        return _Pool(self.gaze)

    @cached_property
    def _ceilings(self) -> set[int]:
        """The images that the human ceiling is measured on, as far as it can be."""
        count = len(self.gaze or ())
        return set(np.linspace(0, count - 1, min(count, _MOST_CEILINGS)).astype(int).tolist())

    def left_out(self, measured: Sequence[Measured]) -> dict[str, str]:
        """Return what was not measured, or not on all images, and why."""
        reasons = {}
        if self.gaze is None:
            reason = f"only smooth maps of {self.dataset.name} are known, no fixation points"
            return dict.fromkeys((*POINT_METRICS, CEILING), reason)
        if len(self.gaze) < 2:
            reasons["sAUC"] = "it needs the fixations of other held-out images, and there are none"
        without = sum(CEILING not in image.scores for image in measured)
        if without == len(measured):
            reasons[CEILING] = "no two viewers' fixations are known apart"
        elif without:
            share = f"{CEILING} on {without:,} of {len(measured):,} images"
            reasons[share] = f"it needs two viewers, and at most {_MOST_CEILINGS} images are used"
        undefined = sum(math.isnan(image.scores[MODEL].CC) for image in measured)
        if undefined:
            reasons[f"CC on {count_of(undefined, 'image')}"] = "the human map is constant"
        return reasons


def load(dataset: data.Dataset, held_out: data.Split) -> HeldOut:
    """Read the truth about held-out images, and make the centre bias of the training images.

    Args:
        dataset: A prepared dataset.
        held_out: The held-out images to measure on: all of them or some.

    Raises:
        UserError: A file is missing or damaged.
    """
    train, _ = dataset.load_data()
    sigma = dataset.record["sigma"] or config.SIGMA.get(dataset.name, config.DEFAULT_SIGMA)
    if dataset.record["maps"] != "fixation points":
        return HeldOut(dataset, held_out, mean_map(train.maps), sigma)
    gaze = read_gaze(dataset, [*train.stimuli, *held_out.stimuli])
    bias = centre_bias(gaze[: len(train.stimuli)])
    return HeldOut(dataset, held_out, bias, sigma, gaze[len(train.stimuli) :])


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% bootstrap interval.

    Attributes:
        mean: Of the values that are numbers.
        low: The 2.5th percentile of the resampled means.
        high: The 97.5th.
        count: How many values were numbers.
    """

    mean: float
    low: float
    high: float
    count: int


def bootstrap(values: np.ndarray) -> Interval:
    """Return a mean over images and how far it might lie off, had other images been drawn.

    The images are drawn anew 1,000 times with replacement, by the same seed each time, and the
    percentiles of the means are taken.

    Args:
        values: float [images]; NaN where there is none.

    Returns:
        The interval; all NaN where there is no value.
    """
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    drawn = np.random.default_rng(SEED).integers(len(known), size=(RESAMPLES, len(known)))
    low, high = np.percentile(known[drawn].mean(axis=1), (2.5, 97.5))
    return Interval(float(known.mean()), float(low), float(high), len(known))


def values(measured: Iterable[Measured], row: str, metric: str) -> np.ndarray:
    """Return one measure of every image, float [images]; NaN where it was not measured."""
    found = (getattr(image.scores.get(row), metric, None) for image in measured)
    return np.array([math.nan if value is None else value for value in found])


def summary(
    held_out: HeldOut,
    measured: Sequence[Measured],
    weights: Path,
    input_size: tuple[int, int],
    variant: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Sum an evaluation up, with what it takes to repeat it.

    Args:
        held_out: The truth.
        measured: What was measured, at least one image.
        weights: The file of the weights.
        input_size: The network's input (height, width).
        variant: What the network computes beside its weights, where it is not the ordinary one.

    Returns:
        What `summary.json` holds: dataset, images, metrics (by row and metric: mean, low, high),
        left_out (reasons by what they are about), weights, data, input_size, date (ISO, UTC) and
        versions.
    """
    table: dict[str, dict[str, dict[str, float]]] = {}
    for row in (MODEL, CENTRE_BIAS, UNIFORM, CEILING):
        for metric in METRICS:
            found = bootstrap(values(measured, row, metric))
            if found.count:
                entry = {"mean": found.mean, "low": found.low, "high": found.high}
                table.setdefault(row, {})[metric] = entry
    stimuli, maps = held_out.split
    return {
        "dataset": held_out.dataset.name,
        "images": len(measured),
        "metrics": table,
        "left_out": held_out.left_out(measured),
        "weights": {
            "file": str(weights),
            "sha256": sha256(weights),
            **({"variant": dict(variant)} if variant else {}),
        },
        "data": {
            "fingerprint": data.fingerprint(data.digests([*stimuli, *maps])),
            "archives": held_out.dataset.record["archives"],
        },
        "input_size": list(input_size),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in ("tensorflow", "keras", "numpy", "scipy")},
        },
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def write(folder: Path, summary: Mapping[str, Any], measured: Sequence[Measured]) -> None:
    """Write `per_image.csv` and `summary.json`.

    The table has a line an image: image, width, height, fixations, the model's measures, and the
    centre bias's as `<metric>_centre_bias`; a measure that was not taken is empty.

    Args:
        folder: `results/metrics/<dataset>`.
        summary: From `summary`.
        measured: What was measured.
    """
    suffixes = {MODEL: "", CENTRE_BIAS: "_centre_bias"}
    columns = {
        f"{metric}{suffix}": values(measured, row, metric)
        for row, suffix in suffixes.items()
        for metric in METRICS
        if metric in summary["metrics"][row]
    }
    path = folder / PER_IMAGE
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *_TRUTH, *columns])
        for image, *line in zip(measured, *columns.values(), strict=True):
            height, width = image.size
            numbers = ["" if math.isnan(value) else f"{value:.10g}" for value in line]
            writer.writerow([image.name, width, height, image.fixations, *numbers])
    write_json(folder / SUMMARY, summary)


def _aligned(lines: Sequence[Sequence[str]], gap: int = 1) -> str:
    """Return cells in columns, `gap` spaces or more apart; the first column to the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        (" " * gap).join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    )


def _rounded(value: float, sign: str = "-") -> str:
    # Adding 0 takes the sign off a rounded zero.
    return f"{round(value, 3) + 0.0:{sign}.3f}"


def _bracketed(low: float, high: float, sign: str = "-") -> str:
    return f"[{_rounded(low, sign)}, {_rounded(high, sign)}]"


def table(summary: Mapping[str, Any]) -> str:
    """Return an evaluation as text: a mean for each row and metric, its interval below.

    Args:
        summary: From `summary`, or read from `summary.json`.
    """
    rows = summary["metrics"]
    shown = [metric for metric in METRICS if any(metric in row for row in rows.values())]
    lines = [["", *shown]]
    for name, row in rows.items():
        found = [row.get(metric) for metric in shown]
        lines.append([name, *(_rounded(entry["mean"]) if entry else "-" for entry in found)])
        intervals = [_bracketed(entry["low"], entry["high"]) if entry else "" for entry in found]
        lines.append(["", *intervals])
    notes = [
        f"Means over {count_of(summary['images'], 'held-out image')} of {summary['dataset']}, with "
        "their 95% bootstrap intervals; lower is better in KLD."
    ]
    by_reason: dict[str, list[str]] = {}
    for what, reason in summary["left_out"].items():
        by_reason.setdefault(reason, []).append(what)
    notes += [f"Left out: {', '.join(what)}: {reason}." for reason, what in by_reason.items()]
    return "\n".join([_aligned(lines), "", *notes])


@dataclass(frozen=True)
class Results:
    """An evaluation as it was written.

    Attributes:
        path: Its `summary.json`.
        summary: The content of that.
        per_image: By the image's name, the numbers of its line by column; NaN where empty.
    """

    path: Path
    summary: Mapping[str, Any]
    per_image: Mapping[str, Mapping[str, float]]


def read_results(path: Path) -> Results:
    """Read an evaluation: a `summary.json` and the `per_image.csv` beside it.

    Args:
        path: The summary, or the folder of both.

    Raises:
        UserError: A file is missing or damaged, or they are of different evaluations.
    """
    path = path / SUMMARY if path.is_dir() else path
    summary = _read_summary(path)
    table = path.with_name(PER_IMAGE)
    per_image = _read_per_image(table)
    for metric, entry in summary["metrics"][MODEL].items():
        column = [line.get(metric, math.nan) for line in per_image.values()]
        mean = bootstrap(np.array(column)).mean
        if not math.isclose(mean, entry["mean"], rel_tol=1e-6, abs_tol=1e-6):
            raise UserError(
                f"{table} and {path} are not of one evaluation: the mean {metric} is {mean:.6g} "
                f"in one and {entry['mean']:.6g} in the other."
            )
    return Results(path, summary, per_image)


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        _ = summary["data"]["fingerprint"], Path(summary["weights"]["file"])
        _ = summary["dataset"], summary["date"][:10]
        for entry in summary["metrics"][MODEL].values():
            float(entry["mean"])
    except FileNotFoundError:
        raise MissingFileError(
            f"{path}: there is no such file. Name the summary.json of an earlier evaluation."
        ) from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: no JSON ({error.msg}).") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not the summary of an evaluation ({error!r}).") from error
    return summary


def _read_per_image(path: Path) -> dict[str, dict[str, float]]:
    lines: dict[str, dict[str, float]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            first, *columns = next(reader, [""])
            if first != "image" or len(set(columns)) < len(columns):
                raise ValueError("the first line has to name the columns, image first")
            for cells in reader:
                if len(cells) != 1 + len(columns):
                    raise ValueError(f"{len(cells)} cells where {1 + len(columns)} belong")
                name, *texts = cells
                if name in lines:
                    raise ValueError(f"the image {name} is there a second time")
                found = [float(text) if text else math.nan for text in texts]
                lines[name] = dict(zip(columns, found, strict=True))
    except FileNotFoundError:
        raise MissingFileError(
            f"{path}: there is no such file; it has to lie beside {SUMMARY}."
        ) from None
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}, line {max(reader.line_num, 1)}: {error}.") from error
    return lines


def compare(new: Results, old: Results) -> str:
    """Return what changed from one evaluation to another, image by image, as text.

    Images meet by their names. A change is called clear where its 95% interval leaves out 0.

    Args:
        new: The evaluation to judge.
        old: The one to judge it by. It has to be read before `new` is written, which may lie in
            the same place.

    Raises:
        UserError: The two have no image in common, or no metric.
    """
    names = [name for name in new.per_image if name in old.per_image]
    if not names:
        raise UserError(f"{new.path} and {old.path} have no image in common.")
    changes = {}
    for metric in METRICS:
        before, after = (
            np.array([results.per_image[name].get(metric, math.nan) for name in names])
            for results in (old, new)
        )
        if np.isfinite(after - before).any():
            changes[metric] = _Change(metric, before, after)
    if not changes:
        raise UserError(f"{new.path} and {old.path} have no metric in common.")
    telling = next(metric for metric in ("NSS", "CC", *METRICS) if metric in changes)
    lines = [
        f"Compared with {old.path} ({Path(old.summary['weights']['file']).name}, "
        f"{old.summary['date'][:10]}) on {count_of(len(names), 'image')}:",
        _aligned([_Change.HEADER, *(change.line() for change in changes.values())], gap=2),
        *_most_changed(changes[telling], names),
        *_cautions(new, old, names),
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class _Change:
    """One metric of the images that two evaluations share, NaN where it was not measured.

    Attributes:
        metric: Its name.
        before: float [images], of the old evaluation.
        after: float [images], of the new one.
    """

    HEADER = ("", "before", "now", "change", "95% interval", "")

    metric: str
    before: np.ndarray
    after: np.ndarray

    @property
    def better_by(self) -> np.ndarray:
        """By how much each image got better, float [images]."""
        change = self.after - self.before
        return -change if self.metric in LOWER_IS_BETTER else change

    def line(self) -> list[str]:
        both = np.isfinite(self.after - self.before)
        found = bootstrap(self.after - self.before)
        better = bootstrap(self.better_by)
        verdict = "no clear change"
        if better.low > 0 or better.high < 0:
            verdict = "clearly better" if better.mean > 0 else "clearly worse"
        return [
            self.metric,
            _rounded(self.before[both].mean()),
            _rounded(self.after[both].mean()),
            _rounded(found.mean, "+"),
            _bracketed(found.low, found.high, "+"),
            f"{verdict:<15}",
        ]


def _most_changed(change: _Change, names: Sequence[str], number: int = 5) -> list[str]:
    """Return the images that got better and worse by most, a line each under a heading."""
    better_by = np.nan_to_num(change.better_by)
    order = np.argsort(-better_by, kind="stable")
    lines = []
    for heading, indices in (
        ("better", [index for index in order[:number] if better_by[index] > 0]),
        ("worse", [index for index in order[::-1][:number] if better_by[index] < 0]),
    ):
        if indices:
            lines.append(f"Changed most for the {heading} in {change.metric}:")
        lines += [
            f"  {_rounded(change.before[index])} -> {_rounded(change.after[index])}  {names[index]}"
            for index in indices
        ]
    return lines


def _cautions(new: Results, old: Results, common: Sequence[str]) -> list[str]:
    """Return a sentence for each reason why the two evaluations compare but in part."""
    cautions = []
    for when, results, other in (("now", new, old), ("before", old, new)):
        alone = [name for name in results.per_image if name not in other.per_image]
        if alone:
            shown = ", ".join(alone[:5]) + (", ..." if len(alone) > 5 else "")
            cautions.append(f"Only {when}: {count_of(len(alone), 'image')} ({shown}).")
    datasets = [results.summary["dataset"] for results in (new, old)]
    if datasets[0] != datasets[1]:
        cautions.append(f"The evaluations are of different datasets: {' and '.join(datasets)}.")
    known = [
        [[results.per_image[name].get(column, math.nan) for column in _TRUTH] for name in common]
        for results in (new, old)
    ]
    other_truth = sum(
        not np.array_equal(*pair, equal_nan=True) for pair in zip(*known, strict=True)
    )
    if other_truth:
        cautions.append(
            f"{count_of(other_truth, 'image')} had another size or number of fixations before, so "
            "the two were not measured against the same truth."
        )
    elif (
        new.per_image.keys() == old.per_image.keys()
        and new.summary["data"]["fingerprint"] != old.summary["data"]["fingerprint"]
    ):
        cautions.append("The images or their human maps are not the same files in both.")
    return cautions
