import csv
import io
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import FIXTURES
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFont

import images
import regions
from regions import Region
from utils import MissingFileError, UserError

HEADER = "image,name,x,y,w,h"
ROOT = Path("ads")
PICTURE = np.asarray(Image.open(FIXTURES / "stimuli" / "952.jpg").convert("RGB"))
HEIGHT, WIDTH = PICTURE.shape[:2]


def region(name="logo", x=0.0, y=0.0, width=1.0, height=1.0, image="a.png", place="line 2"):
    return Region(image, name, x, y, width, height, place)


def read(tmp_path, text: str | bytes, name: str = "regions.csv") -> list[Region]:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return regions.read_regions(path)


def refusal(tmp_path, text: str | bytes, name: str = "regions.csv") -> str:
    with pytest.raises(UserError) as error:
        read(tmp_path, text, name)
    assert name in str(error.value)
    return str(error.value)


def assign(found, names=("a.png",), size=(480, 640)):
    paths = [ROOT / name for name in names]
    return regions.assign(found, "regions.csv", paths, ROOT, lambda path: size)


def assign_refusal(found, names=("a.png",), size=(480, 640)) -> str:
    with pytest.raises(UserError) as error:
        assign(found, names, size)
    return str(error.value)


def test_a_csv_is_read(tmp_path):
    text = f"{HEADER}\na.png,logo,10,20,30,40\nb/c.png,face,0.5,1.25,3,4.75\n"
    assert read(tmp_path, text) == [
        Region("a.png", "logo", 10, 20, 30, 40, "line 2"),
        Region("b/c.png", "face", 0.5, 1.25, 3, 4.75, "line 3"),
    ]


def test_columns_may_come_in_any_order_and_letter_case_with_others_between(tmp_path):
    text = "H,problem,W,y,x,Name,colour,IMAGE\n40,none,30,20,10,logo,red,a.png\n"
    assert read(tmp_path, text) == [Region("a.png", "logo", 10, 20, 30, 40, "line 2")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_any_line_ends_and_a_byte_order_mark_are_read(tmp_path, end, mark):
    text = mark + end.join([HEADER, "a.png,logo,1,2,3,4", ""])
    assert read(tmp_path, text) == [Region("a.png", "logo", 1, 2, 3, 4, "line 2")]


def test_spaces_around_values_are_ignored(tmp_path):
    text = 'image , name, x, y, w, h\n a.png , "big, blue", 1 , 2 , 3 , 4 \n'
    assert read(tmp_path, text) == [Region("a.png", "big, blue", 1, 2, 3, 4, "line 2")]


NAMES = [
    "Shop, now",
    'the "best"',
    "Größe",
    "ロゴ",
    "two\nlines",
    "=1+1",
    "é" * 300,
    "\N{PILE OF POO}",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_may_hold_anything(tmp_path, name):
    quoted = name.replace('"', '""')
    (found,) = read(tmp_path, f'{HEADER}\na.png,"{quoted}",1,2,3,4\n')
    assert (found.name, found.problem) == (name, "")


def test_a_line_number_is_that_of_the_first_line_of_its_region(tmp_path):
    text = f'{HEADER}\n\na.png,"two\nlines",1,2,3,4\n,,,,,\na.png,"three\n\nlines",1,2,3,4\n'
    assert [found.place for found in read(tmp_path, text)] == ["line 3", "line 6"]


ENTRY = {"image": "a.png", "name": "logo", "x": 1, "y": 2.5, "w": 3, "h": 4, "colour": "red"}


@pytest.mark.parametrize("name", ["regions.json", "regions.JSON", "regions.txt", "regions.csv"])
def test_a_json_list_is_read_by_suffix_or_content(tmp_path, name):
    assert read(tmp_path, f"\ufeff \n{json.dumps([ENTRY])}", name) == [
        Region("a.png", "logo", 1, 2.5, 3, 4, "entry 1")
    ]


def test_a_json_object_of_lists_is_read(tmp_path):
    entry = {key: value for key, value in ENTRY.items() if key != "image"}
    text = json.dumps({"a.png": [entry, entry | {"name": "face"}], "b.png": [], "c.png": [entry]})
    assert [(found.image, found.name, found.place) for found in read(tmp_path, text)] == [
        ("a.png", "logo", "entry 1 of 'a.png'"),
        ("a.png", "face", "entry 2 of 'a.png'"),
        ("c.png", "logo", "entry 1 of 'c.png'"),
    ]


@pytest.mark.parametrize("column", HEADER.split(","))
def test_a_csv_without_a_column_is_refused(tmp_path, column):
    header = ",".join(name for name in HEADER.split(",") if name != column)
    assert f"no column {column}." in refusal(tmp_path, f"{header}\n1,2,3,4,5\n")


def test_a_csv_separated_by_semicolons_is_refused_with_what_to_do(tmp_path):
    message = refusal(tmp_path, HEADER.replace(",", ";") + "\na.png;logo;1;2;3;4\n")
    assert "separated by commas" in message


def test_a_csv_with_a_column_twice_is_refused(tmp_path):
    message = refusal(tmp_path, f"{HEADER},X\na.png,logo,1,2,3,4,5\n")
    assert "more than one column x" in message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", f"{HEADER}\n"),
        ("a.csv", f"{HEADER}\n\n,,,,,\n"),
        ("a.json", "[]"),
        ("a.json", "{}"),
        ("a.json", '{"a.png": []}'),
    ],
)
def test_a_file_without_regions_is_refused(tmp_path, name, text):
    assert "holds no regions" in refusal(tmp_path, text, name)


