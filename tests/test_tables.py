"""Files of single fixations, and sets of the user's own, whatever form they come in."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import (
    FIXTURES,
    Home,
    Outcome,
    decoded,
    encoded,
    real_points,
    tree,
    write_archive,
    write_files,
)
from conftest import STEMS as ALL_STEMS
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from test_sets import cell, mat, struct_array

import config
import data
import main
import tables
from utils import MissingFileError, UserError

ROOT = Path(main.__file__).parent
STEMS = ALL_STEMS[::2]
STIMULI = {
    f"stimuli/{stem}.jpg": (FIXTURES / "stimuli" / f"{stem}.jpg").read_bytes() for stem in STEMS
}
NAN = np.nan


def written(folder: Path, content: str | bytes, name: str = "fixations.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path) -> str:
    """Return the message with which a file of fixations is refused."""
    with pytest.raises(UserError) as error:
        tables.read_tables(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def real_rows() -> list[tuple[str, int, int]]:
    """Return (image, x, y) of every real fixation."""
    return [
        (f"{stem}.jpg", x, y) for stem in STEMS for y, x in np.argwhere(real_points(stem)).tolist()
    ]


def as_csv(rows: list[tuple], header: str = "image,x,y") -> bytes:
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


# CSV


def test_rows_are_gathered_by_image_in_their_order(tmp_path):
    path = written(tmp_path, "image,x,y\na.jpg,1,2\nb.jpg,3,4\na.jpg,5.5,6e0\n")
    found = tables.read_tables(path)
    assert found.keys() == {"a.jpg", "b.jpg"}
    np.testing.assert_array_equal(found["a.jpg"][:, :2], [[1, 2], [5.5, 6]])
    assert np.isnan(found["a.jpg"][:, 2:]).all()


@pytest.mark.parametrize("viewer", ["viewer", "subject", "observer", "participant", "user"])
@pytest.mark.parametrize("order", ["order", "index"])
@pytest.mark.parametrize("duration", ["duration", "duration_ms"])
def test_viewer_order_and_duration_are_read_under_their_usual_names(
    tmp_path, viewer, order, duration
):
    path = written(tmp_path, f"{duration},y,{viewer},x,{order},image\n250,2,anna,1,7,a.jpg\n")
    np.testing.assert_array_equal(tables.read_tables(path)["a.jpg"], [[1, 2, 1, 7, 250]])


def test_viewers_are_numbered_as_they_appear_over_all_images(tmp_path):
    lines = ["a.jpg,1,1,zoe", "a.jpg,2,2,17", "b.jpg,3,3,17", "b.jpg,4,4,", "b.jpg,5,5,zoe"]
    found = tables.read_tables(written(tmp_path, "\n".join(["image,x,y,viewer", *lines])))
    np.testing.assert_array_equal(found["a.jpg"][:, 2], [1, 2])
    np.testing.assert_array_equal(found["b.jpg"][:, 2], [2, NAN, 1])


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffimage,x,y\na.jpg,1,2\n",
        "IMAGE, X ,y\r\n a.jpg , 1 , 2 \r\n",
        'image,x,y\n"a.jpg","1","2"\n',
        "image,x,y\n\na.jpg,1,2\n\n",
        "image,x,y,,pupil\na.jpg,1,2,nothing,wide\n",
        "image,x,y\na.jpg,1,2,more,than,named\n",
    ],
    ids=["byte order mark", "spaces", "quotes", "empty lines", "further columns", "further values"],
)
def test_a_csv_as_programs_write_it_is_read(tmp_path, content):
    np.testing.assert_array_equal(
        tables.read_tables(written(tmp_path, content))["a.jpg"][:, :2], [[1, 2]]
    )


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("picture,x,y", "no column image"),
        ("image,left,top", "no column x and no column y"),
        ("image;x;y", "no column image and no column x and no column y"),
        ("", "no column image and no column x and no column y"),
    ],
)
def test_a_missing_column_is_an_error_that_names_it(tmp_path, header, said):
    message = refusal(written(tmp_path, f"{header}\na.jpg,1,2\n"))
    assert f"{said}. The first line has to name" in message


@pytest.mark.parametrize("bad", ["a.jpg,nan,2", "a.jpg,1,inf", "a.jpg,left,2", "a.jpg,,2", "a.jpg"])
def test_a_line_without_numbers_is_an_error_that_names_the_line(tmp_path, bad):
    message = refusal(written(tmp_path, f"image,x,y\na.jpg,1,2\n{bad}\na.jpg,3,4\n"))
    assert "line 3" in message
    assert "is no number" in message


@pytest.mark.parametrize("bad", [",1,2", "  ,1,2"])
def test_a_line_without_an_image_is_an_error_that_names_the_line(tmp_path, bad):
    assert "line 2: no image is named" in refusal(written(tmp_path, f"image,x,y\n{bad}\n"))


@pytest.mark.parametrize("column", ["order", "duration"])
def test_an_optional_column_may_be_empty_but_not_rubbish(tmp_path, column):
    path = written(tmp_path, f"image,x,y,{column}\na.jpg,1,2,\n")
    assert np.isnan(tables.read_tables(path)["a.jpg"][0, 3:]).all()
    path = written(tmp_path, f"image,x,y,{column}\na.jpg,1,2,soon\n")
    assert "line 2: 'soon' is no number" in refusal(path)


@pytest.mark.parametrize("content", ["image,x,y\n", "image,x,y\n\n\n"])
def test_a_csv_without_fixations_is_an_error(tmp_path, content):
    assert "holds no fixations" in refusal(written(tmp_path, content))


@pytest.mark.parametrize(
    "content", [b"image,x,y\n\xff\xfe,1,2\n", b'image,x,y\n"a.jpg,1,2\n', b"\0\1\2\3"]
)
def test_a_csv_that_is_none_is_one_clear_error(tmp_path, content):
    refusal(written(tmp_path, content))


names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
numbers = st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(names, numbers, numbers), min_size=1, max_size=20))
def test_any_names_and_numbers_come_back(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "x", "y"), *rows])
    found = tables.read_tables(path)
    expected = {}
    for name, x, y in rows:
        expected.setdefault(name, []).append((x, y))
    assert {name: [tuple(row[:2]) for row in found[name]] for name in found} == expected


# .mat


def osie_mat(stems: list[str] = STEMS, viewers: int = 2) -> bytes:
    """Return the real fixations in OSIE's form, dealt out to a number of viewers."""
    entries = []
    for stem in stems:
        yx = np.argwhere(real_points(stem)).astype(float)
        subjects = [
            {"fix_x": yx[None, n::viewers, 1], "fix_y": yx[None, n::viewers, 0]}
            for n in range(viewers)
        ]
        entries.append({"img": f"{stem}.jpg", "subjects": cell(subjects)})
    return mat(fixations=cell(entries))


