"""From pairs of files to a dataset folder: check every pair, make the maps, move it into place."""

import csv
import json
import os
import re
import shutil
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

import archive
import fixations
import images
from fixations import Table
from tables import read_tables
from utils import (
    MissingFileError,
    UserError,
    atomic_write,
    bullet_list,
    count_of,
    in_parallel,
    process_runs,
    say,
    sha256,
    write_json,
)

# How folders may be called, in archives and on disk, and what they hold.
ROLES = {
    "stimuli": "stimuli",
    "fixation": "fixations",
    "fixations": "fixations",
    "saliency": "saliency",
}
RECORD = "dataset.json"
TABLE = "fixations.csv"


@dataclass(frozen=True)
class Options:
    """What a user may ask of the preparation, from the command line.

    Attributes:
        archives: Archive files got by hand, in place of those looked for or fetched.
        sigma: Standard deviation of the blur in stimulus pixels, in place of config.SIGMA.
        skip_bad: Go on without pairs that cannot be used.
        allow_partial: Accept another number of pairs than the dataset's, split 80/20.
        verify: Refuse fetched files whose published sum they do not have.
    """

    archives: tuple[Path, ...] = ()
    sigma: float | None = None
    skip_bad: bool = False
    allow_partial: bool = False
    verify: bool = True


DEFAULTS = Options()


@dataclass(frozen=True)
class Pair:
    """One stimulus and what is known of where people looked at it.

    Attributes:
        name: Where the stimulus belongs below `stimuli/`, as in "499.jpg".
        stimulus: The image file.
        fixation_map: An image of fixation points, if there is one.
        saliency_map: A blurred map, if there is one.
        table: Gives single fixations, if they are known; called when the pair is looked at.
    """

    name: str
    stimulus: Path
    fixation_map: Path | None = None
    saliency_map: Path | None = None
    table: Callable[[], Table] | None = None

    @property
    def map_name(self) -> str:
        """The name of this pair's maps below `fixations/` and `saliency/`."""
        return str(PurePosixPath(self.name).with_suffix(".png"))


def stem(name: str) -> str:
    """Return the key under which files of one pair meet.

    The file name without its suffix and without `_fixMap` or `_fixPts`, in one Unicode form
    because macOS stores accents apart from their letters.
    """
    bare = re.sub(r"_fix(map|pts)$", "", PurePosixPath(name).stem, flags=re.IGNORECASE)
    return unicodedata.normalize("NFC", bare)


def _role_of(folder: str, file_name: str) -> str | None:
    role = ROLES.get(folder.lower())
    if role == "fixations" and re.search(r"_fixmap$", Path(file_name).stem, re.IGNORECASE):
        return "fixMap"
    return role


def join(
    stimuli: Mapping[str, Path],
    fixation_map: Mapping[str, Path] | None = None,
    saliency_map: Mapping[str, Path] | None = None,
    table: Mapping[str, Callable[[], Table]] | None = None,
) -> tuple[list[Pair], list[str]]:
    """Form pairs of everything that is known under the same key.

    A key is the stimulus' place below `stimuli/` without its suffix, as in "Action/001".

    Args:
        stimuli: Image files by key.
        fixation_map: Images of fixation points by key.
        saliency_map: Blurred maps by key.
        table: Functions that give single fixations, by key.

    Returns:
        The pairs, sorted by name, and a sentence for everything that forms none.
    """
    sources = {
        role: files
        for role, files in {
            "fixation_map": fixation_map,
            "saliency_map": saliency_map,
            "table": table,
        }.items()
        if files
    }
    called = {"fixation_map": "fixation map", "saliency_map": "saliency map", "table": "fixations"}
    pairs, problems = [], []
    for key in sorted({*stimuli, *(key for files in sources.values() for key in files)}):
        missing = [role for role, files in sources.items() if key not in files]
        if key not in stimuli:
            role = next(role for role in sources if role not in missing)
            problems.append(f"{key}: {called[role]} without a stimulus")
        elif len(missing) == len(sources):
            problems.append(f"{stimuli[key].name}: a stimulus without a map")
        elif missing:
            names = " and no ".join(called[role] for role in missing)
            problems.append(f"{stimuli[key].name}: no {names}, though other stimuli have one")
        else:
            name = PurePosixPath(key).with_name(stimuli[key].name)
            files = {role: files[key] for role, files in sources.items()}
            pairs.append(Pair(str(name), stimuli[key], **files))
    return sorted(pairs, key=lambda pair: pair.name), problems