def test_an_empty_file_is_refused(tmp_path):
    assert "no column image" in refusal(tmp_path, "")


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    text = f"{HEADER}\na.png,logo,1,2,3,4\na.png,Größe,1,2,3,4\n"
    assert "line 3: not UTF-8" in refusal(tmp_path, text.encode("latin-1"))


def test_a_quote_that_is_never_closed_is_refused_with_the_line_it_stands_in(tmp_path):
    text = f'{HEADER}\na.png,logo,1,2,3,4\na.png,"face,1,2,3,4\n' + "a.png,b,1,2,3,4\n" * 3
    assert "line 3: not readable as CSV" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        '[{"image": "a.png",}]',
        "[" * 100_000,
        '[{"x": 1, "x": 2}]',
        '{"a.png": [], "a.png": []}',
        '[{"x": 1' + "0" * 5000 + "}]",
    ],
)
def test_a_damaged_or_contradictory_json_file_is_refused(tmp_path, text):
    assert "not readable as JSON" in refusal(tmp_path, text, "regions.json")


def test_a_suffix_in_capitals_also_means_json(tmp_path):
    assert "not readable as JSON" in refusal(tmp_path, HEADER, "regions.JSON")


@pytest.mark.parametrize("value", [ENTRY, {"a.png": ENTRY}, 5, "logo", None])
def test_json_of_another_shape_is_refused(tmp_path, value):
    assert "list of objects" in refusal(tmp_path, json.dumps(value), "regions.json")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match=r"absent\.csv"):
        regions.read_regions(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (",logo,1,2,3,4", "image is missing"),
        ("a.png, ,1,2,3,4", "name is missing"),
        ("a.png,logo,,2,3,4", "x is missing"),
        ("a.png,logo,1,2,3", "h is missing"),
        ("a.png,logo,left,2,3,4", "x is 'left', which is no number"),
        ("a.png,logo,1,nan,3,4", "y is 'nan', which is no number"),
        ("a.png,logo,1,2,inf,4", "w is 'inf', which is no number"),
        ("a.png,logo,1,2,3,1e999", "h is '1e999', which is no number"),
        ('a.png,logo,"1,5",2,3,4', "x is '1,5', which is no number"),
        ("a.png,logo,1,2,0,4", "w is 0, but has to be at least 1 pixel"),
        ("a.png,logo,1,2,3,-4", "h is -4, but has to be at least 1 pixel"),
        ("a.png,logo,0.1,0.2,0.3,0.4", "w is 0.3, but has to be at least 1 pixel; h is 0.4, but"),
        ("a.png,logo,x,2,,4", "x is 'x', which is no number; w is missing"),
        ("a.png,Shop, now,1,2,3,4", "7 values for 6 columns"),
    ],
)
def test_a_line_that_breaks_a_rule_is_reported_with_its_number(tmp_path, line, problem):
    found = read(tmp_path, f"{HEADER}\na.png,good,1,2,3,4\n{line}\n")
    message = assign_refusal(found)
    assert "regions.csv: 1 region of 2 cannot be used" in message
    assert f"line 3: {problem}" in message


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"image": None}, "image is missing"),
        ({"name": 5}, "name is 5, which is no text"),
        ({"name": "\ud800"}, "name holds a broken character"),
        ({"x": None}, "x is missing"),
        ({"x": True}, "x is True, which is no number"),
        ({"y": [1]}, "y is [1], which is no number"),
        ({"y": math.nan}, "y is nan, which is no number"),
        ({"w": 10**400}, "w is 1000"),
        ({"w": 0}, "w is 0, but has to be at least 1 pixel"),
    ],
)
def test_a_json_entry_that_breaks_a_rule_is_reported_with_its_number(tmp_path, entry, problem):
    found = read(tmp_path, json.dumps([ENTRY, ENTRY | {"name": "face"} | entry]))
    assert f"entry 2: {problem}" in assign_refusal(found)


