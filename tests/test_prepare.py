"""Every rule of preparing an archive, through the command line."""

import dataclasses
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from conftest import (
    DATASET,
    FIXTURES,
    STEMS,
    Home,
    Outcome,
    decoded,
    encoded,
    real_points,
    tree,
    write_archive,
    write_files,
)
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

import archive
import fixations
import images
import prepare

FULL_SIZE = ("645", "878", "949", "952")


def prepared(home: Home, *options: object) -> Outcome:
    """Run `main.py prepare` on any number of pairs and expect that it succeeds."""
    outcome = home.run("prepare", "-d", DATASET, "--allow-partial", *options)
    assert outcome.status == 0, outcome.err
    return outcome


def refused(home: Home, *options: object) -> Outcome:
    """Run `main.py prepare` and expect one clear error and nothing left behind."""
    before = tree(home.data)
    outcome = home.run("prepare", "-d", DATASET, *options)
    assert outcome.status == 2
    assert outcome.err.startswith("Error: ")
    assert "Traceback" not in outcome.err
    assert tree(home.data) == before
    return outcome


def record(home: Home) -> dict:
    return json.loads((home.dataset / "dataset.json").read_text())


def stems_in(home: Home, folder: str) -> list[str]:
    return sorted(path.stem for path in (home.dataset / folder).iterdir())


def saliency(home: Home, stem: str) -> np.ndarray:
    return decoded(home.dataset / "saliency" / f"{stem}.png").astype(int)


def blurred(points: np.ndarray, sigma: float = 16) -> np.ndarray:
    result = ndimage.gaussian_filter(points.astype(np.float64), sigma)
    return result / result.max() * 255


def full_size_pairs(render) -> dict[str, bytes]:
    """Return pairs of plain pictures and real points at full size, drawn by `render`."""
    members = {}
    for stem in FULL_SIZE:
        points = real_points(stem, "full_size")
        members[f"stimuli/{stem}.png"] = encoded(np.full((*points.shape, 3), 90, np.uint8))
        name, content = render(points)
        members[f"fixation/{stem}{name}"] = content
    return members


def first_archive(home: Home, count: int, pairs: dict[str, bytes]) -> dict[str, bytes]:
    return {name: pairs[name] for name in pairs if name.split("/")[1][:-4] in STEMS[:count]}


# Where the archive is looked for


def places(home: Home) -> list:
    return [
        folder / name
        for folder in (home.data, home.work)
        for name in ("fixation_add1000.tar.gz", "add1000.tar.gz")
    ]


@pytest.mark.parametrize("place", range(4))
def test_the_archive_is_found_in_every_place(home, pairs, place):
    write_archive(places(home)[place], pairs)
    prepared(home)
    assert stems_in(home, "saliency") == STEMS


@pytest.mark.parametrize("place", range(3))
def test_an_earlier_place_goes_before_a_later_one(home, pairs, place):
    write_archive(places(home)[place], first_archive(home, 5, pairs))
    write_archive(places(home)[place + 1], pairs)
    prepared(home)
    assert record(home)["pairs"] == 5


def test_the_named_archive_goes_before_all_places(home, pairs, tmp_path):
    for place in places(home):
        write_archive(place, pairs)
    named = write_archive(tmp_path / "mine" / "other.tar.gz", first_archive(home, 5, pairs))
    prepared(home, "--archive", named)
    assert record(home)["pairs"] == 5


def test_an_archive_named_relative_to_the_working_directory_is_found(home, pairs):
    write_archive(home.work / "mine.zip", pairs)
    prepared(home, "--archive", "mine.zip")
    assert record(home)["archives"][0]["name"] == "mine.zip"


def test_another_data_folder_is_searched_and_filled(home, pairs, tmp_path):
    write_archive(tmp_path / "elsewhere" / "add1000.tar.gz", pairs)
    prepared(home, "-p", tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / DATASET / "dataset.json").is_file()


def test_without_an_archive_the_error_names_all_places_and_the_option(home):
    outcome = refused(home)
    for place in places(home):
        assert place.name in outcome.err
    assert str(home.data) in outcome.err
    assert "--archive" in outcome.err


def test_a_named_archive_that_is_not_there_is_an_error_that_names_it(home, pairs):
    home.archive(pairs)
    assert "absent.tar.gz" in refused(home, "--archive", "absent.tar.gz").err


# What an archive may look like


@pytest.mark.parametrize("maps", ["fixation", "fixations"])
@pytest.mark.parametrize("prefix", ["", "./", "fixation_add1000/", "./fixation add/"])
def test_folders_lie_at_the_top_or_in_one_wrapping_folder(home, pairs, prefix, maps):
    members = {f"{prefix}{name.replace('fixation/', f'{maps}/')}": pairs[name] for name in pairs}
    home.archive(members)
    prepared(home)
    assert stems_in(home, "stimuli") == stems_in(home, "saliency") == STEMS