def find_pairs(
    files: Iterable[tuple[str, Path]], tables: Mapping[str, Callable[[], Table]] | None = None
) -> tuple[list[Pair], list[str]]:
    """Form pairs of stimuli and maps by the stem of their names.

    Args:
        files: (folder, path) for every image, the folder being a key of `ROLES`.
        tables: Functions that give single fixations, by stem.

    Returns:
        The pairs, sorted by name, and a sentence for everything that forms none.
    """
    found: dict[str, dict[str, list[Path]]] = {
        role: defaultdict(list) for role in ("stimuli", "fixations", "saliency", "fixMap")
    }
    for folder, path in files:
        found[_role_of(folder, path.name)][stem(path.name)].append(path)
    # A map called fixMap beside one called fixPts is the blurred one; alone it is the map.
    for key, paths in found.pop("fixMap").items():
        found["saliency" if key in found["fixations"] else "fixations"][key].extend(paths)
    problems = []
    twice = set()
    for role, called in {
        "stimuli": "stimuli",
        "fixations": "fixation maps",
        "saliency": "saliency maps",
    }.items():
        for key, paths in found[role].items():
            if len(paths) > 1:
                names = ", ".join(sorted(path.name for path in paths))
                problems.append(f"{key}: {len(paths)} {called} with one stem ({names})")
                twice.add(key)
    single = {
        role: {key: paths[0] for key, paths in by_key.items() if key not in twice}
        for role, by_key in found.items()
    }
    tables = {key: table for key, table in (tables or {}).items() if key not in twice}
    pairs, unpaired = join(single["stimuli"], single["fixations"], single["saliency"], tables)
    return pairs, problems + unpaired


def _same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) <= 0.01


@dataclass
class _Look:
    """What a first look at a pair found.

    Attributes:
        size: The stimulus' (height, width).
        points: Whether its maps are points, by their role.
        rows: Its single fixations inside the image, if they are known.
        outside: How many fixations lie outside the image.
        problem: Why the pair cannot be used.
    """

    size: tuple[int, int] = (0, 0)
    points: dict[str, bool] = field(default_factory=dict)
    rows: np.ndarray | None = None
    outside: int = 0
    problem: str = ""


def _map_problem(brightness: np.ndarray, size: tuple[int, int]) -> str:
    if not _same_shape(brightness.shape, size):
        (height, width), (stimulus_height, stimulus_width) = brightness.shape, size
        return (
            f"the map is {width} x {height}, another shape than the stimulus' "
            f"{stimulus_width} x {stimulus_height}"
        )
    if brightness.max() <= 0:
        return "a map without a single fixation"
    if brightness.size > 1 and brightness.min() == brightness.max():
        return "a map of one grey level"
    inverted = brightness.max() - brightness
    if np.median(inverted) == 0 and fixations.looks_like_points(inverted):
        return "dark points on a bright ground; fixations have to be the bright ones"
    return ""


def _look_at(pair: Pair) -> _Look:
    """Decode everything of a pair once, so that what is bad is known before anything is made."""
    look = _Look()
    try:
        look.size = images.read_stimulus(pair.stimulus).shape[:2]
        for role in ("fixation_map", "saliency_map"):
            path = getattr(pair, role)
            if path is None:
                continue
            brightness = images.read_map(path)
            if problem := _map_problem(brightness, look.size):
                look.problem = f"{path.parent.name}/{path.name}: {problem}"
                break
            look.points[role] = fixations.looks_like_points(brightness)
        if pair.table is not None:
            _look_at_table(pair, look)
    except UserError as error:
        look.problem = str(error).replace(f"{pair.stimulus.parent.parent}{os.sep}", "")
    return look