def test_a_json_entry_that_is_no_object_is_reported_with_its_number(tmp_path):
    found = read(tmp_path, json.dumps({"a.png": [ENTRY, "logo"]}))
    assert "entry 2 of 'a.png': no object" in assign_refusal(found)


def test_a_number_may_be_given_as_json_text(tmp_path):
    assert read(tmp_path, json.dumps([ENTRY | {"x": " 7 "}]))[0].x == 7


TREE = ("a.png", "sub/a.png", "sub/b.jpg", "sub/c.png", "sub/c.jpg", "other/d.v2.png", "d.v2.gif")


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("a.png", "a.png"),
        ("./a.png", "a.png"),
        ("sub/a.png", "sub/a.png"),
        ("sub\\a.png", "sub/a.png"),
        ("ads/sub/a.png", "sub/a.png"),
        ("ads\\a.png", "a.png"),
        ("b.jpg", "sub/b.jpg"),
        ("b", "sub/b.jpg"),
        ("c.jpg", "sub/c.jpg"),
        ("d.v2.png", "other/d.v2.png"),
    ],
)
def test_an_image_is_known_by_its_path_its_file_name_or_its_stem(name, image):
    assigned = assign([region(image=name)], TREE)
    assert assigned == {ROOT / image: [region(image=image)]}


@pytest.mark.parametrize("name", ["c", "d.v2"])
def test_a_stem_of_several_images_is_reported(name):
    message = assign_refusal([region(image=name)], TREE)
    assert f"line 2: the image {name!r} may be any of 2, such as" in message


def test_a_file_name_in_several_folders_is_reported():
    message = assign_refusal([region(image="a.png")], ("x/a.png", "y/a.png"))
    assert "may be any of 2, such as x/a.png and y/a.png; name it by such a path" in message


def test_a_file_name_comes_before_an_equal_stem():
    assert list(assign([region(image="a.png")], ("x/a.png", "y/a.png.jpg"))) == [ROOT / "x/a.png"]


def test_a_name_in_another_unicode_form_is_the_same_name():
    composed, decomposed = "Gr\u00f6\u00dfe.png", "Gro\u0308\u00dfe.png"
    assert list(assign([region(image=composed)], (decomposed,))) == [ROOT / decomposed]


@pytest.mark.parametrize(
    "name", ["b.png", "A.png", "sub/a.png", "a.png.png", ".", "/", "..", "a\0"]
)
def test_an_unknown_image_is_reported(name):
    assert f"line 2: there is no image {name!r}, only a.png" in assign_refusal([region(image=name)])


def test_an_unknown_image_among_many_is_reported():
    message = assign_refusal([region(image="z.png")], TREE)
    assert "line 2: there is no image 'z.png' among the 7 to predict" in message


def test_a_repeated_name_is_reported_with_the_line_that_has_it():
    found = [region(place="line 2"), region("face", place="line 3"), region(place="line 4")]
    message = assign_refusal(found)
    assert "1 region of 3" in message
    assert "line 4: the name 'logo' is repeated; line 2 has it already" in message


def test_a_name_is_repeated_also_where_the_image_is_named_in_another_way():
    found = [region(image="a.png", place="line 2"), region(image="a", place="line 3")]
    assert "line 3: the name 'logo' is repeated" in assign_refusal(found)


def test_names_in_two_unicode_forms_are_repeated(tmp_path):
    text = f"{HEADER}\na.png,Gr\u00f6\u00dfe,1,2,3,4\na.png,Gro\u0308\u00dfe,5,6,7,8\n"
    assert "line 3: the name 'Größe' is repeated" in assign_refusal(read(tmp_path, text))


def test_a_name_that_is_missing_is_not_called_repeated(tmp_path):
    found = read(tmp_path, f"{HEADER}\na.png,,1,2,3,4\na.png,,1,2,3,4\n")
    assert "repeated" not in assign_refusal(found)


