"""Measures of how well a predicted map agrees with where people looked: pure functions on arrays.

Definitions: Kuemmerer, Wallis, Bethge, "Saliency benchmarking made easy: separating models, maps
and metrics", ECCV 2018, as the MIT/Tuebingen Saliency Benchmark computes them (pysaliency 0.2.22).
Every measure is of one image, at that image's own size and in float64.

A map is a float or integer array [height, width] without NaN or infinity, on any scale. Positions
are a pair of integer arrays (ys, xs) of equal length, in pixels, as `numpy.nonzero` returns them
for a map of points; one that is repeated counts each time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Positions = tuple[np.ndarray, np.ndarray]

# The `eps` of the MIT benchmark's first code, in MATLAB, with the digits that pysaliency gives it.
_EPS = 2.2204e-16


def _checked(saliency: np.ndarray) -> np.ndarray:
    """Return a map as float64, or raise ValueError."""
    saliency = np.asarray(saliency, dtype=np.float64)
    if saliency.ndim != 2 or saliency.size == 0:
        raise ValueError(f"A map has a height and a width, not the shape {saliency.shape}.")
    if not np.isfinite(saliency).all():
        raise ValueError("The map holds NaN or infinity.")
    return saliency


def _checked_pair(predicted: np.ndarray, human: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two maps of one shape as float64, or raise ValueError."""
    one, other = _checked(predicted), _checked(human)
    # NumPy would stretch a single row or column over the other map.
    if one.shape != other.shape:
        raise ValueError(f"The maps differ in shape: {one.shape} and {other.shape}.")
    return one, other


def _values_at(saliency: np.ndarray, positions: Positions) -> np.ndarray:
    """Return a map's values at some positions [positions], or raise ValueError."""
    ys, xs = (np.asarray(axis) for axis in positions)
    height, width = saliency.shape
    inside = (ys >= 0) & (ys < height) & (xs >= 0) & (xs < width)
    if inside.size == 0:
        raise ValueError("There are no positions to measure at.")
    # A negative index would silently count from the other border.
    if not inside.all():
        raise ValueError(
            f"{(~inside).sum()} of {inside.size} positions are outside of the map of height "
            f"{height} and width {width}."
        )
    return saliency[ys, xs]


def _is_constant(saliency: np.ndarray) -> bool:
    # The standard deviation of equal values is not always 0: their mean is rounded.
    return bool(saliency.min() == saliency.max())


def _z_scores(saliency: np.ndarray) -> np.ndarray:
    """Shift and scale a map to mean 0 and standard deviation 1; a constant one to zeros."""
    if _is_constant(saliency):
        return np.zeros(saliency.shape)
    return (saliency - saliency.mean()) / saliency.std()


def _density(saliency: np.ndarray) -> np.ndarray:
    """Turn a map into probabilities that sum to 1.

    A map with negative values is first shifted so that its minimum is 0; one of zeros becomes the
    uniform density.
    """
    shifted = saliency - min(saliency.min(), 0)
    total = shifted.sum()
    return shifted / total if total > 0 else np.full(shifted.shape, 1 / shifted.size)