def test_folder_entries_of_the_archive_do_no_harm(home, pairs):
    folders = {}
    for name in (".", "./stimuli", "./fixation"):
        folders[name] = tarfile.TarInfo(name)
        folders[name].type = tarfile.DIRTYPE
    home.archive({**folders, **{f"./{name}": pairs[name] for name in pairs}})
    prepared(home)
    assert stems_in(home, "saliency") == STEMS


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar", "a.zip"])
def test_every_archive_format_is_prepared(home, pairs, name):
    path = write_archive(home.work / name, pairs)
    prepared(home, "--archive", path)
    assert stems_in(home, "saliency") == STEMS


def test_a_compressed_zip_is_prepared(home, pairs):
    path = home.work / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in pairs.items():
            file.writestr(name, content)
    prepared(home, "--archive", path)
    assert stems_in(home, "saliency") == STEMS


@pytest.mark.parametrize("suffix", [".JPG", ".Jpeg", ".jpeg", ".PNG", ".png"])
def test_stimuli_may_end_in_any_letter_case(home, pairs, suffix):
    members = {name.replace(".jpg", suffix): pairs[name] for name in pairs}
    home.archive(members)
    prepared(home)
    assert stems_in(home, "saliency") == STEMS


@pytest.mark.parametrize("suffix", [".PNG", ".Png", ".JPG", ".jpeg"])
def test_maps_may_end_in_any_letter_case(home, pairs, suffix):
    home.archive({name.replace(".png", suffix): pairs[name] for name in pairs})
    prepared(home)
    assert stems_in(home, "fixations") == STEMS


@pytest.mark.parametrize(
    "clutter",
    [
        ".DS_Store",
        "stimuli/.DS_Store",
        "fixation/Thumbs.db",
        "__MACOSX/stimuli/._94.jpg",
        "__MACOSX/stimuli/94.jpg",
        "__MACOSX/fixation/94.png",
        "stimuli/._94.jpg",
        "fixation/._94.png",
        "._stimuli",
        "README.txt",
        "stimuli/notes.txt",
    ],
)
def test_clutter_is_ignored(home, pairs, clutter):
    home.archive({clutter: b"\0\5\x16\7rubbish", **pairs})
    prepared(home)
    assert stems_in(home, "stimuli") == STEMS


def test_a_saliency_folder_beside_is_used_and_fixations_are_kept(home, pairs):
    members = dict(pairs)
    for stem in STEMS:
        given_map = blurred(real_points(stem), 5) * 0.5
        members[f"saliency/{stem}.png"] = encoded(given_map.astype(np.uint8))
    home.archive(members)
    prepared(home)
    for stem in STEMS:
        np.testing.assert_allclose(saliency(home, stem), blurred(real_points(stem), 5), atol=2.5)
        kept = decoded(home.dataset / "fixations" / f"{stem}.png") > 0
        np.testing.assert_array_equal(kept, real_points(stem))


def test_an_archive_with_smooth_saliency_maps_alone_is_prepared(home, pairs):
    members = {name: pairs[name] for name in pairs if name.startswith("stimuli")}
    for stem in STEMS:
        members[f"saliency/{stem}.png"] = encoded(blurred(real_points(stem), 5).astype(np.uint8))
    home.archive(members)
    prepared(home)
    assert not (home.dataset / "fixations").exists()
    assert stems_in(home, "saliency") == STEMS


def test_an_archive_without_stimuli_is_an_error_that_says_what_is_expected(home, pairs):
    home.archive({name: pairs[name] for name in pairs if name.startswith("fixation")})
    assert "stimuli/" in refused(home, "--allow-partial").err