def test_one_name_in_two_images_is_no_repetition():
    found = [region(image="a.png"), region(image="b.png", place="line 3")]
    assert len(assign(found, ("a.png", "b.png"))) == 2


@pytest.mark.parametrize(
    ("box", "how"),
    [
        ((-1, 0, 10, 10), "partly"),
        ((0, -0.5, 10, 10), "partly"),
        ((631, 0, 10, 10), "partly"),
        ((0, 471, 10, 10), "partly"),
        ((0, 0, 480, 640), "partly"),
        ((640, 0, 1, 1), "wholly"),
        ((0, 480, 1, 1), "wholly"),
        ((-10, 0, 10, 10), "wholly"),
        ((0, -10, 10, 10), "wholly"),
        ((1e308, 0, 1e308, 1), "wholly"),
    ],
)
def test_a_region_outside_of_its_image_is_reported(box, how):
    message = assign_refusal([region("logo", *box)])
    assert "line 2: the region 'logo'" in message
    assert f"{how} outside of a.png, which is 640 pixels wide and 480 high" in message


@pytest.mark.parametrize(
    "box", [(0, 0, 640, 480), (639, 479, 1, 1), (0.7, 0.1, 639.3, 479.9), (-1e-9, 0, 640, 480)]
)
def test_a_region_may_reach_to_the_border(box):
    assert assign([region("logo", *box)])


def test_sizes_are_those_of_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.jpg"
    Image.fromarray(PICTURE).save(path, exif=exif)
    upright = region("all", 0, 0, HEIGHT, WIDTH, image="a")

    def size_of(path):
        return images.read_stimulus(path).shape[:2]

    assert regions.assign([upright], "regions.csv", [path], tmp_path, size_of)
    with pytest.raises(UserError, match="partly outside"):
        regions.assign(
            [region("all", 0, 0, WIDTH, HEIGHT, image="a")], "r", [path], tmp_path, size_of
        )


def test_only_images_with_regions_are_looked_at_and_only_once():
    looked_at = []

    def size_of(path):
        looked_at.append(path.name)
        return 480, 640

    found = [region(image="b", place="line 2"), region("face", image="b.png", place="line 3")]
    regions.assign(found, "regions.csv", [ROOT / "a.png", ROOT / "b.png"], ROOT, size_of)
    assert looked_at == ["b.png"]


def test_an_image_that_cannot_be_read_is_left_for_the_prediction_to_report():
    def size_of(path):
        raise UserError(f"{path}: not a readable image.")

    assigned = regions.assign(
        [region("logo", 9999, 0, 1, 1)], "regions.csv", [ROOT / "a.png"], ROOT, size_of
    )
    assert len(assigned) == 1


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(tmp_path):
    text = f"""{HEADER}
a.png,logo,1,2,3,4
a.png,far,700,0,10,10
b.png,logo,1,2,3,4
a.png,logo,x,2,3,4
a.png,"Shop
now",1,2,0,4
"""
    message = assign_refusal(read(tmp_path, text))
    places = [line.strip().split(":")[0] for line in message.splitlines()[1:-1]]
    assert places == ["line 3", "line 4", "line 5", "line 6"]
    assert "line 5: x is 'x', which is no number; the name 'logo' is repeated" in message
    assert "4 regions of 5 cannot be used" in message
    assert "run the command again" in message


def test_regions_keep_the_order_of_the_file():
    found = [
        region(name, image=image, place=name) for name, image in zip("abcd", "xyxy", strict=True)
    ]
    assigned = assign(found, ("x.png", "y.png"))
    assert [item.name for item in assigned[ROOT / "x.png"]] == ["a", "c"]
    assert [item.name for item in assigned[ROOT / "y.png"]] == ["b", "d"]


def test_many_regions_of_many_images_are_read(tmp_path):
    lines = [f"{number % 5000}.png,region {number},1,2,3,4" for number in range(50_000)]
    names = [f"{number}.png" for number in range(5000)]
    assigned = assign(read(tmp_path, "\n".join([HEADER, *lines])), names)
    assert {len(found) for found in assigned.values()} == {10}


