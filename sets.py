"""The layouts of the published datasets: from their archives to pairs, one reader a set."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

import archive
import images
from fixations import Table, table_rows
from prepare import Pair, join, stem
from tables import load_mat, read_osie_mat
from utils import UserError, digest


def take(paths: Sequence[Path], incoming: Path, **patterns: str) -> dict[str, dict[str, Path]]:
    """Unpack the members of archives that patterns match.

    Args:
        paths: The archives, in any order.
        incoming: The folder to unpack into.
        patterns: A regular expression per kind of file, searched in the member's path regardless
            of case. Its first group is the file's place within its kind.

    Returns:
        For each kind, the unpacked files by their key: that place with the suffix of the name
        taken off by `prepare.stem`.

    Raises:
        UserError: An archive is unusable, holds two files of one key, or no archive holds a kind
            of file.
    """
    found: dict[str, dict[str, Path]] = {kind: {} for kind in patterns}
    for path in paths:
        targets: dict[str, Path] = {}
        chosen = []
        for member in archive.list_members(path):
            for kind, pattern in patterns.items():
                if match := re.search(pattern, str(member.path), re.IGNORECASE):
                    place = PurePosixPath(match[1])
                    key = str(place.with_name(stem(place.name)))
                    if key in found[kind]:
                        raise UserError(
                            f"{path}: {place} of the {kind} is there twice, here or in another "
                            "archive that was given. Pass each archive once."
                        )
                    targets[member.name] = found[kind][key] = incoming / kind / place
                    chosen.append(member)
                    break
        archive.extract(path, chosen, lambda member, targets=targets: targets[member.name])
    lacking = [kind for kind, files in found.items() if not files]
    if lacking:
        raise UserError(
            f"{' and '.join(str(path) for path in paths)}: no {' and no '.join(lacking)} inside. "
            "Is this the right archive, and are all of the set's archives given?"
        )
    return found


def _tables(
    files: Mapping[str, Path], read: Callable[[Path], Table]
) -> dict[str, Callable[[], Table]]:
    return {key: partial(read, file) for key, file in files.items()}


def read_salicon(paths: Sequence[Path], incoming: Path) -> tuple[list[Pair], list[str]]:
    """Read SALICON's images, fixations (a .mat per image) and maps; the test part is left out."""
    found = take(
        paths,
        incoming,
        stimuli=r"(?:^|/)((?:train|val)/[^/]+\.jpe?g)$",
        fixations=r"(?:^|/)((?:train|val)/[^/]+\.mat)$",
        saliency=r"(?:^|/)((?:train|val)/[^/]+\.png)$",
    )
    tables = _tables(found["fixations"], _salicon_table)
    return join(found["stimuli"], saliency_map=found["saliency"], table=tables)


def _salicon_table(path: Path) -> Table:
    """`gaze` has an entry per viewer, whose `fixations` is N x 2: x, y, counted from 1."""
    content = load_mat(path)
    try:
        rows = [np.empty((0, 5))]
        for number, viewer in enumerate(np.atleast_1d(content["gaze"]), start=1):
            xy = np.asarray(viewer["fixations"], dtype=np.float64).reshape(-1, 2) - 1
            rows.append(table_rows(xy[:, 0], xy[:, 1], number, np.arange(1, len(xy) + 1)))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"{path}: not in SALICON's form (gaze with fixations): {error}.") from error
    return Table(np.concatenate(rows))


def read_mit1003(paths: Sequence[Path], incoming: Path) -> tuple[list[Pair], list[str]]:
    """Read MIT1003: points that went through JPEG, and maps; a stray file has neither ending."""
    found = take(
        paths,
        incoming,
        stimuli=r"(?:^|/)ALLSTIMULI/([^/]+\.jpe?g)$",
        points=r"(?:^|/)ALLFIXATIONMAPS/([^/]+_fixPts\.jpe?g)$",
        maps=r"(?:^|/)ALLFIXATIONMAPS/([^/]+_fixMap\.jpe?g)$",
    )
    return join(found["stimuli"], found["points"], found["maps"])


def read_cat2000(paths: Sequence[Path], incoming: Path) -> tuple[list[Pair], list[str]]:
    """Read CAT2000's training set: locations in a .mat per image, and maps, by category."""
    found = take(
        paths,
        incoming,
        stimuli=r"(?:^|/)Stimuli/([^/]+/[^/]+\.jpg)$",
        locations=r"(?:^|/)FIXATIONLOCS/([^/]+/[^/]+\.mat)$",
        maps=r"(?:^|/)FIXATIONMAPS/([^/]+/[^/]+\.jpg)$",
    )
    return join(
        found["stimuli"],
        saliency_map=found["maps"],
        table=_tables(found["locations"], _cat2000_table),
    )


def _cat2000_table(path: Path) -> Table:
    """The largest matrix of the file (`fixLocs`) is 1 where somebody looked."""
    matrices = [
        value
        for value in load_mat(path).values()
        if isinstance(value, np.ndarray) and value.ndim == 2
    ]
    if not matrices:
        raise UserError(f"{path}: no matrix of fixation locations inside.")
    locations = max(matrices, key=np.size)
    y, x = np.nonzero(locations)
    return Table(table_rows(x, y), locations.shape)