def _area_under_curve(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Return the probability that a positive exceeds a negative, where equality counts half."""
    # The area under the ROC curve is this probability (Mann and Whitney), so ranks among the
    # sorted negatives replace the curve.
    ordered = np.sort(negatives, axis=None)
    lower = np.searchsorted(ordered, positives, side="left")
    lower_or_equal = np.searchsorted(ordered, positives, side="right")
    return float((lower + lower_or_equal).mean() / (2 * ordered.size))


def auc(predicted: np.ndarray, fixated: Positions) -> float:
    """Return the area under the ROC curve that tells fixations from all pixels of the map.

    The negatives are all pixels, the fixated ones too, so a perfect map stays a little below 1.

    Args:
        predicted: The map [height, width].
        fixated: Where people looked.

    Returns:
        0..1; 0.5 for a constant map, as for chance.

    Raises:
        ValueError: The map is no finite map, or `fixated` is empty or leaves it.
    """
    predicted = _checked(predicted)
    return _area_under_curve(_values_at(predicted, fixated), predicted)


def sauc(predicted: np.ndarray, fixated: Positions, others: Positions) -> float:
    """Return the shuffled AUC: fixations against where people looked in other images.

    It does not reward a map for looking at the centre, which people do in every image.

    Args:
        predicted: The map [height, width].
        fixated: Where people looked.
        others: Where people looked in other images, on this one's pixels: `nonfixations`.

    Returns:
        0..1; 0.5 for a constant map.

    Raises:
        ValueError: The map is no finite map, or `fixated` or `others` is empty or leaves it.
    """
    predicted = _checked(predicted)
    return _area_under_curve(_values_at(predicted, fixated), _values_at(predicted, others))


def scale_positions(
    positions: Positions, size: tuple[int, int], new_size: tuple[int, int]
) -> Positions:
    """Move positions to the pixels of an image of another size.

    Corners of pixels are moved and rounded down, in the benchmark's order of operations, so that
    every position stays inside and equals the benchmark's.

    Args:
        positions: In an image of `size`.
        size: Its (height, width) in pixels.
        new_size: The other image's (height, width) in pixels.

    Returns:
        As many positions, in the order given.
    """
    ys, xs = (
        (np.asarray(axis) * (new / old)).astype(int)
        for axis, old, new in zip(positions, size, new_size, strict=True)
    )
    return ys, xs


def nonfixations(
    image: int, fixated: Sequence[Positions], sizes: Sequence[tuple[int, int]]
) -> Positions:
    """Collect where people looked in all images but one, as the negatives of its shuffled AUC.

    Args:
        image: The index of the image to collect for.
        fixated: Where people looked in each image.
        sizes: Each image's (height, width) in pixels.

    Returns:
        Positions in `image`, scaled to its size; none where there is no other image.
    """
    scaled = [
        scale_positions(positions, size, sizes[image])
        for other, (positions, size) in enumerate(zip(fixated, sizes, strict=True))
        if other != image
    ]
    ys, xs = np.concatenate([np.empty((2, 0), dtype=int), *scaled], axis=1)
    return ys, xs


def nss(predicted: np.ndarray, fixated: Positions) -> float:
    """Return the normalized scanpath saliency: the mean fixated value of the z-scored map.

    Args:
        predicted: The map [height, width].
        fixated: Where people looked.

    Returns:
        In the map's standard deviations above its mean; 0 for a constant map. (pysaliency means
        this too, but gives -1, 0 or 1 there, according to how the mean of equal values is rounded.)

    Raises:
        ValueError: The map is no finite map, or `fixated` is empty or leaves it.
    """
    return float(_values_at(_z_scores(_checked(predicted)), fixated).mean())


def cc(predicted: np.ndarray, human: np.ndarray) -> float:
    """Return Pearson's correlation coefficient of two maps.

    Args:
        predicted: The map [height, width].
        human: The blurred fixation map, of the same shape.

    Returns:
        -1..1. Where it is undefined, the benchmark's choice: 0 for a constant prediction, which
        says nothing about the image, but NaN for a constant human map, whatever is predicted.

    Raises:
        ValueError: The maps are not two finite maps of one shape.
    """
    predicted, human = _checked_pair(predicted, human)
    if _is_constant(human):
        return float("nan")
    correlation = (_z_scores(predicted) * _z_scores(human)).mean()
    return float(np.clip(correlation, -1, 1))


def sim(predicted: np.ndarray, human: np.ndarray) -> float:
    """Return the similarity of two maps: what their densities have in common.

    Both maps are divided by their sums; where one has negative values its minimum is subtracted
    first, and one of zeros counts as uniform.

    Args:
        predicted: The map [height, width].
        human: The blurred fixation map, of the same shape.

    Returns:
        0 for densities that do not overlap, to 1 for equal ones.

    Raises:
        ValueError: The maps are not two finite maps of one shape.
    """
    one, other = _checked_pair(predicted, human)
    return float(np.minimum(_density(one), _density(other)).sum())


def kld(predicted: np.ndarray, human: np.ndarray) -> float:
    """Return the Kullback-Leibler divergence of the human map from the predicted one.

    Both maps become densities as for `sim`; then it is the sum of p ln(e + p / (q + e)) for the
    human p and the predicted q, with the benchmark's e = 2.2204e-16 in both places.

    Args:
        predicted: The map [height, width].
        human: The blurred fixation map, of the same shape.

    Returns:
        In nats: 0 for equal densities (e may bring it below by the number of pixels times e), and
        up to about 36 for densities that do not overlap.

    Raises:
        ValueError: The maps are not two finite maps of one shape.
    """
    predicted, human = _checked_pair(predicted, human)
    q, p = _density(predicted), _density(human)
    return float((p * np.log(_EPS + p / (q + _EPS))).sum())


def log_density(saliency: np.ndarray, floor: float = _EPS) -> np.ndarray:
    """Turn a saliency map into the log-density over pixels that information gain needs.

    The map becomes a density as for `sim`, gets a floor, and is divided by its sum again.

    The benchmark measures the information gain of probabilistic models only, and says not how to
    make one of a map. The floor is that of `InfoGain.m`, the MIT benchmark's first code
    (github.com/cvzoya/saliency). A fixation where the map is 0 then costs over 30 bits at usual
    image sizes, so few of them decide the mean.

    Args:
        saliency: The map [height, width].
        floor: Probability that is added to each pixel, whatever the map's scale; above 0.

    Returns:
        Natural logarithms, float64 [height, width]; their exponentials sum to 1.

    Raises:
        ValueError: `saliency` is no finite map.
    """
    floored = _density(_checked(saliency)) + floor
    return np.log(floored / floored.sum())


def ig(log_predicted: np.ndarray, log_baseline: np.ndarray, fixated: Positions) -> float:
    """Return the information gain: by how much the prediction explains fixations better.

    The baseline knows only that people look at the centre, for instance the mean human map of
    training images.

    Args:
        log_predicted: Natural logarithms of the predicted density, [height, width]: `log_density`
            for a saliency map.
        log_baseline: The same of the baseline, of the same shape.
        fixated: Where people looked.

    Returns:
        Bits per fixation; 0 for the baseline itself, negative for a worse prediction, and minus
        infinity where a fixation was predicted to be impossible.

    Raises:
        ValueError: The shapes differ, or `fixated` is empty or leaves the map.
    """
    predicted, baseline = (
        np.asarray(log, dtype=np.float64) for log in (log_predicted, log_baseline)
    )
    if predicted.shape != baseline.shape:
        raise ValueError(f"The maps differ in shape: {predicted.shape} and {baseline.shape}.")
    gain = _values_at(predicted, fixated) - _values_at(baseline, fixated)
    return float(gain.mean() / np.log(2))


@dataclass(frozen=True)
class Scores:
    """The seven measures of one image, by the names of the literature; None where not measured.

    CC alone can be NaN, where the human map is constant.
    """

    AUC: float | None
    sAUC: float | None
    NSS: float | None
    CC: float
    SIM: float
    KLD: float
    IG: float | None


def scores(
    predicted: np.ndarray,
    human: np.ndarray,
    fixated: Positions | None = None,
    others: Positions | None = None,
    baseline: np.ndarray | None = None,
) -> Scores:
    """Measure one predicted map in all seven ways.

    Args:
        predicted: The map [height, width], at the image's own size.
        human: The blurred fixation map, of the same shape.
        fixated: Where people looked; without any, AUC, sAUC, NSS and IG are None.
        others: Where people looked in other images (`nonfixations`); without any, sAUC is None.
        baseline: The centre bias as a map of the same shape; without it IG is None. It and
            `predicted` become densities by `log_density`.

    Returns:
        The measures.

    Raises:
        ValueError: The maps are not finite maps of one shape, or positions leave them.
    """
    has_points = fixated is not None and len(fixated[0]) > 0
    has_others = has_points and others is not None and len(others[0]) > 0
    has_baseline = has_points and baseline is not None
    return Scores(
        AUC=auc(predicted, fixated) if has_points else None,
        sAUC=sauc(predicted, fixated, others) if has_others else None,
        NSS=nss(predicted, fixated) if has_points else None,
        CC=cc(predicted, human),
        SIM=sim(predicted, human),
        KLD=kld(predicted, human),
        IG=ig(log_density(predicted), log_density(baseline), fixated) if has_baseline else None,
    )