def test_a_region_has_its_share_of_attention_and_area_their_ratio_and_its_rank():
    saliency = np.zeros((10, 20), np.float32)
    saliency[2, 3], saliency[7, 15] = 0.75, 0.25
    left, right, nothing = regions.measure(
        saliency,
        [
            region("left", 0, 0, 10, 5),
            region("right", 15, 7, 1, 1),
            region("nothing", 0, 5, 10, 5),
        ],
    )
    assert (left.attention, left.area, left.ratio, left.rank) == (0.75, 0.25, 3, 1)
    assert (right.attention, right.area, right.ratio, right.rank) == (0.25, 1 / 200, 50, 2)
    assert (nothing.attention, nothing.area, nothing.ratio, nothing.rank) == (0, 0.25, 0, 3)


def test_a_pixel_that_an_edge_cuts_counts_by_its_share():
    saliency = np.array([[1.0, 2.0, 4.0], [0.0, 0.0, 8.0]])
    (measured,) = regions.measure(saliency, [region("cut", 0.25, 0, 2.25, 1.5)])
    assert measured.attention * 15 == pytest.approx(0.75 * 1 + 2 + 0.5 * 4 + 0.5 * 0.5 * 8)
    assert measured.area == pytest.approx(2.25 * 1.5 / 6)


def test_overlapping_regions_are_each_measured_on_their_own():
    saliency = np.arange(1, 13.0).reshape(3, 4)
    boxes = [(0, 0, 4, 3), (0, 0, 4, 3), (1, 1, 2, 2)]
    together = regions.measure(saliency, [region(str(i), *box) for i, box in enumerate(boxes)])
    assert [item.attention for item in together] == [1, 1, (6 + 7 + 10 + 11) / 78]
    assert [item.rank for item in together] == [1, 1, 3]


def test_equal_shapes_of_equal_values_have_equal_ranks_whatever_rounding_does():
    saliency = np.full((30, 50), 0.1)
    boxes = [(0, 0, 7, 3), (11, 5, 3, 7), (40, 20, 1, 21 / 2), (20.5, 3.25, 7, 3), (0, 0, 1, 1)]
    measured = regions.measure(saliency, [region(str(i), *box) for i, box in enumerate(boxes)])
    assert len({item.attention for item in measured[:2]}) == 2
    assert [item.rank for item in measured] == [1, 1, 4, 1, 5]


@pytest.mark.parametrize("value", [0, 1e-30, 0.5, 1, 255])
def test_a_constant_map_gives_every_region_its_share_of_the_area(value):
    saliency = np.full((48, 64), value, np.float32)
    measured = regions.measure(saliency, [region("a", 0, 0, 64, 48), region("b", 3.5, 7, 10, 1.25)])
    for item in measured:
        assert item.attention == pytest.approx(item.area, rel=1e-9)
        assert item.ratio == pytest.approx(1, rel=1e-9)


def test_the_whole_image_has_all_of_the_attention():
    # With these values the sum of the region is rounded to more than that of the map.
    saliency = np.random.default_rng(3).random((480, 640)).astype(np.float32)
    exactly, nearly = regions.measure(
        saliency, [region("all", 0, 0, 640, 480), region("rounded", -1e-9, 0, 640, 480 + 1e-9)]
    )
    assert exactly.attention == pytest.approx(1, abs=1e-12)
    assert nearly.attention == pytest.approx(1, abs=1e-9)
    assert max(exactly.attention, nearly.attention) <= 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1])
def test_a_map_of_other_than_finite_positive_values_is_refused(value):
    saliency = np.ones((4, 5))
    saliency[1, 2] = value
    with pytest.raises(ValueError, match="map holds"):
        regions.measure(saliency, [region()])


def test_no_regions_have_no_measurements():
    assert regions.measure(np.ones((4, 5)), []) == []


maps = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=40),
    elements=st.floats(0, 1, width=32),
)


@st.composite
def cuts(draw, length: int) -> list[float]:
    """Return where an axis is cut into intervals of at least one pixel."""
    steps = draw(st.lists(st.floats(1, length), max_size=4))
    inner = itertools.takewhile(lambda end: end <= length - 1, itertools.accumulate(steps))
    return [0.0, *inner, float(length)]


@st.composite
def partitions(draw) -> tuple[np.ndarray, list[Region]]:
    """Return a map and regions that together are its whole area, each place in one of them."""
    saliency = draw(maps)
    ys, xs = (draw(cuts(length)) for length in saliency.shape)
    return saliency, [
        region(f"{x} {y}", x, y, right - x, bottom - y)
        for (y, bottom), (x, right) in itertools.product(
            itertools.pairwise(ys), itertools.pairwise(xs)
        )
    ]