def palette_png(points: np.ndarray) -> bytes:
    image = Image.fromarray(np.where(points, 0, 1).astype(np.uint8), "P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


MODES = {
    "grey": lambda points: encoded(points * np.uint8(255)),
    "grey of 0 and 1": lambda points: encoded(points.astype(np.uint8)),
    "RGB": lambda points: encoded(points * np.uint8(255), "RGB"),
    "RGBA": lambda points: encoded(points * np.uint8(255), "RGBA"),
    "RGBA on transparent": lambda points: encoded(
        np.dstack([np.full(points.shape, 255, np.uint8)] * 3 + [points * np.uint8(255)])
    ),
    "palette": palette_png,
    "1-bit": lambda points: encoded(points),
    "16-bit": lambda points: encoded(points * np.uint16(65535)),
}


@pytest.mark.parametrize("mode", MODES)
def test_maps_of_every_mode_give_the_same_fixations(home, pairs, mode):
    for stem in STEMS:
        pairs[f"fixation/{stem}.png"] = MODES[mode](real_points(stem))
    home.archive(pairs)
    assert "fixation points" in prepared(home).out
    for stem in STEMS:
        kept = decoded(home.dataset / "fixations" / f"{stem}.png")
        np.testing.assert_array_equal(kept, real_points(stem) * np.uint8(255))


# Pairs are formed by stem


@pytest.mark.parametrize("ending", ["_fixMap", "_fixPts", "_fixmap", "_FIXPTS"])
def test_endings_of_map_names_are_dropped(home, pairs, ending):
    home.archive({name.replace(".png", f"{ending}.png"): pairs[name] for name in pairs})
    prepared(home)
    assert stems_in(home, "fixations") == stems_in(home, "saliency") == STEMS


def test_pairs_are_formed_by_name_and_never_by_position(home, pairs):
    # Sorted as file names, "1.jpg" comes before "10.jpg" but "10_fixMap.png" before "1_fixMap.png".
    one, ten, other = (real_points(stem) for stem in ("101", "585", "952"))
    assert one.shape == ten.shape == other.shape
    members = {f"stimuli/{name}.jpg": pairs["stimuli/101.jpg"] for name in ("1", "10", "1a")}
    for name, points in (("1", one), ("10", ten), ("1a", other)):
        members[f"fixation/{name}_fixMap.png"] = encoded(points)
    home.archive(members)
    prepared(home)
    for name, points in (("1", one), ("10", ten), ("1a", other)):
        kept = decoded(home.dataset / "fixations" / f"{name}.png") > 0
        np.testing.assert_array_equal(kept, points)


def test_equal_counts_with_a_gap_on_each_side_do_not_shift_the_pairs(home, pairs):
    del pairs[f"stimuli/{STEMS[0]}.jpg"], pairs[f"fixation/{STEMS[-1]}.png"]
    home.archive(pairs)
    prepared(home, "--skip-bad")
    for stem in STEMS[1:-1]:
        kept = decoded(home.dataset / "fixations" / f"{stem}.png") > 0
        np.testing.assert_array_equal(kept, real_points(stem))


def test_letters_with_accents_meet_in_either_unicode_form(home, pairs):
    members = {
        "stimuli/caf\u00e9.jpg": pairs["stimuli/94.jpg"],
        "fixation/cafe\u0301.png": pairs["fixation/94.png"],
        "stimuli/b.jpg": pairs["stimuli/952.jpg"],
        "fixation/b.png": pairs["fixation/952.png"],
    }
    home.archive(members)
    prepared(home)
    assert record(home)["pairs"] == 2


# Fixation points or smooth maps


def discs(points: np.ndarray, radius: float) -> np.ndarray:
    return (ndimage.distance_transform_edt(~points) <= radius) * np.uint8(255)


def jpeg(array: np.ndarray) -> tuple[str, bytes]:
    return ".jpg", encoded(array, format="JPEG", quality=90)


def deep(points: np.ndarray) -> np.ndarray:
    return (blurred(points) * 257 * 0.7).astype(np.uint16)


KINDS = {
    "single points": ("fixation points", lambda points: (".png", encoded(points))),
    "small discs": ("fixation points", lambda points: (".png", encoded(discs(points, 3)))),
    "points through JPEG": ("fixation points", lambda points: jpeg(points * np.uint8(255))),
    "discs through JPEG": ("fixation points", lambda points: jpeg(discs(points, 2))),
    "8-bit smooth": ("smooth maps", lambda p: (".png", encoded(blurred(p).astype(np.uint8)))),
    "16-bit smooth": ("smooth maps", lambda points: (".png", encoded(deep(points)))),
    "smooth through JPEG": ("smooth maps", lambda p: jpeg(blurred(p).astype(np.uint8))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_maps_is_told_from_the_pixels_and_said(home, kind):
    expected, render = KINDS[kind]
    home.archive(full_size_pairs(render))
    assert expected in prepared(home).out
    assert record(home)["maps"] == expected


def test_points_in_a_folder_called_saliency_are_told_from_the_pixels_too(home, pairs):
    home.archive({name.replace("fixation/", "saliency/"): pairs[name] for name in pairs})
    assert "fixation points" in prepared(home).out
    np.testing.assert_allclose(saliency(home, "94"), blurred(real_points("94")), atol=1)


@pytest.mark.parametrize("kind", ["points through JPEG", "discs through JPEG"])
def test_points_through_jpeg_give_nearly_the_map_of_clean_points(home, kind):
    home.archive(full_size_pairs(KINDS[kind][1]))
    prepared(home)
    for stem in FULL_SIZE:
        expected = blurred(real_points(stem, "full_size"))
        assert np.corrcoef(saliency(home, stem).ravel(), expected.ravel())[0, 1] > 0.98


def test_one_smooth_map_among_points_does_not_change_the_kind_and_is_named(home):
    members = full_size_pairs(KINDS["single points"][1])
    smooth = blurred(real_points("952", "full_size")).astype(np.uint8)
    members["fixation/952.png"] = encoded(smooth)
    home.archive(members)
    outcome = prepared(home)
    assert record(home)["maps"] == "fixation points"
    assert "952.png" in outcome.out


@pytest.mark.parametrize("stem", STEMS)
def test_the_saliency_map_is_the_blurred_points_within_one_grey_level(home, pairs, stem):
    home.archive(pairs)
    prepared(home)
    np.testing.assert_allclose(saliency(home, stem), blurred(real_points(stem)), atol=1)


def test_saliency_maps_are_8_bit_grey_pngs(home, pairs):
    home.archive(pairs)
    prepared(home)
    for stem in STEMS:
        with Image.open(home.dataset / "saliency" / f"{stem}.png") as image:
            assert (image.format, image.mode) == ("PNG", "L")


def test_at_full_size_the_saliency_map_is_the_blurred_points(home):
    home.archive(full_size_pairs(KINDS["single points"][1]))
    prepared(home)
    for stem in FULL_SIZE:
        expected = blurred(real_points(stem, "full_size"))
        np.testing.assert_allclose(saliency(home, stem), expected, atol=1)


@pytest.mark.parametrize("sigma", [2.5, 7])
def test_sigma_of_the_command_line_goes_before_the_configured_one(home, pairs, sigma):
    home.archive(pairs)
    prepared(home, "--sigma", sigma)
    np.testing.assert_allclose(saliency(home, "94"), blurred(real_points("94"), sigma), atol=1)
    assert record(home)["sigma"] == sigma


def test_smooth_maps_are_scaled_to_255_and_not_blurred_again(home):
    home.archive(full_size_pairs(lambda p: (".png", encoded((blurred(p) * 0.5).astype(np.uint8)))))
    prepared(home)
    for stem in FULL_SIZE:
        given_map = (blurred(real_points(stem, "full_size")) * 0.5).astype(np.uint8)
        expected = given_map / given_map.max() * 255
        np.testing.assert_allclose(saliency(home, stem), expected, atol=1)


def test_16_bit_smooth_maps_are_scaled_by_their_full_depth(home):
    home.archive(full_size_pairs(lambda points: (".png", encoded(deep(points)))))
    prepared(home)
    for stem in FULL_SIZE:
        expected = blurred(real_points(stem, "full_size"))
        np.testing.assert_allclose(saliency(home, stem), expected, atol=1)


def test_smooth_maps_are_recorded_without_a_sigma(home):
    home.archive(full_size_pairs(KINDS["8-bit smooth"][1]))
    prepared(home)
    assert record(home)["sigma"] is None


def test_a_sigma_for_smooth_maps_is_an_error(home):
    home.archive(full_size_pairs(KINDS["8-bit smooth"][1]))
    assert "--sigma" in refused(home, "--allow-partial", "--sigma", 8).err


# Maps of another size than their stimulus


@pytest.mark.parametrize("scale", [0.5, 2, 3.25])
def test_maps_of_another_size_are_brought_to_the_stimulus_size(home, pairs, scale):
    for stem in STEMS:
        points = real_points(stem)
        size = tuple(round(edge * scale) for edge in points.shape)
        pairs[f"fixation/{stem}.png"] = encoded(fixations.move_points(points, size))
    home.archive(pairs)
    prepared(home, "--skip-bad")
    for stem in stems_in(home, "fixations"):
        shape = decoded(home.dataset / "stimuli" / f"{stem}.jpg").shape[:2]
        assert decoded(home.dataset / "fixations" / f"{stem}.png").shape == shape
        assert saliency(home, stem).shape == shape


def test_points_are_moved_and_not_interpolated(home):
    points = np.zeros((240, 320), bool)
    points[60, 80] = points[200, 300] = True
    home.archive(
        {
            **{f"stimuli/{name}.png": encoded(np.zeros((480, 640, 3), np.uint8)) for name in "ab"},
            **{f"fixation/{name}.png": encoded(points) for name in "ab"},
        }
    )
    prepared(home)
    kept = decoded(home.dataset / "fixations" / "a.png")
    assert set(np.unique(kept)) == {0, 255}
    np.testing.assert_allclose(np.argwhere(kept), [[120.5, 160.5], [400.5, 600.5]], atol=0.5)


def test_growing_keeps_the_number_of_fixations(home):
    members = full_size_pairs(KINDS["single points"][1])
    for stem in FULL_SIZE:
        height, width = real_points(stem, "full_size").shape
        larger = np.full((2 * height, 2 * width, 3), 90, np.uint8)
        members[f"stimuli/{stem}.png"] = encoded(larger)
    home.archive(members)
    prepared(home)
    for stem in FULL_SIZE:
        kept = decoded(home.dataset / "fixations" / f"{stem}.png") > 0
        assert kept.sum() == real_points(stem, "full_size").sum()


def test_smooth_maps_of_another_size_are_resized(home):
    members = full_size_pairs(lambda p: (".png", encoded(blurred(p)[::2, ::2].astype(np.uint8))))
    home.archive(members)
    prepared(home)
    for stem in FULL_SIZE:
        expected = blurred(real_points(stem, "full_size"))
        np.testing.assert_allclose(saliency(home, stem), expected, atol=12)


@pytest.mark.parametrize("height", [238, 239, 241, 242])
def test_a_shape_within_one_percent_is_accepted(home, height):
    points = np.zeros((height, 320), bool)
    points[50, 50] = points[0, 0] = points[-1, -1] = True
    home.archive(
        {
            **{f"stimuli/{name}.png": encoded(np.zeros((480, 640, 3), np.uint8)) for name in "ab"},
            **{f"fixation/{name}.png": encoded(points) for name in "ab"},
        }
    )
    prepared(home)
    assert (decoded(home.dataset / "fixations" / "a.png") > 0).sum() == 3


@pytest.mark.parametrize("size", [(234, 320), (246, 320), (320, 240)])
def test_another_shape_is_a_bad_pair(home, size):
    points = np.zeros(size, bool)
    points[50, 50] = True
    home.archive(
        {
            "stimuli/a.png": encoded(np.zeros((480, 640, 3), np.uint8)),
            "fixation/a.png": encoded(points),
        }
    )
    assert re.search(r"a\.png.*shape", refused(home, "--allow-partial").err)


# Bad pairs


@dataclasses.dataclass(frozen=True)
class Bad:
    """A way to break the pair "94": what to put into the archive, and what has to be said."""

    members: dict[str, bytes | None]
    said: str
    loses: bool = True


STIMULUS = (FIXTURES / "stimuli" / "94.jpg").read_bytes()
MAP = (FIXTURES / "fixation" / "94.png").read_bytes()
BLACK = np.zeros(real_points("94").shape, np.uint8)

BAD = {
    "stimulus without a map": Bad({"fixation/94.png": None}, r"94\.jpg.*without a map"),
    "map without a stimulus": Bad({"stimuli/94.jpg": None}, r"94.*without a stimulus"),
    "truncated stimulus": Bad({"stimuli/94.jpg": STIMULUS[:1500]}, r"94\.jpg.*not a readable"),
    "stimulus that is text": Bad({"stimuli/94.jpg": b"<html>"}, r"94\.jpg.*not a readable"),
    "empty stimulus": Bad({"stimuli/94.jpg": b""}, r"94\.jpg.*empty"),
    "truncated map": Bad({"fixation/94.png": MAP[:120]}, r"94\.png.*not a readable"),
    "map that is text": Bad({"fixation/94.png": b"none"}, r"94\.png.*not a readable"),
    "empty map": Bad({"fixation/94.png": b""}, r"94\.png.*empty"),
    "map without a fixation": Bad(
        {"fixation/94.png": encoded(BLACK)}, r"94\.png.*without a single fixation"
    ),
    "map of another shape": Bad({"fixation/94.png": encoded(np.eye(96)[:, :80] > 0)}, "94.*shape"),
    "white map": Bad({"fixation/94.png": encoded(BLACK + np.uint8(255))}, r"94\.png.*grey level"),
    "dark points on white": Bad(
        {"fixation/94.png": encoded(~real_points("94"))}, r"94\.png.*dark points"
    ),
    "two stimuli with one stem": Bad(
        {"stimuli/94.png": encoded(np.zeros((96, 72, 3), np.uint8))},
        r"94.*stem.*94\.jpg.*94\.png",
    ),
    "two maps with one stem": Bad({"fixation/94_fixMap.jpg": MAP}, r"94: .*94_fixMap"),
}


def broken(pairs: dict[str, bytes], bad: Bad, stem: str = "94") -> dict[str, bytes]:
    members = dict(pairs)
    for name, content in bad.members.items():
        name = name.replace("94", stem)
        if content is None:
            del members[name]
        else:
            members[name] = content
    return members


@pytest.mark.parametrize("kind", [kind for kind in BAD if kind != "two maps with one stem"])
def test_a_bad_pair_is_an_error_with_its_name_and_reason_and_leaves_nothing(home, pairs, kind):
    home.archive(broken(pairs, BAD[kind]))
    outcome = refused(home, "--allow-partial")
    assert re.search(BAD[kind].said, outcome.err)
    assert "--skip-bad" in outcome.err


@pytest.mark.parametrize("kind", [kind for kind in BAD if kind != "two maps with one stem"])
def test_a_bad_pair_is_left_out_and_listed_with_skip_bad(home, pairs, kind):
    home.archive(broken(pairs, BAD[kind]))
    outcome = prepared(home, "--skip-bad")
    assert re.search(BAD[kind].said, outcome.out)
    rest = [stem for stem in STEMS if stem != "94"]
    for kept in ("stimuli", "fixations", "saliency"):
        assert stems_in(home, kept) == rest


def test_two_point_maps_with_one_stem_are_an_error(home, pairs):
    home.archive({**pairs, "fixation/94_fixPts.png": MAP})
    assert re.search(r"94.*94_fixPts", refused(home, "--allow-partial").err)


def test_all_bad_pairs_are_listed_in_one_error(home, pairs):
    kinds = [kind for kind in BAD if kind not in ("two maps with one stem", "map of another shape")]
    stems = STEMS[: len(kinds)]
    for kind, stem in zip(kinds, stems, strict=False):
        pairs = broken(pairs, BAD[kind], stem)
    home.archive(pairs)
    listed = refused(home, "--allow-partial").err.splitlines()
    for stem in stems:
        assert any(re.match(rf"  (\w+/)?{stem}\b", line) for line in listed), stem


def test_too_few_good_pairs_to_split_are_an_error_even_with_skip_bad(home, pairs):
    home.archive(first_archive(home, 1, pairs))
    refused(home, "--allow-partial", "--skip-bad")


# Counts


def test_another_number_of_pairs_is_an_error_that_says_how_many(home, pairs):
    home.archive(pairs)
    outcome = refused(home)
    assert re.search(r"\b10 pairs", outcome.err)
    assert "1,000" in outcome.err
    assert "--allow-partial" in outcome.err


def test_a_wrong_number_is_an_error_with_skip_bad_as_well(home, pairs):
    home.archive(pairs)
    assert "--allow-partial" in refused(home, "--skip-bad").err


@pytest.mark.parametrize(("count", "train", "valid"), [(10, 8, 2), (5, 4, 1), (2, 1, 1)])
def test_a_partial_dataset_is_split_80_20(home, pairs, count, train, valid):
    home.archive(first_archive(home, count, pairs))
    assert f"{train} for training, {valid} held out" in prepared(home).out


def test_a_thousand_pairs_need_no_option_and_are_split_800_200(thousand):
    _, outcome = thousand
    assert outcome.status == 0
    assert "800 for training, 200 held out" in outcome.out


# Safe and whole


def special(name: str, kind: bytes, target: str = "") -> dict[str, tarfile.TarInfo]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return {name: member}


UNSAFE = {
    "absolute path": lambda outside: {f"{outside}/evil.jpg": b"evil"},
    "parent folder": lambda outside: {"../evil.jpg": b"evil"},
    "parent folder inside": lambda outside: {"stimuli/../../../evil.jpg": b"evil"},
    "symbolic link": lambda outside: special("evil.jpg", tarfile.SYMTYPE, f"{outside}/secret"),
    "hard link": lambda outside: special("evil.jpg", tarfile.LNKTYPE, f"{outside}/secret"),
    "device": lambda outside: special("evil.jpg", tarfile.CHRTYPE),
    "fifo": lambda outside: special("evil.jpg", tarfile.FIFOTYPE),
    "linked folder": lambda outside: {
        **special("linked", tarfile.SYMTYPE, str(outside)),
        "linked/evil.jpg": b"evil",
    },
}


@pytest.mark.parametrize("kind", UNSAFE)
def test_an_unsafe_member_is_refused_and_nothing_is_written(home, pairs, tmp_path, kind):
    outside = write_files(tmp_path / "outside", {"secret": b"secret"})
    unsafe = UNSAFE[kind](outside)
    home.archive({**pairs, **unsafe})
    before = tree(tmp_path)
    outcome = refused(home, "--allow-partial", "--skip-bad")
    assert next(iter(unsafe)) in outcome.err
    assert tree(tmp_path) == before


@pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar", "a.zip"])
def test_a_truncated_archive_is_refused_and_leaves_nothing(home, pairs, name, share):
    path = write_archive(home.data / name, pairs)
    content = path.read_bytes().rstrip(b"\0")
    path.write_bytes(content[: int(len(content) * share)])
    refused(home, "--allow-partial", "--archive", path)


def test_a_truncated_tar_inside_a_whole_gzip_is_refused(home, pairs, tmp_path):
    plain = write_archive(tmp_path / "a.tar", pairs).read_bytes()
    home.data.mkdir(parents=True)
    with gzip.open(home.data / "add1000.tar.gz", "wb") as file:
        file.write(plain[: len(plain) // 2])
    refused(home, "--allow-partial")


STEPS = [
    (archive, "list_members"),
    (archive, "extract"),
    (images, "read_stimulus"),
    (images, "read_map"),
    (fixations, "blur"),
    (images, "write_png"),
    (prepare, "sha256"),
    (prepare, "write_json"),
    (prepare, "move_into_place"),
]


def interrupt_at(patch: pytest.MonkeyPatch, module, name: str, call: int) -> None:
    """Let a function be interrupted, as by Ctrl-C, after it did its work for the `call`th time."""
    function, calls = getattr(module, name), []

    def interrupted(*args, **options):
        calls.append(name)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*args, **options)

    patch.setattr(module, name, interrupted)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step[0].__name__}.{step[1]}")
def test_an_interruption_leaves_nothing_and_the_next_run_works(home, pairs, step):
    home.archive(pairs)
    before = tree(home.root)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, *step, call=1)
        outcome = home.run("prepare", "-d", DATASET, "--allow-partial")
    assert outcome.status == 130
    assert "Traceback" not in outcome.err
    assert tree(home.root) == before
    prepared(home)
    assert stems_in(home, "saliency") == STEMS


@pytest.mark.parametrize("call", [2, 7, 15])
def test_an_interruption_halfway_through_the_maps_leaves_nothing(home, pairs, call):
    home.archive(pairs)
    before = tree(home.root)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, images, "write_png", call)
        home.run("prepare", "-d", DATASET, "--allow-partial")
    assert tree(home.root) == before


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(home, pairs, monkeypatch):
    home.archive(pairs)

    def fail(*args, **options):
        raise OSError(28, "No space left on device", "a.png")

    monkeypatch.setattr(images, "write_png", fail)
    assert "No space left on device" in refused(home, "--allow-partial").err


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("pid", [dead_process, os.getpid], ids=["dead", "of this number"])
def test_what_a_killed_run_left_is_no_obstacle_and_is_removed(home, pairs, pid):
    home.archive(pairs)
    # In a container the next run often has the process id of the killed one.
    left = home.data / f".{DATASET}.preparing-{pid()}"
    write_files(left, {"incoming/stimuli/94.jpg": b"half"})
    prepared(home)
    assert not left.exists()
    assert stems_in(home, "stimuli") == STEMS


def test_a_second_run_uses_what_is_there(home, pairs, monkeypatch):
    path = home.archive(pairs)
    prepared(home)
    first = {file: file.stat().st_mtime_ns for file in home.dataset.rglob("*")}
    monkeypatch.setattr(archive, "extract", None)
    path.unlink()
    prepared(home)
    assert {file: file.stat().st_mtime_ns for file in home.dataset.rglob("*")} == first


def test_a_second_run_needs_no_option_again(home, pairs):
    home.archive(pairs)
    prepared(home)
    assert home.run("prepare", "-d", DATASET).status == 0


def test_another_sigma_for_a_prepared_dataset_is_an_error_and_not_ignored(home, pairs):
    home.archive(pairs)
    prepared(home)
    assert "sigma 16" in refused(home, "--sigma", 5).err


def test_another_archive_for_a_prepared_dataset_is_an_error_and_not_ignored(home, pairs):
    home.archive(pairs)
    prepared(home)
    other = write_archive(home.work / "other.tar", pairs)
    assert "other.tar" in refused(home, "--archive", other).err


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"source": 1, "sigma": 2}'])
def test_a_damaged_record_is_one_clear_error(home, pairs, content):
    home.archive(pairs)
    prepared(home)
    (home.dataset / "dataset.json").write_text(content)
    assert "dataset.json" in refused(home).err