def read_dutomron(paths: Sequence[Path], incoming: Path) -> tuple[list[Pair], list[str]]:
    """Read DUT-OMRON: images, and a .mat of fixations for each."""
    found = take(
        paths,
        incoming,
        stimuli=r"(?:^|/)([^/]+\.jpe?g)$",
        fixations=r"(?:^|/)([^/]+\.mat)$",
    )
    return join(found["stimuli"], table=_tables(found["fixations"], _dutomron_table))


def _dutomron_table(path: Path) -> Table:
    """`s` has rows (x, y, viewer), counted from 0; that of viewer 0 holds the (width, height)."""
    try:
        rows = np.asarray(load_mat(path)["s"], dtype=np.float64).reshape(-1, 3)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: not in DUT-OMRON's form (s with rows x, y, viewer): {error}."
        ) from error
    is_size = rows[:, 2] == 0
    size = None
    if is_size.any():
        width, height = rows[is_size][0, :2]
        size = int(height), int(width)
    x, y, viewer = rows[~is_size].T
    return Table(table_rows(x, y, viewer, _order_by_viewer(viewer)), size)


def _order_by_viewer(viewer: np.ndarray) -> np.ndarray:
    """Number the fixations of each viewer from 1, in the order they stand in."""
    order = np.zeros(len(viewer))
    for one in np.unique(viewer):
        mine = viewer == one
        order[mine] = np.arange(1, mine.sum() + 1)
    return order


def read_pascals(paths: Sequence[Path], incoming: Path) -> tuple[list[Pair], list[str]]:
    """Read PASCAL-S out of the salObj archive: images, maps, and two HDF5 files of fixations."""
    found = take(
        paths,
        incoming,
        stimuli=r"(?:^|/)imgs/pascal/([^/]+\.jpg)$",
        maps=r"(?:^|/)pascal/humanFix/([^/]+\.png)$",
        fixations=r"(?:^|/)(pascalFix\.mat)$",
        sizes=r"(?:^|/)(pascalSize\.mat)$",
    )
    [fixation_file] = found["fixations"].values()
    [size_file] = found["sizes"].values()
    tables = _pascals_tables(fixation_file, size_file)
    # The files hold no names: their entries stand in the order of the images' numbers.
    keys = sorted(found["stimuli"], key=lambda key: (len(key), key))
    if len(keys) != len(tables):
        raise UserError(
            f"{paths[0]}: pascalFix.mat has fixations on {len(tables):,} images, but there are "
            f"{len(keys):,}, so nobody can tell which belong together."
        )
    by_key = {
        key: partial(_pascals_table, rows, size, found["stimuli"][key])
        for key, (rows, size) in zip(keys, tables, strict=True)
    }
    return join(found["stimuli"], saliency_map=found["maps"], table=by_key)


def _pascals_table(rows: np.ndarray, size: tuple[int, int], stimulus: Path) -> Table:
    # Nothing says whether height or width comes first in the file; the image does.
    width, height = images.open_image(stimulus).size
    return Table(rows, (height, width) if size == (width, height) else size)


def _pascals_tables(
    fixation_file: Path, size_file: Path
) -> list[tuple[np.ndarray, tuple[int, int]]]:
    """`fixCell` refers to a 3 x N matrix an image: row, column, viewer, all counted from 1."""
    import h5py

    try:
        with h5py.File(fixation_file, "r") as file, h5py.File(size_file, "r") as sizes:
            entries = [np.asarray(file[link]) for link in np.ravel(file["fixCell"][()])]
            image_sizes = np.asarray(sizes["sizeData"]).reshape(2, -1).T.astype(int)
            tables = []
            for entry, (height, width) in zip(entries, image_sizes, strict=True):
                row, column, viewer = entry.reshape(3, -1)
                rows = table_rows(column - 1, row - 1, viewer, _order_by_viewer(viewer))
                tables.append((rows, (int(height), int(width))))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{fixation_file.name} and {size_file.name}: not in PASCAL-S' form (fixCell, "
            f"sizeData): {error}."
        ) from error
    return tables


def read_osie(
    paths: Sequence[Path], incoming: Path, fixations_md5: str | None = None
) -> tuple[list[Pair], list[str]]:
    """Read OSIE: images, and one .mat with every fixation of 15 viewers.

    Args:
        paths: The archive.
        incoming: The folder to unpack into.
        fixations_md5: The sum that fixations.mat must have, if it is to be checked.
    """
    found = take(
        paths,
        incoming,
        stimuli=r"(?:^|/)stimuli/([^/]+\.jpg)$",
        fixations=r"(?:^|/)(fixations\.mat)$",
    )
    [file] = found["fixations"].values()
    if fixations_md5 and (md5 := digest(file, "md5")) != fixations_md5:
        raise UserError(
            f"{paths[0]}: its fixations.mat has changed (MD5 {md5}, published as "
            f"{fixations_md5}). Pass --no-verify to use it all the same."
        )
    tables = {stem(name): partial(Table, rows) for name, rows in read_osie_mat(file).items()}
    return join(found["stimuli"], table=tables)


def read_fiwi(paths: Sequence[Path], incoming: Path) -> tuple[list[Pair], list[str]]:
    """Read FiWI, web pages: images and maps of points."""
    found = take(
        paths,
        incoming,
        stimuli=r"(?:^|/)stimuli/([^/]+\.png)$",
        points=r"(?:^|/)all5/([^/]+\.png)$",
    )
    return join(found["stimuli"], found["points"])