def test_a_mat_in_osies_form_gives_every_viewers_fixations_in_order(tmp_path):
    entry = {
        "img": "a.jpg",
        "subjects": cell(
            [
                {"fix_x": [[1.5, 2]], "fix_y": [[3, 4]], "fix_duration": [[210, 220]]},
                {"fix_x": np.empty((0, 0)), "fix_y": np.empty((0, 0)), "fix_duration": []},
                {"fix_x": 7, "fix_y": 8, "fix_duration": 230},
            ]
        ),
    }
    found = tables.read_tables(written(tmp_path, mat(fixations=cell([entry])), "a.mat"))
    expected = [[1.5, 3, 1, 1, 210], [2, 4, 1, 2, 220], [7, 8, 3, 1, 230]]
    np.testing.assert_array_equal(found["a.jpg"], expected)


@pytest.mark.parametrize("make", [cell, struct_array], ids=["cells", "struct arrays"])
def test_cells_of_structs_and_arrays_of_structs_are_read_alike(tmp_path, make):
    subjects = make([{"fix_x": [[1, 2]], "fix_y": [[3, 4]]}, {"fix_x": 5, "fix_y": 6}])
    entries = make([{"img": "a.jpg", "subjects": subjects}, {"img": "b.jpg", "subjects": subjects}])
    found = tables.read_tables(written(tmp_path, mat(fixations=entries), "a.MAT"))
    expected = [[1, 3, 1, 1, NAN], [2, 4, 1, 2, NAN], [5, 6, 2, 1, NAN]]
    np.testing.assert_array_equal(found["a.jpg"], expected)
    np.testing.assert_array_equal(found["b.jpg"], expected)