def _look_at_table(pair: Pair, look: _Look) -> None:
    """Keep the fixations inside the image, in the stimulus' own pixels."""
    table = pair.table()
    rows = table.rows
    if table.size is not None and tuple(table.size) != look.size:
        if not _same_shape(table.size, look.size):
            height, width = table.size
            look.problem = (
                f"{pair.name}: its fixations were recorded on {width} x {height} pixels, another "
                f"shape than the stimulus' {look.size[1]} x {look.size[0]}"
            )
            return
        # Only x and y are scaled, from and to pixel indices counted from 0.
        rows = rows.copy()
        rows[:, :2] *= np.array(look.size[::-1]) / np.array(table.size[::-1])
    with np.errstate(invalid="ignore"):
        inside = (rows[:, :2] >= 0).all(axis=1) & (rows[:, :2] < look.size[::-1]).all(axis=1)
    look.rows = rows[inside]
    look.outside = int((~inside).sum())
    if not inside.any():
        look.problem = f"{pair.name}: no fixation inside the image"


def _majority(looks: Sequence[_Look], role: str) -> bool | None:
    """Whether most maps of a role are points; None where there are none of that role."""
    votes = [look.points[role] for look in looks if role in look.points]
    return sum(votes) * 2 > len(votes) if votes else None


def _assign_maps(pairs: list[Pair], looks: list[_Look], sigma_asked: bool) -> list[Pair]:
    """Put every map in the role its pixels have, whatever the folder is called.

    Points become `fixation_map`, smooth maps `saliency_map`. The data's own smooth maps are used
    where there are any, unless the user asked for a sigma.
    """
    fixation_points = _majority(looks, "fixation_map")
    saliency_points = _majority(looks, "saliency_map")
    assigned = []
    for pair in pairs:
        points = pair.fixation_map if fixation_points else None
        smooth = pair.saliency_map if saliency_points is False else None
        if points is None and saliency_points:
            points = pair.saliency_map
        if smooth is None and fixation_points is False:
            smooth = pair.fixation_map
        if (points or pair.table) and sigma_asked:
            smooth = None
        assigned.append(replace(pair, fixation_map=points, saliency_map=smooth))
    return assigned


def _odd_ones(pairs: list[Pair], looks: list[_Look]) -> list[str]:
    """Name the maps that look like another kind than most of their folder."""
    odd = []
    for role in ("fixation_map", "saliency_map"):
        usual = _majority(looks, role)
        for pair, look in zip(pairs, looks, strict=True):
            if look.points.get(role, usual) != usual:
                odd.append(getattr(pair, role).name)
    return odd


def _points(pair: Pair, look: _Look) -> np.ndarray | None:
    """Return the fixated pixels of a pair, bool [height, width], or None where nobody knows."""
    if look.rows is not None:
        return fixations.points_at(look.rows, look.size)
    if pair.fixation_map is not None:
        points = fixations.extract_points(images.read_map(pair.fixation_map))
        return fixations.move_points(points, look.size)
    return None


def _write_maps(pair: Pair, look: _Look, folder: Path, sigma: float, kinds: set[str]) -> int:
    """Write the maps of one pair that are in `kinds`; return the number of fixations."""
    points = _points(pair, look)
    if points is not None and "fixations" in kinds:
        images.write_png(folder / "fixations" / pair.map_name, points.astype(np.uint8) * 255)
    if "saliency" in kinds:
        if pair.saliency_map is not None:
            saliency = images.resize(images.read_map(pair.saliency_map), look.size)
        else:
            saliency = fixations.blur(points, sigma)
        images.write_png(folder / "saliency" / pair.map_name, fixations.to_uint8(saliency))
    if look.rows is not None:
        return len(look.rows)
    return 0 if points is None else int(points.sum())