# Folders that the user unpacked


def unpack(home: Home, members: dict[str, bytes]) -> dict[str, bytes]:
    write_files(home.dataset, members)
    return tree(home.dataset)


@pytest.mark.parametrize("maps", ["fixation", "fixations"])
def test_an_unpacked_folder_with_fixations_gets_its_maps(home, pairs, maps):
    unpack(home, {name.replace("fixation/", f"{maps}/"): pairs[name] for name in pairs})
    prepared(home)
    for stem in STEMS:
        np.testing.assert_allclose(saliency(home, stem), blurred(real_points(stem)), atol=1)


@pytest.mark.parametrize("maps", ["fixation", "fixations", "saliency"])
def test_files_of_an_unpacked_folder_are_not_changed(home, pairs, maps):
    members = {name: pairs[name] for name in pairs if name.startswith("stimuli")}
    for stem in STEMS:
        map_ = blurred(real_points(stem), 5) * 0.5 if maps == "saliency" else real_points(stem)
        members[f"{maps}/{stem}.png"] = encoded(map_.astype(np.uint8))
    before = unpack(home, members)
    prepared(home)
    after = tree(home.dataset)
    assert {name: after.get(name) for name in before} == before


def test_an_unpacked_folder_with_saliency_maps_is_accepted_as_it_is(home, pairs):
    members = {name: pairs[name] for name in pairs if name.startswith("stimuli")}
    for stem in STEMS:
        members[f"saliency/{stem}.png"] = encoded(blurred(real_points(stem), 5).astype(np.uint8))
    before = unpack(home, members)
    assert "smooth maps" in prepared(home).out
    after = tree(home.dataset)
    del after["dataset.json"]
    assert after == before