@pytest.mark.parametrize(
    "content",
    [
        mat(other=1),
        mat(fixations=5),
        mat(fixations=cell([{"img": "a.jpg"}])),
        mat(fixations=cell([{"img": "a.jpg", "subjects": cell([{"fix_x": 1}])}])),
        mat(fixations=cell([{"img": "a.jpg", "subjects": cell([{"fix_x": "b", "fix_y": 1}])}])),
        mat(
            fixations=cell(
                [{"img": "a.jpg", "subjects": cell([{"fix_x": [1, 2, 3], "fix_y": [1, 2]}])}]
            )
        ),
    ],
    ids=["no variable", "a number", "no subjects", "no fix_y", "text", "unequal lengths"],
)
def test_a_mat_of_another_form_is_an_error_that_says_the_form(tmp_path, content):
    assert "not in OSIE's form" in refusal(written(tmp_path, content, "a.mat"))


@pytest.mark.parametrize("content", [b"", b"rubbish", osie_mat()[:300]])
def test_a_mat_that_is_none_is_one_clear_error(tmp_path, content):
    assert "not a readable MATLAB file" in refusal(written(tmp_path, content, "a.mat"))


def test_a_mat_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(MissingFileError, match=r"absent\.mat: there is no such file"):
        tables.load_mat(tmp_path / "absent.mat")


# Sets of the user's own


def own(home: Home, *options: object, name: str = "mine") -> Outcome:
    return home.run("prepare", "-d", name, *options)


def ready(home: Home, *options: object, name: str = "mine") -> Outcome:
    outcome = own(home, *options, name=name)
    assert outcome.status == 0, outcome.err
    return outcome


def maps_are_those_of(home: Home, points: dict[str, np.ndarray], sigma: float = 16) -> bool:
    """Whether the set's maps are these points and their blur, within one grey level."""
    folder = home.data / "mine"
    for stem, expected in points.items():
        np.testing.assert_array_equal(decoded(folder / "fixations" / f"{stem}.png") > 0, expected)
        blurred = ndimage.gaussian_filter(expected.astype(float), sigma)
        found = decoded(folder / "saliency" / f"{stem}.png").astype(int)
        np.testing.assert_allclose(found, blurred * 255 / blurred.max(), atol=1)
    return {path.stem for path in (folder / "saliency").iterdir()} == points.keys()


REAL_POINTS = {stem: real_points(stem) for stem in STEMS}
FORMS = {
    "fixations.csv": as_csv(real_rows()),
    "gaze.CSV": as_csv(real_rows()),
    "fixations.mat": osie_mat(),
    "fixations/all.csv": as_csv(real_rows()),
    "stimuli/all.csv": as_csv(real_rows()),
}


@pytest.mark.parametrize("form", [form for form in FORMS if not form.startswith("fixations/")])
def test_a_folder_with_a_table_of_fixations_is_prepared(home, form):
    write_files(home.data / "mine", STIMULI | {form: FORMS[form]})
    ready(home)
    assert maps_are_those_of(home, REAL_POINTS)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("prefix", ["", "wrapped/"])
def test_an_archive_with_a_table_of_fixations_is_prepared(home, form, prefix):
    members = STIMULI | {form: FORMS[form]}
    archive = write_archive(
        home.work / "mine.zip", {prefix + name: content for name, content in members.items()}
    )
    ready(home, "--archive", archive)
    assert maps_are_those_of(home, REAL_POINTS)


@pytest.mark.parametrize("folder", ["fixations", "saliency"])
@pytest.mark.parametrize("name", ["all.csv", "notes.txt"])
def test_a_folder_of_the_user_where_maps_belong_is_not_taken_for_maps(home, folder, name):
    files = {f"{folder}/{name}": as_csv(real_rows())}
    if name == "notes.txt":
        files["gaze.csv"] = as_csv(real_rows())
    write_files(home.data / "mine", STIMULI | files)
    before = tree(home.data)
    outcome = own(home)
    assert outcome.status == 2
    assert f"{home.data / 'mine' / folder} holds no maps" in outcome.err
    assert tree(home.data) == before


