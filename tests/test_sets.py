"""The published sets: archives in their layouts, from a server to folders of pairs."""

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import FIXTURES, STEMS, Home, Outcome, decoded, encoded, tree, write_archive
from loopback import Loopback, loopback_only
from scipy import ndimage
from scipy.io import savemat

import config
import data
from utils import digest

Rows = list[tuple[float, ...]]

# Where each archive is, as a path on a server that takes every host's place.
SALICON_URLS = tuple(
    f"/drive.google.com/uc?export=download&id={drive_id}"
    for drive_id in (
        "1g8j-hTT-51IG1UFwP0xTGhLdgIUCW5e5",
        "1P-jeZXCsjoKO79OhFUgnj6FGcyvmLDPj",
        "1PnO7szbdub1559LfjYHMy65EDC4VhJC8",
    )
)
MIT1003_URLS = (
    "/people.csail.mit.edu/tjudd/WherePeopleLook/ALLSTIMULI.zip",
    "/people.csail.mit.edu/tjudd/WherePeopleLook/ALLFIXATIONMAPS.zip",
)
CAT2000_URL = "/saliency.mit.edu/trainSet.zip"
DUTOMRON_URLS = (
    "/saliencydetection.net/dut-omron/download/DUT-OMRON-image.zip",
    "/saliencydetection.net/dut-omron/download/DUT-OMRON-eye-fixations.zip",
)
PASCALS_URL = "/cbs.ic.gatech.edu/salobj/download/salObj.zip"
OSIE_URL = "/github.com/NUS-VIP/predicting-human-gaze-beyond-pixels/archive/master.zip"
FIWI_URL = "/www.dropbox.com/s/30nxg2uwd1wpb80/webpage_dataset.zip?dl=1"


@dataclass
class Published:
    """A small set in a published layout, and what has to become of it.

    Attributes:
        archives: What is served, by URL.
        stimuli: The images, by their place below `stimuli/`.
        points: The fixated pixels, bool [height, width], by the same names.
        maps: Smooth maps that come with the set, as the image files they are.
        rows: Single fixations inside the images, in the columns of `fixations.csv`.
        outside: The number of fixations outside the images.
        sigma: The blur's standard deviation, if the set has no maps of its own.
        valid: The stimuli held out, where the set has another rule than the shuffled order.
    """

    archives: dict[str, bytes] = field(default_factory=dict)
    stimuli: dict[str, bytes] = field(default_factory=dict)
    points: dict[str, np.ndarray] = field(default_factory=dict)
    maps: dict[str, bytes] = field(default_factory=dict)
    rows: dict[str, Rows] = field(default_factory=dict)
    outside: int = 0
    sigma: float | None = None
    valid: set[str] | None = None

    def add(self, name: str, stem: str, suffix: str = "jpg") -> tuple[int, int]:
        """Add one of the real images and return its (height, width)."""
        content = (FIXTURES / "stimuli" / f"{stem}.jpg").read_bytes()
        pixels = decoded(content)
        self.stimuli[name] = encoded(pixels) if suffix == "png" else content
        self.points[name] = np.zeros(pixels.shape[:2], bool)
        return pixels.shape[:2]