def test_an_unpacked_folder_goes_before_an_archive(home, pairs):
    home.archive(first_archive(home, 5, pairs))
    unpack(home, pairs)
    prepared(home)
    assert record(home)["pairs"] == 10


def test_bad_pairs_of_an_unpacked_folder_are_listed_and_nothing_is_added(home, pairs):
    unpack(home, broken(pairs, BAD["truncated map"]))
    assert re.search(r"94\.png", refused(home, "--allow-partial").err)


def test_skip_bad_leaves_bad_pairs_of_an_unpacked_folder_where_they_are(home, pairs):
    unpack(home, broken(pairs, BAD["truncated stimulus"]))
    assert "94.jpg" in prepared(home, "--skip-bad").out
    assert (home.dataset / "stimuli" / "94.jpg").is_file()
    assert record(home)["pairs"] == 9


def test_the_count_of_an_unpacked_folder_is_checked(home, pairs):
    unpack(home, pairs)
    assert re.search(r"\b10 pairs", refused(home).err)


@pytest.mark.parametrize("folder", ["stimuli", "fixation"])
def test_an_incomplete_unpacked_folder_is_an_error_that_says_what_is_needed(home, folder):
    unpack(home, {f"{folder}/94.png": MAP})
    error = refused(home, "--allow-partial").err
    assert "stimuli/" in error
    assert "saliency/" in error