@given(partitions())
def test_the_parts_of_an_image_share_all_of_its_attention_and_area(partition):
    measured = regions.measure(*partition)
    assert math.fsum(item.attention for item in measured) == pytest.approx(1, abs=1e-9)
    assert math.fsum(item.area for item in measured) == pytest.approx(1, abs=1e-9)


@given(partitions())
def test_ranks_follow_the_shares(partition):
    measured = regions.measure(*partition)
    for one, other in itertools.combinations(measured, 2):
        if one.rank < other.rank:
            assert one.attention > other.attention
        if one.attention > other.attention + 1e-11:
            assert one.rank < other.rank
    # Every region comes after all those that have a better rank.
    ranks = sorted(item.rank for item in measured)
    assert all(sum(other < rank for other in ranks) == rank - 1 for rank in ranks)


@given(partitions(), st.floats(1e-3, 1e3))
def test_the_scale_of_a_map_does_not_matter(partition, scale):
    saliency, found = partition
    once = regions.measure(saliency.astype(np.float64), found)
    scaled = regions.measure(saliency.astype(np.float64) * scale, found)
    for one, other in zip(once, scaled, strict=True):
        assert one.attention == pytest.approx(other.attention, abs=1e-9)


def measured_on(size, boxes, names=None) -> list[regions.Measured]:
    """Return measurements of regions on a map with its peak in the middle."""
    height, width = size
    ys, xs = np.mgrid[:height, :width]
    saliency = np.exp(-(((xs / width - 0.5) ** 2 + (ys / height - 0.5) ** 2) / 0.05))
    names = names or [f"region {number}" for number in range(len(boxes))]
    return regions.measure(
        saliency, [region(*item) for item in zip(names, *zip(*boxes, strict=True), strict=True)]
    )


def test_rows_are_in_the_order_of_ranks_with_whole_numbers_where_they_are_whole():
    measured = measured_on((48, 64), [(0, 0, 8, 8), (24, 16, 16, 16.5)])
    rows = regions.to_rows(measured)
    assert [tuple(row) for row in rows] == [regions.COLUMNS] * 2
    assert [row["name"] for row in rows] == ["region 1", "region 0"]
    assert [row["rank"] for row in rows] == [1, 2]
    assert [str(rows[0][key]) for key in "xywh"] == ["24", "16", "16", "16.5"]
    assert rows[0]["image"] == "a.png"
    assert rows[0]["ratio"] == rows[0]["attention"] / rows[0]["area"]


def test_the_written_csv_holds_the_rows_and_can_be_read_as_regions(tmp_path):
    boxes = [(number, number / 4, number + 1, 2) for number in range(len(NAMES))]
    rows = regions.to_rows(measured_on((48, 64), boxes, NAMES))
    path = tmp_path / "results" / "regions.csv"
    regions.write_csv(path, rows)
    with path.open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    for row, line in zip(rows, written, strict=True):
        assert tuple(line) == regions.COLUMNS
        for key in ("image", "name", "rank", "x", "y", "w", "h"):
            assert line[key] == str(row[key])
        for key in ("attention", "area", "ratio"):
            assert float(line[key]) == pytest.approx(row[key], rel=1e-5)
    again = regions.read_regions(path)
    assert [(item.name, item.x, item.problem) for item in again] == [
        (row["name"], row["x"], "") for row in rows
    ]