def write_table(path: Path, pairs: Iterable[Pair], looks: Iterable[_Look]) -> None:
    """Write single fixations as CSV: image, x, y and those of viewer, order, duration known.

    x and y are pixels from the top left, counted from 0; duration is in milliseconds.
    """
    columns = [
        column
        for index, column in enumerate(fixations.COLUMNS)
        if any(np.isfinite(look.rows[:, index]).any() for look in looks)
    ]
    indices = [fixations.COLUMNS.index(column) for column in columns]
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *columns])
        for pair, look in zip(pairs, looks, strict=True):
            for row in look.rows[:, indices]:
                writer.writerow([pair.name, *(f"{v:.10g}" if v == v else "" for v in row)])


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """Give a temporary folder beside `target`; it is gone afterwards, whatever happens.

    The block moves what it has finished into place itself. Folders that killed runs left behind
    are removed first.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.name}.preparing-*"):
        pid = int(left.name.rpartition("-")[2])
        # In a container this process often has the id of the killed one.
        if pid == os.getpid() or not process_runs(pid):
            shutil.rmtree(left)
    folder = target.with_name(f".{target.name}.preparing-{os.getpid()}")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Plan:
    """What a dataset is to become.

    Attributes:
        name: The dataset's name, as on the command line.
        expected: How many pairs there have to be; None accepts any number.
        sigma: Standard deviation of the blur in stimulus pixels.
        options: What the user asked for.
    """

    name: str
    expected: int | None
    sigma: float
    options: Options


def _check(
    plan: Plan, pairs: list[Pair], problems: list[str], where: str
) -> tuple[list[Pair], list[_Look], list[str]]:
    """Look at all pairs; return the good ones with their looks, and the problems of the others.

    Raises:
        UserError: There are bad pairs or another number than expected, and no option allows it.
    """
    looks = list(in_parallel(_look_at, pairs, "Checking"))
    problems = problems + [look.problem for look in looks if look.problem]
    good = [(pair, look) for pair, look in zip(pairs, looks, strict=True) if not look.problem]
    complaints = []
    if problems and not plan.options.skip_bad:
        complaints.append(
            f"{where}: {count_of(len(problems), 'pair')} cannot be used:\n{bullet_list(problems)}\n"
            "Mend them, or pass --skip-bad to go on without them."
        )
    found = len(good) + len(problems)
    if plan.expected not in (None, found) and not plan.options.allow_partial:
        complaints.append(
            f"{where}: {count_of(found, 'pair')} found where {plan.name} has {plan.expected:,}. "
            "Pass --allow-partial to take what is there and split it 80/20."
        )
    if complaints:
        raise UserError("\n".join(complaints))
    if len(good) < 2:
        raise UserError(
            f"{where}: {count_of(len(good), 'usable pair')} found, but training needs one and the "
            f"held-out part another.\n{bullet_list(problems)}".rstrip()
        )
    return [pair for pair, _ in good], [look for _, look in good], problems


def _make(
    plan: Plan, pairs: list[Pair], problems: list[str], where: str, folder: Path, there: set[str]
) -> tuple[list[Pair], dict]:
    """Check pairs and write their maps below `folder`; return the good ones and the record.

    `there` names the kinds of maps ("fixations", "saliency") that need not be written.
    """
    pairs, looks, problems = _check(plan, pairs, problems, where)
    odd = _odd_ones(pairs, looks)
    pairs = _assign_maps(pairs, looks, plan.options.sigma is not None)
    has_table = any(look.rows is not None for look in looks)
    has_points = has_table or any(pair.fixation_map for pair in pairs)
    blurred = any(pair.saliency_map is None for pair in pairs)
    if not has_points and plan.options.sigma is not None:
        raise UserError(
            f"{where}: the maps are smooth already and are not blurred again; leave out --sigma."
        )
    sigma = plan.sigma if plan.options.sigma is None else plan.options.sigma
    kinds = {"fixations", "saliency"} - there
    jobs = list(zip(pairs, looks, strict=True))
    counts = list(
        in_parallel(lambda job: _write_maps(*job, folder, sigma, kinds), jobs, "Making maps")
    )
    if has_table and any(np.isfinite(look.rows[:, 2]).any() for look in looks):
        write_table(folder / TABLE, pairs, looks)
    sizes = Counter(f"{width}x{height}" for height, width in (look.size for look in looks))
    record = {
        "dataset": plan.name,
        "pairs": len(pairs),
        "maps": "fixation points" if has_points else "smooth maps",
        "sigma": sigma if blurred else None,
        "sizes": dict(sizes.most_common()),
        "fixations_per_image": _fixation_statistics(counts) if has_points else None,
        "outside": sum(look.outside for look in looks),
        "skipped": problems,
        "skipped_files": [],
        "unlike_the_others": odd,
    }
    return pairs, record


def _fixation_statistics(counts: list[int]) -> dict[str, float]:
    return {
        "mean": round(float(np.mean(counts)), 1),
        "median": float(np.median(counts)),
        "min": min(counts),
        "max": max(counts),
    }


def _is_table_name(name: str) -> bool:
    return name.lower().endswith((".csv", ".mat")) and not name.startswith(".")


def _choose_members(path: Path) -> list[tuple[str, archive.Member]]:
    """Return (folder, member) for an archive's images and table; "" is the folder around them."""
    by_root: dict[PurePosixPath, list[tuple[str, archive.Member]]] = defaultdict(list)
    for member in archive.list_members(path):
        folder, name = member.path.parent, member.path.name
        if folder.name.lower() in ROLES and (images.is_image_name(name) or _is_table_name(name)):
            by_root[folder.parent].append((folder.name, member))
        elif _is_table_name(name):
            by_root[folder].append(("", member))
    whole = {}
    for root, found in by_root.items():
        kinds = {
            "table" if _is_table_name(member.path.name) else ROLES[folder.lower()]
            for folder, member in found
        }
        if "stimuli" in kinds and len(kinds) > 1:
            whole[root] = found
    if not whole:
        raise UserError(
            f"{path}: no stimuli/ folder with a fixation/, fixations/ or saliency/ folder beside "
            "it, at the top of the archive or in one folder around them."
        )
    depth = min(len(root.parts) for root in whole)
    roots = [root for root in whole if len(root.parts) == depth]
    if len(roots) > 1:
        names = ", ".join(sorted(str(root) for root in roots))
        raise UserError(f"{path}: stimuli/ is there more than once, in {names}. Keep one of them.")
    return whole[roots[0]]