@pytest.mark.parametrize("maps", ["fixation", "fixations", "saliency"])
def test_a_folder_with_maps_is_prepared(home, pairs, maps):
    files = {name.replace("fixation/", f"{maps}/"): content for name, content in pairs.items()}
    files = {name: content for name, content in files.items() if Path(name).stem in STEMS}
    if maps == "saliency":
        blur = ndimage.gaussian_filter
        for stem in STEMS:
            files[f"saliency/{stem}.png"] = encoded(
                np.rint(blur(real_points(stem) * 2550.0, 4)).clip(0, 255).astype(np.uint8)
            )
    write_files(home.data / "mine", files)
    ready(home)
    names = {path.stem for path in (home.data / "mine" / "saliency").iterdir()}
    assert names == set(STEMS)


def test_a_set_of_any_number_of_pairs_is_split_80_20_by_the_same_order(home):
    write_files(home.data / "mine", STIMULI | {"fixations.csv": FORMS["fixations.csv"]})
    assert "split      4 for training, 1 held out" in ready(home).out
    train, valid = data.open_dataset("mine", home.data).load_data()
    names = sorted(f"{stem}.jpg" for stem in STEMS)
    order = [names[index] for index in np.random.RandomState(42).permutation(5)]
    assert [path.name for path in train.stimuli] == order[:4]
    assert [path.name for path in valid.stimuli] == order[4:]


def test_files_of_the_user_are_not_changed(home):
    mine = STIMULI | {"fixations.csv": as_csv(real_rows()), "stimuli/notes.txt": b"notes"}
    write_files(home.data / "mine", mine)
    ready(home)
    after = tree(home.data / "mine")
    assert {name: after[name] for name in mine} == mine


def test_a_sigma_of_the_command_line_is_used_for_a_table(home):
    write_files(home.data / "mine", STIMULI | {"fixations.csv": FORMS["fixations.csv"]})
    ready(home, "--sigma", 5)
    assert maps_are_those_of(home, REAL_POINTS, sigma=5)