@pytest.mark.parametrize("file", ["notes.txt", "fixation_add1000/stimuli/94.jpg"])
def test_a_folder_that_holds_something_else_is_not_written_over_by_an_archive(home, pairs, file):
    unpack(home, {file: STIMULUS})
    home.archive(pairs)
    assert str(home.dataset) in refused(home, "--allow-partial").err


@pytest.mark.parametrize(
    "step",
    [(images, "write_png"), (prepare, "write_json")],
    ids=lambda step: f"{step[0].__name__}.{step[1]}",
)
def test_an_interrupted_preparation_of_a_folder_is_taken_up_again(home, pairs, step):
    before = unpack(home, pairs)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, *step, call=1)
        assert home.run("prepare", "-d", DATASET, "--allow-partial").status == 130
    assert not (home.dataset / "dataset.json").exists()
    prepared(home)
    after = tree(home.dataset)
    assert {name: after.get(name) for name in before} == before
    assert record(home)["maps"] == "fixation points"
    assert record(home)["sigma"] == 16


# What is said and recorded


def test_prepare_prints_pairs_kind_sizes_fixations_and_the_input_that_pads_least(home, pairs):
    home.archive(pairs)
    out = prepared(home).out
    assert re.search(r"pairs +10", out)
    assert "fixation points" in out
    for size, count in record(home)["sizes"].items():
        assert f"{size} ({count})" in out
    counts = [real_points(stem).sum() for stem in STEMS]
    assert f"{np.mean(counts):.1f}".rstrip("0").rstrip(".") in out
    assert f"from {min(counts)} to {max(counts)}" in out
    assert re.search(r"\d+ x \d+ would pad least", out)