def _standard_pairs(folder: Path) -> tuple[list[Pair], list[str]]:
    """Form the pairs of a folder with `stimuli/` and maps, or a table of fixations."""
    parts = [
        part for part in sorted(folder.iterdir()) if part.name.lower() in ROLES and part.is_dir()
    ]
    files = [
        (part.name, file)
        for part in parts
        for file in sorted(part.iterdir())
        if images.is_image_name(file.name)
    ]
    tables = [
        file
        for place in (folder, *parts)
        for file in sorted(place.iterdir())
        if _is_table_name(file.name) and file.is_file()
    ]
    # One that this module wrote is complete, whatever it was made from.
    tables = [file for file in tables if file.name == TABLE] or tables
    if len(tables) > 1:
        names = ", ".join(str(file.relative_to(folder)) for file in tables)
        raise UserError(f"{folder}: more than one table of fixations: {names}. Keep one of them.")
    rows: dict[str, list[np.ndarray]] = defaultdict(list)
    for name, found in (read_tables(tables[0]) if tables else {}).items():
        rows[stem(name)].append(found)
    return find_pairs(
        files, {key: partial(Table, np.concatenate(found)) for key, found in rows.items()}
    )


# Takes what it wants of a set's archives into a folder; returns pairs and what forms none.
Reader = Callable[[Sequence[Path], Path], tuple[list[Pair], list[str]]]


def read_standard(paths: Sequence[Path], incoming: Path) -> tuple[list[Pair], list[str]]:
    """Read an archive of `stimuli/` with `fixation/`, `fixations/` or `saliency/`: a `Reader`.

    The folders are at the top of the archive or inside one folder. In place of fixation maps one
    .csv or .mat file of fixations may lie beside or in them.
    """
    [path] = paths
    members = _choose_members(path)
    folder_of = {member.name: role for role, member in members}
    archive.extract(
        path,
        [member for _, member in members],
        lambda member: incoming / folder_of[member.name] / member.path.name,
    )
    return _standard_pairs(incoming)


@contextmanager
def _places_renamed(old: str, new: str) -> Iterator[None]:
    """Replace the beginning of paths in the messages of errors."""
    try:
        yield
    except UserError as error:
        raise type(error)(str(error).replace(old, new)) from error