def test_further_columns_are_ignored_and_viewers_kept(home):
    rows = [(name, x, y, f"P{x % 3}", "wide", 200) for name, x, y in real_rows()]
    content = as_csv(rows, "image,x,y,subject,pupil,duration")
    archive = write_archive(home.work / "mine.zip", STIMULI | {"gaze.csv": content})
    ready(home, "--archive", archive)
    with (home.data / "mine" / "fixations.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == ["image", "x", "y", "viewer", "duration"]
    numbers = {}
    for _, _, _, viewer, *_ in rows:
        numbers.setdefault(viewer, len(numbers) + 1)
    expected = [(name, x, y, numbers[viewer], 200) for name, x, y, viewer, _, _ in rows]
    found = [(name, *map(float, values)) for name, *values in lines]
    assert sorted(found) == sorted(expected)


def test_fixations_outside_the_images_are_dropped_and_counted(home):
    height, width = real_points(STEMS[0]).shape
    outside = [(width, 0), (0, height), (-1, 0), (0, -0.1), (1e9, 3)]
    rows = real_rows() + [(f"{STEMS[0]}.jpg", *place) for place in outside]
    write_files(home.data / "mine", STIMULI | {"fixations.csv": as_csv(rows)})
    assert "Dropped 5 fixations outside the images." in ready(home).out
    assert maps_are_those_of(home, REAL_POINTS)


def test_an_image_whose_fixations_are_all_outside_is_a_bad_pair(home):
    rows = [row for row in real_rows() if row[0] != "101.jpg"] + [("101.jpg", 5000, 3)]
    write_files(home.data / "mine", STIMULI | {"fixations.csv": as_csv(rows)})
    outcome = own(home)
    assert outcome.status == 2
    assert "101.jpg: no fixation inside the image" in outcome.err


def test_images_may_be_named_without_suffix_and_with_a_folder(home):
    rows = [(f"stimuli/{Path(name).stem}", x, y) for name, x, y in real_rows()]
    write_files(home.data / "mine", STIMULI | {"fixations.csv": as_csv(rows)})
    ready(home)
    assert maps_are_those_of(home, REAL_POINTS)


def test_one_image_named_in_two_ways_keeps_all_its_fixations(home):
    rows = [
        (name if index % 2 else Path(name).stem, x, y)
        for index, (name, x, y) in enumerate(real_rows())
    ]
    write_files(home.data / "mine", STIMULI | {"fixations.csv": as_csv(rows)})
    ready(home)
    assert maps_are_those_of(home, REAL_POINTS)


def test_an_image_without_fixations_and_fixations_without_an_image_are_named(home):
    rows = [row for row in real_rows() if row[0] != "101.jpg"] + [("holiday.jpg", 1, 2)]
    write_files(home.data / "mine", STIMULI | {"fixations.csv": as_csv(rows)})
    outcome = own(home)
    assert outcome.status == 2
    assert "2 pairs cannot be used" in outcome.err
    assert "101.jpg: a stimulus without a map" in outcome.err
    assert "holiday: fixations without a stimulus" in outcome.err
    before = tree(home.data)
    assert own(home).status == 2
    assert tree(home.data) == before
    ready(home, "--skip-bad")
    del (rest := dict(REAL_POINTS))["101"]
    assert maps_are_those_of(home, rest)


BAD_TABLES = {
    "a column is missing": ("fixations.csv", as_csv(real_rows(), "image,left,y"), "no column x"),
    "not a number": ("fixations.csv", as_csv([*real_rows()[:4], ("101.jpg", "nan", 1)]), "line 6"),
    "empty": ("fixations.csv", b"", "no column image"),
    "another mat": ("fixations.mat", mat(other=1), "not in OSIE's form"),
    "rubbish": ("fixations.mat", b"rubbish", "not a readable MATLAB file"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_a_bad_table_is_one_clear_error_and_nothing_is_made(home, kind, packed):
    name, content, said = BAD_TABLES[kind]
    members = STIMULI | {name: content}
    options = []
    if packed:
        options = ["--archive", write_archive(home.work / "mine.zip", members)]
    else:
        write_files(home.data / "mine", members)
    before = tree(home.data)
    outcome = own(home, *options)
    assert outcome.status == 2
    assert outcome.err.startswith("Error: ")
    assert said in outcome.err
    assert name in outcome.err
    assert "preparing" not in outcome.err
    assert tree(home.data) == before


def test_two_tables_are_an_error_that_names_both(home):
    files = {"a.csv": as_csv(real_rows()), "stimuli/b.mat": osie_mat()}
    write_files(home.data / "mine", STIMULI | files)
    outcome = own(home)
    assert outcome.status == 2
    assert "more than one table of fixations: a.csv, stimuli/b.mat" in outcome.err


@pytest.mark.parametrize("members", [STIMULI, {"fixations.csv": as_csv(real_rows())}])
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_stimuli_or_fixations_alone_are_one_clear_error(home, members, packed):
    options = []
    if packed:
        options = ["--archive", write_archive(home.work / "mine.zip", members)]
    else:
        write_files(home.data / "mine", members)
    before = tree(home.data)
    outcome = own(home, *options)
    assert outcome.status == 2
    assert "stimul" in outcome.err
    assert tree(home.data) == before


@pytest.mark.parametrize("folder", ["Stimuli", "STIMULI"])
def test_a_folder_in_another_letter_case_is_refused_with_its_right_name(home, folder):
    files = {name.replace("stimuli", folder): content for name, content in STIMULI.items()}
    write_files(home.data / "mine", files | {"fixations.csv": as_csv(real_rows())})
    before = tree(home.data)
    outcome = own(home)
    assert outcome.status == 2
    assert f"{home.data / 'mine' / folder}: rename it to stimuli" in outcome.err
    assert tree(home.data) == before


# Names and sizes


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("salcon", "salicon"),
        ("Osi", "osie"),
        ("mit103", "mit1003"),
        ("cat200", "cat2000"),
        ("dut-omron", "dutomron"),
        ("pascal-s", "pascals"),
        ("fixationadd100", "fixationadd1000"),
    ],
)
@pytest.mark.parametrize("command", ["prepare", "train", "test"])
def test_a_misspelt_name_gets_the_closest_known_one(tmp_path, command, name, meant):
    # A thin network would have to be loaded first, and this needs none.
    home = Home(tmp_path, thin=False)
    outcome = home.run(command, "-d", name)
    assert outcome.status == 2
    assert f"There is no dataset {name}. Did you mean {meant}" in outcome.err
    assert str(home.data / name) in outcome.err
    assert "--archive FILE" in outcome.err
    assert tree(home.root) == {}


def test_a_name_like_no_other_gets_the_list_of_the_known_ones(home):
    outcome = own(home, name="qqqq")
    assert outcome.status == 2
    assert "Did you mean" not in outcome.err
    assert all(name in outcome.err for name in main.datasets_list)


@pytest.mark.parametrize("name", ["SALICON", "Osie", "Fiwi"])
def test_a_known_name_may_be_written_in_any_letter_case(home, name):
    write_files(home.data / name.lower(), STIMULI | {"fixations.csv": as_csv(real_rows())})
    outcome = home.run("prepare", "-d", name)
    assert f"5 pairs found where {name.lower()} has" in outcome.err


@pytest.mark.parametrize(
    "size", ["240", "240x", "x320", "240x320x3", "100x100", "0x320", "-8x8", "4x8", "240.0x320", ""]
)
def test_a_size_that_is_none_or_not_divisible_by_8_is_refused(home, size):
    outcome = own(home, f"--size={size}")
    assert outcome.status == 2
    assert "--size" in outcome.err
    assert "both divisible by 8" in outcome.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "input      360 x 360"),
        (("--size", "240x320"), "input      240 x 320"),
        (("--size", "64X80"), "input      64 x 80"),
    ],
)
def test_the_input_of_an_own_set_is_that_of_size_else_360_x_360(home, options, said):
    write_files(home.data / "mine", STIMULI | {"fixations.csv": as_csv(real_rows())})
    assert said in ready(home, *options).out