def test_dataset_json_records_source_pairs_sigma_kind_and_sizes(home, pairs):
    path = home.archive(pairs, "add1000.tar.gz")
    prepared(home)
    content = record(home)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert content["archives"] == [{"name": "add1000.tar.gz", "sha256": digest}]
    assert content["pairs"] == 10
    assert content["sigma"] == 16
    assert content["maps"] == "fixation points"
    sizes = [Image.open(FIXTURES / "stimuli" / f"{stem}.jpg").size for stem in STEMS]
    assert content["sizes"] == {
        f"{width}x{height}": sizes.count((width, height)) for width, height in set(sizes)
    }


def test_an_archive_gives_exactly_its_files_maps_and_a_record(home, pairs):
    home.archive(pairs)
    prepared(home)
    expected = {f"stimuli/{stem}.jpg" for stem in STEMS} | {"dataset.json"}
    expected |= {f"{folder}/{stem}.png" for folder in ("fixations", "saliency") for stem in STEMS}
    # A list of single fixations may stand beside the maps.
    assert set(tree(home.dataset)) - {"fixations.csv"} == expected


def test_stimuli_are_kept_byte_for_byte(home, pairs):
    home.archive(pairs)
    prepared(home)
    for stem in STEMS:
        kept = (home.dataset / "stimuli" / f"{stem}.jpg").read_bytes()
        assert kept == pairs[f"stimuli/{stem}.jpg"]