def zipped(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def mat(**variables) -> bytes:
    """Return variables as a MATLAB file of version 5."""
    buffer = io.BytesIO()
    savemat(buffer, variables, do_compression=True)
    return buffer.getvalue()


def struct_array(entries: list[Mapping[str, object]]) -> np.ndarray:
    """Return what `savemat` writes as an N x 1 array of structs."""
    array = np.empty((len(entries), 1), [(name, object) for name in entries[0]])
    for place, entry in zip(array[:, 0], entries, strict=True):
        for name, value in entry.items():
            place[name] = value
    return array


def cell(entries: Iterable[object]) -> np.ndarray:
    """Return what `savemat` writes as an N x 1 cell array."""
    entries = list(entries)
    array = np.empty((len(entries), 1), object)
    array[:, 0] = entries
    return array


def corners(size: tuple[int, int], number: int) -> list[tuple[int, int]]:
    """Return (x, y), counted from 0, of pixels apart from each other: all corners and two more."""
    height, width = size
    return [
        (0, 0),
        (width - 1, 0),
        (0, height - 1),
        (width - 1, height - 1),
        (20 + number, 31),
        (41, 12 + number),
    ]


def mark(points: np.ndarray, pixels: Iterable[tuple[int, int]]) -> None:
    for x, y in pixels:
        points[y, x] = True


def smooth(points: np.ndarray, sigma: float) -> np.ndarray:
    """Return the map that fixated pixels blur to, scaled to 255."""
    blurred = ndimage.gaussian_filter(points.astype(np.float64), sigma)
    return np.rint(blurred * 255 / blurred.max()).astype(np.uint8)


CLUTTER = {"__MACOSX/images/train/._a.jpg": b"side file", ".DS_Store": b"side file"}


def salicon() -> Published:
    made = Published()
    images, fixations, maps = {}, {}, {}
    for number, stem in enumerate(STEMS[:6]):
        part = ("train", "train", "val", "train", "val", "test")[number]
        base = f"{part}/COCO_{part}2014_{number:012}"
        size = made.add(f"{base}.jpg", stem)
        height, width = size
        pixels = corners(size, number)
        first, second = pixels[:5], pixels[5:]
        outside = [(-1, 3), (width, height - 1), (2, height)]
        viewers = [np.array(first + outside[:1]), np.empty((0, 0)), np.array(second), outside[1:]]
        gaze = [
            {
                "location": np.array([[1.5, 2.5]]),
                "timestamp": np.array([[16]]),
                # Counted from 1, and in the small types that MATLAB keeps them in.
                "fixations": (np.array(xy) + 1).astype(np.uint16 if index == 2 else np.float64),
            }
            for index, xy in enumerate(viewers)
        ]
        mark(made.points[f"{base}.jpg"], pixels)
        made.maps[f"{base}.jpg"] = encoded(smooth(made.points[f"{base}.jpg"], 5))
        images[f"images/{base}.jpg"] = made.stimuli[f"{base}.jpg"]
        fixations[f"{base}.mat"] = mat(
            image=Path(base).name, resolution=[[height, width]], gaze=struct_array(gaze)
        )
        maps[f"{base}.png"] = made.maps[f"{base}.jpg"]
        if part == "test":
            del made.stimuli[f"{base}.jpg"]
            continue
        made.rows[f"{base}.jpg"] = [
            *((x, y, 1, order) for order, (x, y) in enumerate(first, start=1)),
            *((x, y, 3, order) for order, (x, y) in enumerate(second, start=1)),
        ]
        made.outside += 3
    made.valid = {name for name in made.stimuli if name.startswith("val/")}
    made.archives = dict(
        zip(SALICON_URLS, map(zipped, (images | CLUTTER, fixations, maps)), strict=True)
    )
    return made


def mit1003() -> Published:
    made = Published()
    stimuli, maps = {}, {}
    for number, stem in enumerate(STEMS[:5]):
        base = f"i{number}00_static_street_p{number}"
        size = made.add(f"{base}.jpeg", stem)
        pixels = corners(size, number)
        mark(made.points[f"{base}.jpeg"], pixels)
        points = made.points[f"{base}.jpeg"]
        made.maps[f"{base}.jpeg"] = encoded(smooth(points, 4), format="JPEG", quality=95)
        stimuli[f"ALLSTIMULI/{base}.jpeg"] = made.stimuli[f"{base}.jpeg"]
        drawn = encoded(points.astype(np.uint8) * 255, format="JPEG", quality=75)
        maps[f"ALLFIXATIONMAPS/{base}_fixPts.jpg"] = drawn
        maps[f"ALLFIXATIONMAPS/{base}_fixMap.jpg"] = made.maps[f"{base}.jpeg"]
        maps[f"__MACOSX/ALLFIXATIONMAPS/._{base}_fixMap.jpg"] = b"side file"
    maps["ALLFIXATIONMAPS/i05june05_static_street_boston_p1010764fixPts.jpg"] = drawn
    stimuli["ALLSTIMULI/._i000_static_street_p0.jpeg"] = b"side file"
    stimuli["ALLSTIMULI/.DatabaseInfo.mat"] = b"another file"
    made.archives = dict(zip(MIT1003_URLS, map(zipped, (stimuli, maps)), strict=True))
    return made


def cat2000() -> Published:
    made = Published(valid=set())
    members = {}
    for category in ("Action", "LineDrawing"):
        for number, stem in enumerate(STEMS[:5], start=1):
            name = f"{category}/{number:03}.jpg"
            size = made.add(name, stem)
            mark(made.points[name], corners(size, number + len(category)))
            made.maps[name] = encoded(smooth(made.points[name], 4), format="JPEG", quality=95)
            members |= {
                f"trainSet/Stimuli/{name}": made.stimuli[name],
                f"trainSet/Stimuli/{category}/Output/{number:03}.jpg": made.maps[name],
                f"trainSet/Stimuli/{category}/Output/{number:03}_SaliencyMap.jpg": made.maps[name],
                f"trainSet/FIXATIONMAPS/{name}": made.maps[name],
                f"trainSet/FIXATIONMAPS/{category}/Output/{number:03}.jpg": made.maps[name],
                f"trainSet/FIXATIONLOCS/{category}/{number:03}.mat": mat(
                    fixLocs=made.points[name].astype(np.uint8)
                ),
                f"trainSet/allFixData/{category}/{number:03}.mat": mat(data=np.eye(3)),
            }
        last = np.random.RandomState(42).permutation(5)[4]
        made.valid.add(f"{category}/{last + 1:03}.jpg")
    members["trainSet/allFixData/Action.mat"] = mat(data=np.eye(3))
    made.archives = {CAT2000_URL: zipped(members)}
    return made


def dutomron() -> Published:
    made = Published(sigma=16)
    images, fixations = {}, {}
    for number, stem in enumerate(STEMS[:5]):
        base = f"im{number:03}"
        name = f"sun_{base}.jpg"
        size = made.add(name, stem)
        height, width = size
        first, second = corners(size, number)[:4], corners(size, number)[4:]
        rows = [(*pixel, viewer) for pixel in first for viewer in (2,)]
        rows += [(*pixel, 5) for pixel in second] + [(width, 5, 2), (4, height, 5)]
        # The row of the size stands anywhere.
        rows.insert((0, 3, len(rows))[number % 3], (width, height, 0))
        mark(made.points[name], first + second)
        made.rows[name] = [
            *((x, y, 2, order) for order, (x, y) in enumerate(first, start=1)),
            *((x, y, 5, order) for order, (x, y) in enumerate(second, start=1)),
        ]
        made.outside += 2
        images[f"DUT-OMRON-image/sun_{base}.jpg"] = made.stimuli[name]
        images[f"__MACOSX/DUT-OMRON-image/._sun_{base}.jpg"] = b"side file"
        fixations[f"DUT-OMRON-eye-fixations/mat/sun_{base}.mat"] = mat(s=np.array(rows, np.float64))
    made.archives = dict(zip(DUTOMRON_URLS, map(zipped, (images, fixations)), strict=True))
    return made


def hdf5(folder: Path, write: Callable[[h5py.File], None]) -> bytes:
    """Return a file as MATLAB 7.3 writes it: HDF5 behind a header of 512 bytes."""
    path = folder / "file.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        write(file)
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM"
    content = path.read_bytes()
    path.unlink()
    return header + content[len(header) :]


def pascals(folder: Path, width_first: bool = False) -> Published:
    made = Published()
    members, entries, sizes = {}, [], []
    # More than ten, so that the order of numbers and that of letters differ.
    for number in range(1, 12):
        name = f"{number}.jpg"
        size = made.add(name, STEMS[number % len(STEMS)])
        _height, width = size
        first, second = corners(size, number)[:4], corners(size, number)[4:]
        seen = [(y + 1, x + 1, 3) for x, y in first] + [(y + 1, x + 1, 7) for x, y in second]
        # Row 0 and one beyond the last column.
        entries.append(np.array([*seen, (0, 5, 7), (5, width + 1, 3)], np.float64))
        sizes.append(size[::-1] if width_first else size)
        mark(made.points[name], first + second)
        made.maps[name] = encoded(smooth(made.points[name], 5))
        made.rows[name] = [
            *((x, y, 3, order) for order, (x, y) in enumerate(first, start=1)),
            *((x, y, 7, order) for order, (x, y) in enumerate(second, start=1)),
        ]
        made.outside += 2
        members |= {
            f"datasets/imgs/pascal/{name}": made.stimuli[name],
            f"datasets/imgs/ft/{name}": b"of another set",
            f"datasets/masks/pascal/{number}.png": b"of another kind",
            f"algmaps/pascal/humanFix/{number}.png": made.maps[name],
            f"algmaps/pascal/itti/{number}.png": b"of a model",
        }

    def write_fixations(file: h5py.File) -> None:
        links = np.empty((1, len(entries)), h5py.ref_dtype)
        for index, entry in enumerate(entries):
            # MATLAB keeps its matrices column by column, so that N x 3 is stored as 3 x N.
            stored = file.create_dataset(f"#refs#/{index}", data=entry.T)
            stored.attrs["MATLAB_class"] = np.bytes_("double")
            links[0, index] = stored.ref
        file.create_dataset("fixCell", data=links).attrs["MATLAB_class"] = np.bytes_("cell")

    def write_sizes(file: h5py.File) -> None:
        file["sizeData"] = np.array(sizes, np.float64).T

    members["datasets/fixations/pascalFix.mat"] = hdf5(folder, write_fixations)
    members["datasets/fixations/pascalSize.mat"] = hdf5(folder, write_sizes)
    made.archives = {PASCALS_URL: zipped(members)}
    return made


def osie() -> Published:
    made = Published(sigma=16)
    root = "predicting-human-gaze-beyond-pixels-master"
    members = {f"{root}/README.md": b"about", f"{root}/data/attrs.mat": b"other data"}
    entries = []
    for number, stem in enumerate(STEMS[:5], start=1001):
        name = f"{number}.jpg"
        size = made.add(name, stem)
        height, width = size
        pixels = corners(size, number % 10)
        seen = [pixels[:3], pixels[3:4], [*pixels[4:], (width, 3)], [(-0.5, 5), (5, height + 9)]]
        subjects = [
            {
                # Between pixels' corners, so that rounding would leave the image.
                "fix_x": np.array([[x + 0.6 if x >= 0 else x for x, _ in viewer]]),
                "fix_y": np.array([[y + 0.7 for _, y in viewer]]),
                "fix_duration": np.array([[100.0 + order for order in range(len(viewer))]]),
            }
            for viewer in seen
        ]
        entries.append({"img": name, "subjects": cell(subjects)})
        mark(made.points[name], pixels)
        made.rows[name] = [
            (x + 0.6, y + 0.7, viewer, order, 99 + order)
            for viewer, mine in enumerate((pixels[:3], pixels[3:4], pixels[4:]), start=1)
            for order, (x, y) in enumerate(mine, start=1)
        ]
        made.outside += 3
        members[f"{root}/data/stimuli/{name}"] = made.stimuli[name]
    members[f"{root}/data/eye/fixations.mat"] = mat(fixations=cell(entries))
    made.archives = {OSIE_URL: zipped(members)}
    return made


def fiwi() -> Published:
    made = Published(sigma=30)
    members = {"webpage_dataset/readme.txt": b"about"}
    for number, stem in enumerate(STEMS[:5]):
        name = f"{number}.png"
        size = made.add(name, stem, "png")
        mark(made.points[name], corners(size, number))
        members |= {
            f"webpage_dataset/stimuli/{name}": made.stimuli[name],
            f"webpage_dataset/all5/{name}": encoded(made.points[name].astype(np.uint8) * 255),
            f"webpage_dataset/all3/{name}": b"of another kind",
        }
    made.archives = {FIWI_URL: zipped(members)}
    return made


BUILDERS = {
    "salicon": salicon,
    "mit1003": mit1003,
    "cat2000": cat2000,
    "dutomron": dutomron,
    "pascals": pascals,
    "osie": osie,
    "fiwi": fiwi,
}
ONE_ARCHIVE = ("cat2000", "pascals", "osie", "fiwi")


def build(name: str, folder: Path) -> Published:
    return pascals(folder) if name == "pascals" else BUILDERS[name]()


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    loopback_only(monkeypatch)


@dataclass
class Arrived:
    """A small set after it came from the server."""

    name: str
    made: Published
    home: Home
    outcome: Outcome
    asked: list[str]

    @property
    def folder(self) -> Path:
        return self.home.data / self.name

    @property
    def record(self) -> dict:
        return json.loads((self.folder / "dataset.json").read_text())

    def maps(self, kind: str) -> dict[str, np.ndarray]:
        """Return the maps of a kind by the place of their stimulus."""
        by_stem = {name.rpartition(".")[0]: name for name in self.made.stimuli}
        found = {
            path.relative_to(self.folder / kind).with_suffix("").as_posix(): decoded(path)
            for path in (self.folder / kind).rglob("*.png")
        }
        return {by_stem.get(stem, stem): pixels for stem, pixels in found.items()}


@pytest.fixture(scope="module", params=BUILDERS)
def arrived(request, tmp_path_factory):
    """Fetch and prepare each set once; only to be read."""
    folder = tmp_path_factory.mktemp(request.param)
    made = build(request.param, folder)
    home = Home(folder)
    with Loopback(made.archives) as server, pytest.MonkeyPatch.context() as patch:
        loopback_only(patch)
        server.use(patch)
        outcome = home.run("prepare", "-d", request.param, "--allow-partial", "--no-verify")
        asked = [one.path for one in server.requests]
    assert outcome.status == 0, outcome.err
    yield Arrived(request.param, made, home, outcome, asked)
    shutil.rmtree(folder)


# What becomes of the published layouts


def test_each_archive_is_asked_for_once_at_its_published_address(arrived):
    assert arrived.asked == list(arrived.made.archives)


def test_the_stimuli_are_those_of_the_archive_under_their_own_names(arrived):
    stimuli = tree(arrived.folder / "stimuli")
    assert stimuli == arrived.made.stimuli


def test_fixation_maps_are_255_at_exactly_the_fixated_pixels_and_0_elsewhere(arrived):
    maps = arrived.maps("fixations")
    assert maps.keys() == arrived.made.stimuli.keys()
    for name, pixels in maps.items():
        np.testing.assert_array_equal(pixels, arrived.made.points[name] * 255, err_msg=name)


def test_saliency_maps_are_the_given_ones_or_the_fixations_blurred(arrived):
    maps = arrived.maps("saliency")
    assert maps.keys() == arrived.made.stimuli.keys()
    for name, pixels in maps.items():
        if arrived.made.sigma:
            expected = smooth(arrived.made.points[name], arrived.made.sigma)
            np.testing.assert_allclose(pixels.astype(int), expected, atol=1, err_msg=name)
        else:
            given = decoded(arrived.made.maps[name])
            expected = np.rint(given * (255 / given.max()))
            np.testing.assert_array_equal(pixels, expected, err_msg=name)


def test_fixations_outside_the_images_are_dropped_and_counted(arrived):
    assert arrived.record["outside"] == arrived.made.outside
    said = f"Dropped {arrived.made.outside} fixations outside the images."
    assert (said in arrived.outcome.out) == (arrived.made.outside > 0)


def test_single_fixations_are_kept_where_viewers_are_known(arrived):
    path = arrived.folder / "fixations.csv"
    assert path.exists() == bool(arrived.made.rows)
    if arrived.made.rows:
        with path.open(newline="") as file:
            header, *lines = csv.reader(file)
        durations = ["duration"] if arrived.name == "osie" else []
        assert header == ["image", "x", "y", "viewer", "order", *durations]
        found = [(image, *map(float, values)) for image, *values in lines]
        expected = [
            (name, *row) for name in sorted(arrived.made.rows) for row in arrived.made.rows[name]
        ]
        assert found == expected


def test_the_split_is_the_sets_own_or_the_shuffled_order(arrived):
    train, valid = data.open_dataset(arrived.name, arrived.home.data).load_data()
    root = arrived.folder / "stimuli"
    parts = [
        [path.relative_to(root).as_posix() for path in part.stimuli] for part in (train, valid)
    ]
    names = sorted(arrived.made.stimuli)
    if arrived.made.valid is None:
        order = [names[index] for index in np.random.RandomState(42).permutation(len(names))]
        n_train = round(0.8 * len(names))
        assert parts == [order[:n_train], order[n_train:]]
    else:
        assert set(parts[1]) == arrived.made.valid
        assert sorted(parts[0] + parts[1]) == names


def test_the_command_says_how_many_pairs_are_on_each_side_of_the_split(arrived):
    train, valid = data.open_dataset(arrived.name, arrived.home.data).load_data()
    said = f"split      {len(train.stimuli)} for training, {len(valid.stimuli)} held out"
    assert said in arrived.outcome.out


def test_only_the_dataset_and_its_whole_archives_are_left(arrived):
    names = {path.name for path in arrived.home.data.iterdir()}
    assert names == {arrived.name, "downloads"}
    parts = {path.name for path in arrived.folder.iterdir()} - {"fixations.csv"}
    assert parts == {"stimuli", "fixations", "saliency", "dataset.json"}
    kept = tree(arrived.home.data / "downloads")
    archives = [content for name, content in kept.items() if name.endswith(".zip")]
    assert sorted(archives) == sorted(arrived.made.archives.values())
    assert all(name.endswith((".zip", ".zip.sha256")) for name in kept)


def test_the_record_names_the_archives_by_their_sums(arrived):
    recorded = {archive["name"]: archive["sha256"] for archive in arrived.record["archives"]}
    downloads = arrived.home.data / "downloads"
    assert recorded == {path.name: digest(path, "sha256") for path in downloads.glob("*.zip")}


# What only some of the layouts have


def by_hand(home: Home, name: str, archives: Iterable[bytes], *options: object) -> Outcome:
    """Prepare a set from archive files that the user passes."""
    arguments = []
    for number, content in enumerate(archives):
        path = home.work / f"{number}.zip"
        path.write_bytes(content)
        arguments += ["--archive", path]
    return home.run("prepare", "-d", name, "--allow-partial", *arguments, *options)


def members_of(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def fixation_map(home: Home, name: str, stem: str) -> np.ndarray:
    return decoded(home.data / name / "fixations" / f"{stem}.png") > 0


def test_the_sizes_of_pascals_may_have_the_width_first(home, tmp_path):
    made = pascals(tmp_path, width_first=True)
    assert by_hand(home, "pascals", made.archives.values()).status == 0
    for name, points in made.points.items():
        np.testing.assert_array_equal(fixation_map(home, "pascals", Path(name).stem), points)


def test_pascals_with_an_image_too_few_is_refused_because_nothing_names_the_fixations(
    home, tmp_path
):
    members = members_of(pascals(tmp_path).archives[PASCALS_URL])
    del members["datasets/imgs/pascal/3.jpg"]
    outcome = by_hand(home, "pascals", [zipped(members)], "--skip-bad")
    assert outcome.status == 2
    assert "fixations on 11 images, but there are 10" in outcome.err
    assert tree(home.data) == {}


@pytest.mark.parametrize("file", ["pascalFix.mat", "pascalSize.mat"])
def test_pascals_files_that_are_not_hdf5_are_one_clear_error(home, tmp_path, file):
    members = members_of(pascals(tmp_path).archives[PASCALS_URL])
    members[f"datasets/fixations/{file}"] = mat(fixCell=np.eye(3))
    outcome = by_hand(home, "pascals", [zipped(members)])
    assert outcome.status == 2
    assert "not in PASCAL-S' form" in outcome.err
    assert tree(home.data) == {}


def dutomron_of(rows: Mapping[str, object], pictures: Mapping[str, bytes]) -> list[bytes]:
    """Return DUT-OMRON's two archives with these contents of `s`."""
    return [
        zipped({f"DUT-OMRON-image/{stem}.jpg": content for stem, content in pictures.items()}),
        zipped({f"{stem}.mat": mat(s=table) for stem, table in rows.items()}),
    ]


def plain_picture(height: int, width: int) -> bytes:
    return encoded(np.zeros((height, width, 3), np.uint8), format="JPEG")


def test_fixations_recorded_on_a_larger_copy_of_the_image_are_scaled_down(home):
    rows = {stem: [(200, 100, 0), (199, 99, 1), (100, 51, 1)] for stem in "ab"}
    pictures = {stem: plain_picture(50, 100) for stem in "ab"}
    assert by_hand(home, "dutomron", dutomron_of(rows, pictures)).status == 0
    points = np.argwhere(fixation_map(home, "dutomron", "a")).tolist()
    assert points == [[25, 50], [49, 99]]


def test_fixations_recorded_on_another_shape_are_a_bad_pair(home):
    rows = {stem: [(100, 50, 0), (5, 5, 1)] for stem in "abc"} | {"b": [(50, 100, 0), (5, 5, 1)]}
    pictures = {stem: plain_picture(50, 100) for stem in "abc"}
    archives = dutomron_of(rows, pictures)
    outcome = by_hand(home, "dutomron", archives)
    assert outcome.status == 2
    assert "b.jpg: its fixations were recorded on 50 x 100 pixels" in outcome.err
    assert by_hand(home, "dutomron", archives, "--skip-bad").status == 0


def test_a_file_of_dutomron_without_the_size_is_taken_in_the_images_own_pixels(home):
    rows = {stem: [(99, 49, 1), (100, 3, 1)] for stem in "ab"}
    pictures = {stem: plain_picture(50, 100) for stem in "ab"}
    assert by_hand(home, "dutomron", dutomron_of(rows, pictures)).status == 0
    assert np.argwhere(fixation_map(home, "dutomron", "a")).tolist() == [[49, 99]]


BROKEN_TABLES = {
    "salicon": [mat(gaze=5), mat(other=1), mat(gaze=struct_array([{"where": 1}])), b"", b"rubbish"],
    "cat2000": [mat(name="text"), b"", b"rubbish"],
    "dutomron": [mat(s=np.eye(4)), mat(other=1), mat(s="text"), b"", b"rubbish"],
}


@pytest.mark.parametrize(
    ("name", "index"), [(name, i) for name, bad in BROKEN_TABLES.items() for i in range(len(bad))]
)
def test_a_broken_file_of_fixations_is_a_bad_pair_that_is_named(home, tmp_path, name, index):
    archives = list(BUILDERS[name]().archives.values())
    at = {"salicon": 1, "cat2000": 0, "dutomron": 1}[name]
    members = members_of(archives[at])
    tables = [key for key in members if key.endswith(".mat") and "allFixData" not in key]
    members[tables[0]] = BROKEN_TABLES[name][index]
    archives[at] = zipped(members)
    outcome = by_hand(home, name, archives)
    assert outcome.status == 2
    assert "1 pair cannot be used" in outcome.err
    assert Path(tables[0]).stem in outcome.err
    assert tree(home.data) == {}
    assert by_hand(home, name, archives, "--skip-bad").status == 0


def test_a_single_fixation_of_a_single_viewer_of_salicon_is_read(home):
    images, fixations, maps = salicon().archives.values()
    members = members_of(fixations)
    place = next(iter(members))
    members[place] = mat(gaze=struct_array([{"fixations": np.array([[5, 7]], np.uint16)}]))
    assert by_hand(home, "salicon", [images, zipped(members), maps]).status == 0
    points = fixation_map(home, "salicon", place.removesuffix(".mat"))
    assert np.argwhere(points).tolist() == [[6, 4]]


def test_a_broken_file_of_fixations_is_named_by_its_place_in_the_archive(home):
    images, fixations, maps = salicon().archives.values()
    members = members_of(fixations)
    place = next(iter(members))
    outcome = by_hand(home, "salicon", [images, zipped(members | {place: b"rubbish"}), maps])
    assert place in outcome.err
    assert "preparing" not in outcome.err


def test_a_map_of_mit1003_whose_points_are_lacking_is_a_bad_pair(home):
    stimuli, maps = mit1003().archives.values()
    members = members_of(maps)
    del members["ALLFIXATIONMAPS/i200_static_street_p2_fixPts.jpg"]
    outcome = by_hand(home, "mit1003", [stimuli, zipped(members)])
    assert outcome.status == 2
    assert "i200_static_street_p2.jpeg: no fixation map" in outcome.err


def test_sigma_goes_before_the_maps_that_come_with_a_set(home):
    made = mit1003()
    assert by_hand(home, "mit1003", made.archives.values(), "--sigma", 7).status == 0
    for name, points in made.points.items():
        found = decoded(home.data / "mit1003" / "saliency" / f"{Path(name).stem}.png")
        np.testing.assert_allclose(found.astype(int), smooth(points, 7), atol=1)


@pytest.mark.parametrize("name", BUILDERS)
def test_layouts_are_known_in_any_letter_case(home, tmp_path, name):
    made = build(name, tmp_path)
    # The names of the files themselves are data, those of the folders around them are not.
    archives = [
        zipped({f"{Path(key).parent}/".upper() + Path(key).name: content for key, content in m})
        for m in (members_of(archive).items() for archive in made.archives.values())
    ]
    outcome = by_hand(home, name, archives)
    assert outcome.status == 0, outcome.err
    assert sorted(tree(home.data / name / "stimuli").values()) == sorted(made.stimuli.values())


# Archives got by hand


@pytest.mark.parametrize("name", ["salicon", "mit1003", "dutomron"])
def test_archives_got_by_hand_are_taken_in_any_order(tmp_path, name):
    made = BUILDERS[name]()
    trees = []
    for number, archives in enumerate(permutations(made.archives.values())):
        home = Home(tmp_path / str(number))
        assert by_hand(home, name, archives).status == 0
        files = tree(home.data / name)
        del files["dataset.json"]
        trees.append(files)
    assert trees[0].keys() >= {f"stimuli/{name}" for name in made.stimuli}
    assert all(files == trees[0] for files in trees)


@pytest.mark.parametrize("name", ONE_ARCHIVE)
def test_a_single_archive_got_by_hand_is_taken(home, tmp_path, name):
    made = build(name, tmp_path)
    assert by_hand(home, name, made.archives.values()).status == 0
    assert tree(home.data / name / "stimuli") == made.stimuli
    assert not (home.data / "downloads").exists()


LACKING = [
    ("salicon", 0, "no stimuli"),
    ("salicon", 1, "no fixations"),
    ("salicon", 2, "no saliency"),
    ("mit1003", 0, "no stimuli"),
    ("mit1003", 1, "no points and no maps"),
    ("dutomron", 0, "no stimuli"),
    ("dutomron", 1, "no fixations"),
]


@pytest.mark.parametrize(("name", "index", "said"), LACKING)
def test_a_lacking_archive_is_an_error_that_says_what_is_not_there(home, name, index, said):
    archives = list(BUILDERS[name]().archives.values())
    del archives[index]
    outcome = by_hand(home, name, archives)
    assert outcome.status == 2
    assert f"{said} inside" in outcome.err
    assert "are all of the set's archives given?" in outcome.err
    assert tree(home.data) == {}


@pytest.mark.parametrize("name", BUILDERS)
def test_the_archive_of_another_set_is_an_error_that_asks_for_the_right_one(home, name):
    outcome = by_hand(home, name, [zipped({"holiday/beach.gif": b"sun"})])
    assert outcome.status == 2
    assert "Is this the right archive" in outcome.err
    assert tree(home.data) == {}


def test_an_archive_given_twice_is_one_clear_error(home):
    stimuli, maps = mit1003().archives.values()
    outcome = by_hand(home, "mit1003", [stimuli, maps, stimuli])
    assert outcome.status == 2
    assert "there twice" in outcome.err
    assert tree(home.data) == {}


def test_two_files_that_would_meet_under_one_name_are_one_clear_error(home):
    images, fixations = dutomron().archives.values()
    picture = plain_picture(50, 100)
    members = members_of(images) | {"DUT-OMRON-image/copies/sun_im000.jpg": picture}
    outcome = by_hand(home, "dutomron", [zipped(members), fixations])
    assert outcome.status == 2
    assert "sun_im000" in outcome.err
    assert "there twice" in outcome.err
    assert tree(home.data) == {}


# Numbers


@pytest.mark.parametrize("name", BUILDERS)
def test_too_few_pairs_are_refused_with_the_number_that_the_set_has(home, tmp_path, name):
    archives = []
    for number, content in enumerate(build(name, tmp_path).archives.values()):
        path = home.work / f"{number}.zip"
        path.write_bytes(content)
        archives += ["--archive", path]
    outcome = home.run("prepare", "-d", name, *archives)
    whole = data.dataset_classes()[name]
    assert outcome.status == 2
    assert f"found where {name} has {whole.n_train + whole.n_valid:,}." in outcome.err
    assert "--allow-partial" in outcome.err
    assert tree(home.data) == {}


@pytest.mark.parametrize(
    ("name", "n_train", "n_valid"),
    [
        ("salicon", 10_000, 5_000),
        ("mit1003", 803, 200),
        ("cat2000", 1_600, 400),
        ("dutomron", 4_168, 1_000),
        ("pascals", 650, 200),
        ("osie", 500, 200),
        ("fiwi", 99, 50),
        ("fixationadd1000", 800, 200),
    ],
)
def test_the_parts_of_the_whole_set_have_the_published_numbers(name, n_train, n_valid):
    cls = data.dataset_classes()[name]
    assert (cls.n_train, cls.n_valid) == (n_train, n_valid)


def test_a_whole_set_needs_no_option_and_is_split_by_its_own_numbers(home):
    point = np.zeros((8, 8), bool)
    point[2, 3] = True
    stimulus, points = encoded(np.zeros((8, 8, 3), np.uint8)), encoded(point)
    members = {f"webpage_dataset/stimuli/{number}.png": stimulus for number in range(149)}
    members |= {f"webpage_dataset/all5/{number}.png": points for number in range(149)}
    path = write_archive(home.work / "fiwi.zip", members)
    outcome = home.run("prepare", "-d", "fiwi", "--archive", path)
    assert outcome.status == 0, outcome.err
    train, valid = data.FIWI(home.data).load_data()
    assert (len(train.stimuli), len(valid.stimuli)) == (99, 50)


def test_cat2000_is_split_80_20_within_each_category_by_one_shuffled_order():
    categories = [f"Category{number:02}" for number in range(20)]
    names = [
        Path(f"{category}/{number:03}.jpg") for category in categories for number in range(100)
    ]
    train, valid = data.CAT2000.split(object.__new__(data.CAT2000), names)
    order = np.arange(100)
    np.random.RandomState(42).shuffle(order)
    for category in categories:
        numbers = [
            [int(names[index].stem) for index in part if names[index].parts[0] == category]
            for part in (train, valid)
        ]
        assert numbers == [order[:80].tolist(), order[80:].tolist()]


@pytest.mark.parametrize("per_category", [1, 2, 3])
def test_both_parts_of_a_small_cat2000_hold_something(home, per_category):
    [archive] = cat2000().archives.values()
    wanted = [f"/{number:03}." for number in range(1, per_category + 1)]
    members = {
        name: content
        for name, content in members_of(archive).items()
        if any(part in name for part in wanted)
    }
    assert by_hand(home, "cat2000", [zipped(members)]).status == 0
    train, valid = data.CAT2000(home.data).load_data()
    assert len(train.stimuli) > 0
    assert len(valid.stimuli) > 0


def test_a_salicon_without_one_of_its_parts_still_has_both_sides_of_the_split(home):
    def without_val(archive: bytes) -> bytes:
        members = members_of(archive)
        return zipped({name: members[name] for name in members if "val/" not in name})

    archives = map(without_val, salicon().archives.values())
    assert by_hand(home, "salicon", archives).status == 0
    train, valid = data.SALICON(home.data).load_data()
    assert len(train.stimuli) > 0
    assert len(valid.stimuli) > 0


def test_every_published_set_has_sources_a_class_and_an_input_divisible_by_8():
    assert config.SOURCES.keys() == BUILDERS.keys()
    classes = data.dataset_classes()
    assert classes.keys() - config.SOURCES.keys() == {"fixationadd1000"}
    assert config.DIMS.keys() == {f"image_size_{name}" for name in classes}
    for height, width in config.DIMS.values():
        assert height % 8 == width % 8 == 0