def from_archives(plan: Plan, paths: Sequence[Path], target: Path, read: Reader) -> None:
    """Make the dataset folder `target` from a set's archives.

    Everything happens in a temporary folder beside `target`, which is renamed at the end.

    Args:
        plan: What the dataset is to become.
        paths: The archives.
        target: The folder to make, `<data>/<dataset>`.
        read: Knows the layout of the archives.

    Raises:
        UserError: An archive or its pairs are not usable; nothing is left behind.
    """
    where = " and ".join(path.name for path in paths)
    if target.is_dir() and any(target.iterdir()):
        raise UserError(
            f"{target} is there already, and nothing is ever unpacked over a dataset. Move it away "
            "to prepare it anew."
        )
    with building(target) as folder:
        incoming = folder / "incoming"
        incoming.mkdir()
        # Messages name a file by its place in the archive, not by where it is for the moment.
        with _places_renamed(f"{incoming}{os.sep}", ""):
            pairs, problems = read(paths, incoming)
            good, record = _make(plan, pairs, problems, where, folder, set())
        record["skipped"] = [text.replace(f"{incoming}{os.sep}", "") for text in record["skipped"]]
        for pair in good:
            stimulus = folder / "stimuli" / pair.name
            stimulus.parent.mkdir(parents=True, exist_ok=True)
            pair.stimulus.rename(stimulus)
        shutil.rmtree(incoming)
        record["archives"] = [{"name": path.name, "sha256": sha256(path)} for path in paths]
        write_json(folder / RECORD, record)
        move_into_place(folder, target)
    report(record)


def move_into_place(folder: Path, target: Path) -> None:
    """Rename a finished folder to `target`, which must not exist or be empty."""
    try:
        folder.rename(target)
    except OSError as error:
        if target.exists():
            raise UserError(
                f"{target} came into being meanwhile; nothing was written over it. Run again."
            ) from error
        raise


def from_folder(plan: Plan, target: Path) -> None:
    """Accept a folder that the user unpacked, and make the maps it lacks.

    Files of the user are read only. The record is written last, so that an interrupted run is
    taken up again.

    Args:
        plan: What the dataset is to become.
        target: `<data>/<dataset>` with `stimuli/` and `saliency/`, `fixation/` or `fixations/`.

    Raises:
        UserError: The folder or its pairs are not usable.
    """
    for part in target.iterdir():
        role = part.name.lower()
        if role in ROLES and part.name != role:
            raise UserError(f"{part}: rename it to {role}, as folders of a dataset are called.")
        if role in ("fixations", "saliency") and not any(
            images.is_image_name(file.name) for file in part.iterdir()
        ):
            raise UserError(
                f"{part} holds no maps, and files of yours are not written over: move it away, and "
                "a table of fixations out of it."
            )
    pairs, problems = _standard_pairs(target)
    if not pairs:
        raise UserError(
            f"{target}: a dataset folder needs stimuli/ and saliency/, fixation/ or fixations/ (or "
            "a table of fixations), with files of the same names. Complete it, or move it away so "
            "that it can be made from an archive."
        )
    there = {part.name for part in target.iterdir()}
    kept = there & {"fixations", "saliency"}
    with building(target) as folder:
        good, record = _make(plan, pairs, problems, str(target), folder, kept)
        if "saliency" in kept and any(pair.saliency_map is None for pair in good):
            raise UserError(
                f"{target / 'saliency'} holds fixation points or is to be made anew, and files of "
                "yours are not written over: rename it to fixation/ (points) or move it away."
            )
        used = {pair.stimulus for pair in good}
        stimuli = good[0].stimulus.parent
        record["skipped_files"] = sorted(
            file.name for file in stimuli.iterdir() if file not in used
        )
        record["archives"] = []
        moved = []
        try:
            for made in folder.iterdir():
                if made.name not in there:
                    moved.append(made.rename(target / made.name))
            write_json(target / RECORD, record)
        except BaseException:
            # Else the next run would take these maps for files of the user.
            for made in moved:
                if made.is_dir():
                    shutil.rmtree(made)
                else:
                    made.unlink()
            raise
    report(record)