# Another permanent set

MADE_UP = """
import sys
import config, data

class KODAK(data.Dataset):
    '''A made-up set.'''

    n_train = 3
    n_valid = 2

config.DIMS["image_size_kodak"] = (64, 80)

import main
sys.exit(main.main(sys.argv[1:]))
"""


def with_kodak(*arguments: object) -> subprocess.CompletedProcess:
    """Run the command line of a repository that has one more set, in a process of its own."""
    command = [sys.executable, "-c", MADE_UP, *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "200"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)


def test_a_permanent_set_takes_a_class_and_its_input_size(tmp_path):
    archive = write_archive(tmp_path / "kodak.zip", STIMULI | {"gaze.csv": as_csv(real_rows())})
    done = with_kodak("prepare", "-d", "KODAK", "-p", tmp_path / "data", "--archive", archive)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "kodak" / "dataset.json").is_file()
    assert "input      64 x 80" in done.stdout
    assert "split      3 for training, 2 held out" in done.stdout


def test_a_permanent_set_has_its_number_of_pairs_checked_and_its_name_known(tmp_path):
    members = {name: STIMULI[name] for name in sorted(STIMULI)[:2]}
    rows = [row for row in real_rows() if f"stimuli/{row[0]}" in members]
    archive = write_archive(tmp_path / "kodak.zip", members | {"gaze.csv": as_csv(rows)})
    few = with_kodak("prepare", "-d", "kodak", "-p", tmp_path / "data", "--archive", archive)
    assert "2 pairs found where kodak has 5." in few.stderr
    misspelt = with_kodak("prepare", "-d", "kodka", "-p", tmp_path / "data")
    assert "Did you mean kodak?" in misspelt.stderr
    assert "kodak, or a set of your own" in with_kodak("prepare", "--help").stdout


def test_the_input_of_sets_of_the_users_own_is_divisible_by_8():
    assert all(edge % 8 == 0 for edge in config.OWN_SET_SIZE)