def padded_share(sizes: dict[str, int], height: int, width: int) -> float:
    filled = 0.0
    for size, count in sizes.items():
        image_width, image_height = map(int, size.split("x"))
        scale = min(height / image_height, width / image_width)
        filled += count * image_width * image_height * scale**2
    return 1 - filled / (height * width * sum(sizes.values()))


@given(
    st.dictionaries(
        st.tuples(st.integers(20, 900), st.integers(20, 900)).map(lambda s: f"{s[0]}x{s[1]}"),
        st.integers(1, 500),
        min_size=1,
        max_size=4,
    )
)
def test_no_other_input_of_as_many_pixels_pads_less(sizes):
    pixels = 128 * 128
    height, width = prepare.least_padding(sizes, pixels)
    assert height % 8 == width % 8 == 0
    assert abs(height * width / pixels - 1) <= 0.03
    best = padded_share(sizes, height, width)
    for other_height in range(8, 513, 8):
        for other_width in range(8, 513, 8):
            if abs(other_height * other_width / pixels - 1) <= 0.03:
                assert padded_share(sizes, other_height, other_width) >= best - 1e-9


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("499.jpg", "499"),
        ("499_fixMap.png", "499"),
        ("499_fixPts.PNG", "499"),
        ("a.b.jpg", "a.b"),
        ("fixMap.png", "fixMap"),
        ("499_fixMap_2.png", "499_fixMap_2"),
    ],
)
def test_the_stem_of_a_name_is_what_pairs_meet_under(name, stem):
    assert prepare.stem(name) == stem