def test_an_interrupted_write_leaves_the_old_csv(tmp_path):
    path = tmp_path / "regions.csv"
    rows = regions.to_rows(measured_on((48, 64), [(0, 0, 8, 8)]))
    regions.write_csv(path, rows)
    old = path.read_bytes()

    def interrupted():
        yield rows[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        regions.write_csv(path, interrupted())
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def row(name="logo", image="a.png", attention=0.25, area=0.1, rank=1):
    values = (image, name, 1, 2, 3, 4, attention, area, attention / area, rank)
    return dict(zip(regions.COLUMNS, values, strict=True))


def test_the_table_is_aligned():
    text = regions.table([row(), row("a longer name", attention=1.0, area=1.0, rank=12)])
    assert text.splitlines()[:3] == [
        "image  region         attention    area  ratio  rank",
        "a.png  logo               25.0%   10.0%   2.50     1",
        "a.png  a longer name     100.0%  100.0%   1.00    12",
    ]


def test_the_table_is_aligned_where_letters_are_wide_or_have_no_width():
    lines = regions.table([row("ロゴ"), row("logo"), row("lo\u0302go\u0308")]).splitlines()
    assert lines[1].index("25.0%") + 2 == lines[2].index("25.0%") == lines[3].index("25.0%") - 2


def test_a_small_share_is_not_shown_as_none():
    lines = regions.table([row(attention=1e-5), row(attention=0.0)]).splitlines()
    assert "<0.1%" in lines[1]
    assert " 0.0%" in lines[2]


def test_a_name_cannot_break_the_table_or_steer_the_terminal():
    text = regions.table([row("two\nlines\t\x1b[31mred", image="a\r.png")])
    assert text.count("\n") == 2
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "two lines" in text


@pytest.fixture
def labels(monkeypatch) -> list:
    """Return the labels that `draw` draws, as it draws them."""
    drawn = []
    draw_label = regions._draw_label

    def record(pen, label, font):
        drawn.append(label)
        draw_label(pen, label, font)

    monkeypatch.setattr(regions, "_draw_label", record)
    return drawn


def overlap(one, other) -> bool:
    return min(one[2], other[2]) > max(one[0], other[0]) and min(one[3], other[3]) > max(
        one[1], other[1]
    )


def blank(size, value=0) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def test_drawing_changes_a_copy_of_the_same_size():
    before = PICTURE.copy()
    drawn = regions.draw(PICTURE, measured_on((HEIGHT, WIDTH), [(10, 20, 50, 40)]))
    assert drawn.shape == PICTURE.shape
    assert drawn.dtype == np.uint8
    assert (drawn != PICTURE).any()
    np.testing.assert_array_equal(PICTURE, before)


def test_drawing_no_regions_changes_nothing():
    np.testing.assert_array_equal(regions.draw(PICTURE, []), PICTURE)


@pytest.mark.parametrize("value", [0, 127, 255])
def test_a_box_is_drawn_around_its_region_and_stands_out_on_any_background(value):
    size = (480, 640)
    drawn = regions.draw(blank(size, value), measured_on(size, [(300, 200, 80, 60)]))
    assert (drawn[205:255, 305:375] == value).all()
    across = drawn[230, 290:301].astype(int)
    assert np.ptp(across.sum(axis=1)) > 255


def test_a_small_box_is_drawn_over_a_large_one_that_crosses_it():
    size = (480, 640)
    small, large = (290, 150, 20, 20), (300, 100, 200, 200)
    alone = regions.draw(blank(size), measured_on(size, [small]))
    both = regions.draw(blank(size), measured_on(size, [small, large]))
    line = (slice(148, 150), slice(288, 312))
    assert alone[line].any()
    np.testing.assert_array_equal(both[line], alone[line])


def test_a_line_along_the_border_is_inside_of_the_picture():
    size = (480, 640)
    drawn = regions.draw(blank(size), measured_on(size, [(0, 0, 640, 480)]))
    for edge in (drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]):
        # A label's black rim may be in the way.
        assert (edge.max(axis=-1) > 200).mean() > 0.75


def test_a_label_tells_the_name_and_the_share(labels):
    regions.draw(blank((480, 640)), measured_on((480, 640), [(0, 0, 640, 480)], ["Größe"]))
    assert [label.text for label in labels] == ["Größe 100.0%"]


AD = [(20, 20, 90, 60), (250, 150, 220, 250), (500, 380, 130, 95), (0, 0, 640, 480)]


@pytest.mark.parametrize("scale", [0.5, 1, 4])
def test_labels_are_inside_the_picture_and_beside_each_other(labels, scale):
    size = (round(480 * scale), round(640 * scale))
    boxes = [tuple(edge * scale for edge in box) for box in AD]
    regions.draw(blank(size), measured_on(size, boxes))
    assert len(labels) == len(AD)
    assert all(label.text.startswith(label.mark.item.region.name) for label in labels)
    assert not any(overlap(one.box, other.box) for one, other in itertools.combinations(labels, 2))


def test_a_label_does_not_hide_a_region_where_there_is_room(labels):
    boxes = [(100, 100, 200, 150), (110, 70, 40, 28), (320, 100, 30, 30), (100, 252, 90, 25)]
    measured = measured_on((480, 640), boxes)
    regions.draw(blank((480, 640)), measured)
    frames = [(x, y, x + width, y + height) for x, y, width, height in boxes[1:]]
    assert not any(overlap(label.box, frame) for label in labels for frame in frames)


