"""Fixations on the pixel grid: telling points from smooth maps, moving them, and blurring them."""

from dataclasses import dataclass

import numpy as np

# What is known of single fixations: pixels from the top left counted from 0, who looked, the
# place in that viewer's sequence, and milliseconds; NaN where the source does not say.
COLUMNS = ("x", "y", "viewer", "order", "duration")

# A pixel's eight neighbours belong to the same spot.
_EIGHT = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Table:
    """Single fixations on one image.

    Attributes:
        rows: float64 [fixations, 5], in `COLUMNS`.
        size: The (height, width) they were recorded on, where the source says.
    """

    rows: np.ndarray
    size: tuple[int, int] | None = None


def table_rows(
    x: np.ndarray,
    y: np.ndarray,
    viewer: np.ndarray | float = np.nan,
    order: np.ndarray | float = np.nan,
    duration: np.ndarray | float = np.nan,
) -> np.ndarray:
    """Return columns, arrays of one length or constants, as the rows of a `Table`."""
    x = np.asarray(x, dtype=np.float64).ravel()
    rows = np.empty((len(x), len(COLUMNS)))
    for index, column in enumerate((x, y, viewer, order, duration)):
        rows[:, index] = np.asarray(column, dtype=np.float64).ravel()
    return rows


def points_at(rows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the pixels that fixations fall on.

    Args:
        rows: float array [fixations, 2 or more]: x, y, inside the image.
        size: The image's (height, width).

    Returns:
        bool array [height, width].
    """
    points = np.zeros(size, dtype=bool)
    columns, lines = rows[:, :2].astype(int).T
    points[lines, columns] = True
    return points


def looks_like_points(brightness: np.ndarray) -> bool:
    """Tell a map of fixation points from a smooth (blurred) map by its pixels.

    The outline of what is brighter than half of the maximum is looked at. Points, small discs and
    points that went through JPEG fall from bright to dark within one pixel there, and their spots
    are small. A Gaussian of sigma s falls by 0.6 / s of its maximum a pixel. The size of the spots
    decides for smooth maps of so few grey levels that the steps between them look like edges.

    Args:
        brightness: float array [height, width], 0 and up.

    Returns:
        True for points, False for a smooth map and for one without any bright pixel.
    """
    top = brightness.max(initial=0)
    if top <= 0:
        return False
    relative = brightness / top
    bright = relative > 0.5
    falls = []
    for axis in (0, 1):
        outline = np.diff(bright, axis=axis)
        falls.append(np.abs(np.diff(relative, axis=axis))[outline])
    falls = np.concatenate(falls)
    if falls.size == 0 or np.median(falls) < 0.4:
        return False
    return _median_spot_area(bright) <= 500


def _median_spot_area(mask: np.ndarray) -> float:
    # Imported late: SciPy takes longer to load than everything else `main.py --help` needs.
    from scipy import ndimage

    labels, count = ndimage.label(mask, _EIGHT)
    return float(np.median(np.bincount(labels.ravel())[1:])) if count else 0.0


def extract_points(brightness: np.ndarray) -> np.ndarray:
    """Return the fixated pixels of a map of points.

    In a clean map every pixel that is not black is a fixation, however dark (maps may count
    fixations). Where the dark pixels surround the bright ones (JPEG's ringing, which fills blocks
    of 8 x 8, or the soft edges of drawn discs), only what is brighter than half of the maximum
    counts.

    Args:
        brightness: float array [height, width], 0 and up.

    Returns:
        bool array [height, width].
    """
    bright = brightness > 0.5 * brightness.max(initial=0)
    dark = (brightness > 0) & ~bright
    if not dark.any():
        return bright
    from scipy import ndimage

    beside = ndimage.maximum_filter(bright, size=15)
    return bright if (dark & beside).sum() >= 0.9 * dark.sum() else bright | dark


def move_points(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring fixated pixels to another image size by moving each one; none is interpolated.

    Args:
        points: bool array [height, width].
        size: The new (height, width) in pixels.

    Returns:
        bool array of the new size; points that fall together become one.
    """
    if points.shape == tuple(size):
        return points
    moved = np.zeros(size, dtype=bool)
    old = np.argwhere(points)
    # Pixel centres are moved, so that no point can leave the image.
    new = ((old + 0.5) * np.array(size) / np.array(points.shape)).astype(int)
    moved[tuple(new.T)] = True
    return moved


def _gaussian_rows(positions: np.ndarray, length: int, sigma: float) -> np.ndarray:
    """Return, for each position on a line, its blurred unit impulse: [positions, length]."""
    radius = int(4.0 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    # Mirrored at the border, the edge pixel repeated, as often as the kernel needs.
    target = (positions[:, None] + offsets) % (2 * length)
    target = np.where(target < length, target, 2 * length - 1 - target)
    target += np.arange(len(positions))[:, None] * length
    weights = np.broadcast_to(kernel, target.shape)
    rows = np.bincount(target.ravel(), weights.ravel(), len(positions) * length)
    return rows.reshape(len(positions), length)


def blur(points: np.ndarray, sigma: float) -> np.ndarray:
    """Blur fixated pixels; equal to `scipy.ndimage.gaussian_filter(points, sigma)`.

    A Gaussian is separable and fixations are few, so two small matrix products over the rows and
    columns that hold a fixation give the whole map, several times faster than filtering it.

    Args:
        points: bool or count array [height, width].
        sigma: Standard deviation in pixels, above 0.

    Returns:
        float64 array [height, width] with the sum of `points`.
    """
    ys, xs = np.nonzero(points)
    rows, row_of = np.unique(ys, return_inverse=True)
    columns, column_of = np.unique(xs, return_inverse=True)
    compact = np.zeros((len(rows), len(columns)))
    compact[row_of, column_of] = points[ys, xs]
    along_x = compact @ _gaussian_rows(columns, points.shape[1], sigma)
    return _gaussian_rows(rows, points.shape[0], sigma).T @ along_x


def to_uint8(saliency: np.ndarray) -> np.ndarray:
    """Scale a map with values from 0 so that its maximum is 255, rounded to uint8."""
    top = saliency.max(initial=0)
    return np.rint(saliency * (255 / top if top > 0 else 0)).astype(np.uint8)