def read_record(target: Path, options: Options) -> dict:
    """Return the record of a prepared dataset.

    Args:
        target: `<data>/<dataset>`.
        options: What the user asks for now; it must not contradict what was prepared.

    Raises:
        UserError: The record is damaged, or the dataset was prepared in another way.
    """
    path = target / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        archives, sigma = record["archives"], record["sigma"]
        record["pairs"], record["sizes"], record["skipped_files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}). Move {target} away and prepare the dataset again."
        ) from error
    again = f"Move {target} away, or use another data folder (-p), to prepare it anew."
    if options.sigma not in (None, sigma):
        made = "without blurring" if sigma is None else f"with sigma {sigma:g}"
        raise UserError(f"{target} was prepared {made}, not with {options.sigma:g}. {again}")
    known = {archive["sha256"] for archive in archives}
    for path in options.archives:
        if not path.is_file():
            raise MissingFileError(f"{path}: there is no such archive file.")
        if known and sha256(path) not in known:
            names = " and ".join(archive["name"] for archive in archives)
            raise UserError(f"{target} was prepared from {names}, not from {path}. {again}")
    return record


def least_padding(sizes: dict[str, int], pixels: int) -> tuple[int, int]:
    """Return the network input that pads a set of images least.

    Args:
        sizes: How many images there are of each size, keyed "WIDTHxHEIGHT".
        pixels: The number of input pixels to keep, within 3%.

    Returns:
        (height, width), both divisible by 8.
    """
    shapes = [(*map(int, size.split("x")), count) for size, count in sizes.items()]

    def padded_share(height: int, width: int) -> float:
        filled = 0.0
        for image_width, image_height, count in shapes:
            scale = min(height / image_height, width / image_width)
            filled += count * scale**2 * image_width * image_height
        return 1 - filled / (height * width * sum(count for *_, count in shapes))

    candidates = [
        (height, width)
        for height in range(8, pixels // 8 + 1, 8)
        for width in range(8, pixels // 8 + 1, 8)
        if abs(height * width / pixels - 1) <= 0.03
    ]
    return min(candidates, key=lambda size: (padded_share(*size), abs(size[0] * size[1] - pixels)))


def describe(record: dict, input_size: tuple[int, int]) -> str:
    """Return what is known of a prepared dataset, as lines for the user.

    Args:
        record: The content of `dataset.json`.
        input_size: The dataset's network input (height, width).
    """
    names = [archive["name"] for archive in record["archives"]]
    lines = [
        f"pairs      {record['pairs']:,}",
        f"source     {' and '.join(names) if names else 'a folder that was there'}",
        f"maps       {record['maps']}"
        + (f", blurred with sigma {record['sigma']:g} pixels" if record["sigma"] else ", as given"),
    ]
    if statistics := record["fixations_per_image"]:
        lines.append(
            f"fixations  {statistics['mean']:g} an image on average, median "
            f"{statistics['median']:g}, from {statistics['min']} to {statistics['max']}"
        )
    sizes = record["sizes"]
    shown = [f"{size} ({count:,})" for size, count in list(sizes.items())[:6]]
    if len(sizes) > len(shown):
        shown.append(f"and {len(sizes) - len(shown)} more")
    lines.append(f"sizes      {', '.join(shown)}")
    height, width = input_size
    best = least_padding(sizes, height * width)
    lines.append(
        f"input      {height} x {width} (height x width); for as many pixels "
        f"{best[0]} x {best[1]} would pad least"
    )
    return "\n".join(lines)


def report(record: dict) -> None:
    """Say what a preparation found, and which pairs it left out."""
    kind = record["maps"]
    blurred = (
        f"blurred with sigma {record['sigma']:g} pixels" if record["sigma"] else "used as given"
    )
    say(f"Prepared {count_of(record['pairs'], 'pair')} of {record['dataset']}: {kind}, {blurred}.")
    if record["outside"]:
        say(f"Dropped {count_of(record['outside'], 'fixation')} outside the images.")
    if record["skipped"]:
        left_out = record["skipped"]
        say(f"Left out {count_of(len(left_out), 'pair')}:\n{bullet_list(left_out)}")
    if odd := record["unlike_the_others"]:
        names = ", ".join(odd[:5]) + (", ..." if len(odd) > 5 else "")
        say(
            f"{count_of(len(odd), 'map')} of another kind than the rest, treated like them: {names}"
        )