def test_letters_and_lines_grow_with_the_picture(labels):
    for scale in (1, 5):
        size = (480 * scale, 640 * scale)
        regions.draw(blank(size), measured_on(size, [(0, 0, 64 * scale, 48 * scale)]))
    small, large = (label.box[3] - label.box[1] for label in labels)
    assert 4 * small < large < 6 * small


@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    shares=st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=12),
)
def test_any_regions_of_any_picture_have_labels_inside_of_it_and_off_each_other(
    height, width, shares
):
    boxes = []
    for left, top, right, bottom in shares:
        x, y = left * (width - 1), top * (height - 1)
        boxes.append((x, y, 1 + right * (width - 1 - x), 1 + bottom * (height - 1 - y)))
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regions, "_draw_label", lambda pen, label, font: drawn.append(label.box))
        picture = regions.draw(blank((height, width)), measured_on((height, width), boxes))
    assert picture.shape == (height, width, 3)
    for left, top, right, bottom in drawn:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    assert not any(overlap(one, other) for one, other in itertools.combinations(drawn, 2))


def test_the_text_of_a_label_is_inside_of_it(labels):
    names = ["Äg|jpqy", "W" * 100, "logo"]
    regions.draw(blank((480, 640)), measured_on((480, 640), AD[:3], names))
    for label in labels:
        font = ImageFont.truetype(regions._FONT, max(10, round(math.sqrt(480 * 640) / 42)))
        left, top, right, bottom = font.getbbox(label.text)
        assert right - left < label.box[2] - label.box[0]
        assert bottom - top < label.box[3] - label.box[1]


def test_a_long_name_is_shortened_to_leave_room_for_the_share(labels):
    regions.draw(blank((480, 640)), measured_on((480, 640), [(0, 0, 640, 480)], ["word " * 9999]))
    (label,) = labels
    assert label.text.startswith("word word")
    assert label.text.endswith("… 100.0%")
    assert 580 < label.box[2] - label.box[0] <= 640


def test_a_name_that_the_font_cannot_write_is_replaced_by_its_rank(labels):
    measured = measured_on((480, 640), [(300, 220, 40, 40), (0, 0, 40, 40)], ["ロゴ", "Логотип"])
    regions.draw(blank((480, 640)), measured)
    assert labels[0].text.startswith("#1 ")
    assert labels[1].text.startswith("Логотип ")


@pytest.mark.parametrize("name", ["logo {}", "a name too long for so small a picture {}"])
def test_where_room_runs_out_the_first_ranks_have_labels_and_some_tell_only_the_share(labels, name):
    boxes = [(x, y, 8, 8) for x in range(0, 200, 10) for y in range(0, 90, 10)]
    names = [name.format(number) for number in range(len(boxes))]
    regions.draw(blank((90, 200)), measured_on((90, 200), boxes, names))
    ranks = [label.mark.item.rank for label in labels]
    assert 0 < len(ranks) < len(boxes)
    assert ranks[0] == 1
    assert any(label.text.startswith(name[:3]) for label in labels)
    assert any(label.text[0].isdigit() for label in labels)
    assert not any(overlap(one.box, other.box) for one, other in itertools.combinations(labels, 2))


def test_a_label_away_from_its_box_has_a_line_to_it(labels):
    size = (480, 640)
    boxes = [(300 + 6 * column, 200 + 6 * row, 5, 5) for column in range(4) for row in range(4)]
    drawn = regions.draw(blank(size), measured_on(size, boxes))
    assert len(labels) == len(boxes)

    def distance(label) -> float:
        left, top, right, bottom = label.mark.frame
        return math.hypot(
            max(label.box[0] - right, left - label.box[2], 0),
            max(label.box[1] - bottom, top - label.box[3], 0),
        )

    farthest = max(labels, key=distance)
    assert distance(farthest) > 10
    covered = np.zeros(size, bool)
    for label in labels:
        for left, top, right, bottom in (label.box, label.mark.frame):
            covered[max(top - 3, 0) : bottom + 3, max(left - 3, 0) : right + 3] = True
    assert drawn[~covered].any()


def test_drawn_pictures_can_be_written(tmp_path):
    drawn = regions.draw(PICTURE, measured_on((HEIGHT, WIDTH), [(1, 1, 30, 30)]))
    images.write_jpeg(tmp_path / "a.jpg", drawn)
    assert Image.open(io.BytesIO((tmp_path / "a.jpg").read_bytes())).size == (WIDTH, HEIGHT)
