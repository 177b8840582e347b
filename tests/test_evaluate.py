import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import encoded, write_files
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import data
import evaluate
import images
import metrics
from evaluate import CEILING, CENTRE_BIAS, MODEL, UNIFORM, Gaze, Measured
from utils import UserError

SIZE = (60, 80)
NAMES = [f"{letter}.png" for letter in "abcdefghij"]
SIGMA = 5.0

# x, y, viewer
Fixation = tuple[float, float, int]


def own_set(folder: Path, gaze: dict[str, list[Fixation]], sizes=None) -> data.Dataset:
    """Prepare a set with single fixations per image."""
    files = {
        f"stimuli/{name}": encoded(
            np.full((*(sizes or {}).get(name, SIZE), 3), number, dtype=np.uint8)
        )
        for number, name in enumerate(gaze)
    }
    lines = [f"{name},{x},{y},{who}\n" for name, rows in gaze.items() for x, y, who in rows]
    files["fixations.csv"] = "".join(["image,x,y,viewer\n", *lines]).encode()
    write_files(folder / "own", files)
    return data.open_dataset("own", folder)


def random_gaze(seed=0, viewers=4, each=3, size=SIZE) -> dict[str, list[Fixation]]:
    """Four viewers with three fixations each on every image, most of them near its centre."""
    random = np.random.default_rng(seed)
    height, width = size
    return {
        name: [
            (*np.clip(random.normal(0.5, 0.2, 2), 0, 0.99) * (width, height), who)
            for who in range(1, viewers + 1)
            for _ in range(each)
        ]
        for name in NAMES
    }


def smooth_set(folder: Path) -> data.Dataset:
    """Prepare a set of smooth maps; each image's bright spot is elsewhere."""
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]]
    files = {}
    for number, name in enumerate(NAMES):
        spot = np.exp(-((ys - 30) ** 2 + (xs - 5 - 7 * number) ** 2) / 200)
        files[f"stimuli/{name}"] = encoded(np.full((*SIZE, 3), number, dtype=np.uint8))
        files[f"saliency/{name}"] = encoded(np.rint(255 * spot).astype(np.uint8))
    write_files(folder / "own", files)
    return data.open_dataset("own", folder)


def held_out_names(dataset: data.Dataset) -> list[str]:
    return [path.name for path in dataset.load_data()[1].stimuli]


def evaluated(dataset: data.Dataset, predict=None):
    """Evaluate a model on the held-out images; by default one that predicts a slope."""
    held_out = evaluate.load(dataset, dataset.load_data()[1])
    slope = np.linspace(0, 1, SIZE[0] * SIZE[1]).reshape(SIZE)
    predict = predict or (lambda name: slope)
    measured = [
        held_out.measure(index, predict(path.name))
        for index, path in enumerate(held_out.split.stimuli)
    ]
    return held_out, measured


def written(folder: Path, held_out, measured) -> Path:
    weights = folder / "some.weights.h5"
    folder.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(b"weights")
    summary = evaluate.summary(held_out, measured, weights, (64, 64))
    evaluate.write(folder, summary, measured)
    return folder / "summary.json"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> data.Dataset:
    return own_set(tmp_path_factory.mktemp("points"), random_gaze())


@pytest.fixture(scope="module")
def evaluation(dataset):
    return evaluated(dataset)


@pytest.fixture(scope="module")
def smooth(tmp_path_factory):
    return evaluated(smooth_set(tmp_path_factory.mktemp("smooth")))


# Where people looked


def test_fixations_known_singly_count_as_often_as_they_happened(tmp_path):
    gaze = {name: [(10, 20, 1), (10, 20, 2), (30.7, 40.2, 1)] for name in NAMES}
    held_out, measured = evaluated(own_set(tmp_path, gaze))
    ys, xs = held_out.gaze[0].fixated
    assert (ys.tolist(), xs.tolist()) == ([20, 20, 40], [10, 10, 30])
    assert measured[0].fixations == 3


def test_fixations_are_read_from_maps_of_points_where_no_table_is(tmp_path, pairs):
    write_files(tmp_path / "own", pairs)
    dataset = data.open_dataset("own", tmp_path)
    split = dataset.load_data()[1]
    held_out = evaluate.load(dataset, split)
    for path, gaze in zip(split.stimuli, held_out.gaze, strict=True):
        points = images.read_map(tmp_path / "own" / "fixation" / f"{path.stem}.png") > 0
        assert gaze.size == points.shape
        assert np.array_equal(gaze.fixated, np.nonzero(points))
        assert np.isnan(gaze.viewers).all()


def test_a_table_may_name_images_without_their_suffix(tmp_path):
    gaze = random_gaze()
    own_set(tmp_path / "full", gaze)
    table = (tmp_path / "full" / "own" / "fixations.csv").read_text()
    files = {
        path.relative_to(tmp_path / "full").as_posix(): path.read_bytes()
        for path in (tmp_path / "full" / "own" / "stimuli").iterdir()
    }
    files["own/fixations.csv"] = table.replace(".png,", ",").encode()
    write_files(tmp_path / "bare", files)
    both = [evaluated(data.open_dataset("own", tmp_path / name))[1] for name in ("full", "bare")]
    assert both[0] == both[1]


def test_the_csv_of_a_nested_set_is_joined_by_folder_and_name(tmp_path, dataset):
    root = tmp_path / "own"
    stimuli = [root / "stimuli" / folder / "1.png" for folder in ("one", "two")]
    write_files(
        root,
        {
            "stimuli/one/1.png": b"",
            "stimuli/two/1.png": b"",
            "fixations.csv": b"image,x,y\none/1.png,3,4\ntwo/1.png,5,6\n",
        },
    )
    nested = own_copy(dataset, root)
    gaze = evaluate.read_gaze(nested, stimuli)
    assert [image.fixated[1].tolist() for image in gaze] == [[3], [5]]
    (root / "fixations.csv").write_text("image,x,y\none/1.png,3,4\n")
    with pytest.raises(UserError, match=r"fixations\.csv: no fixation inside the image two/1\.png"):
        evaluate.read_gaze(nested, stimuli)


def own_copy(dataset: data.Dataset, path: Path) -> data.Dataset:
    """Return a dataset with the same record elsewhere."""
    copy = object.__new__(data.OwnSet)
    copy.name, copy.path, copy.record = dataset.name, path, dataset.record
    return copy


def test_fixations_outside_of_the_image_are_left_out(tmp_path):
    gaze = {name: [(10, 20, 1), (500, 20, 1), (12, 21, 2)] for name in NAMES}
    _, measured = evaluated(own_set(tmp_path, gaze))
    assert {image.fixations for image in measured} == {2}


def test_a_missing_fixation_map_is_one_sentence(tmp_path, pairs):
    write_files(tmp_path / "own", pairs)
    dataset = data.open_dataset("own", tmp_path)
    split = dataset.load_data()[1]
    lost = tmp_path / "own" / "fixations" / f"{split.stimuli[0].stem}.png"
    lost.unlink()
    with pytest.raises(UserError, match=f"fixations: no map of {split.stimuli[0].name}"):
        evaluate.load(dataset, split)


def test_a_damaged_table_is_named_with_its_line(tmp_path):
    dataset = own_set(tmp_path, random_gaze())
    with (tmp_path / "own" / "fixations.csv").open("a") as file:
        file.write("a.png,here,there,1\n")
    with pytest.raises(UserError, match=r"fixations\.csv, line 122: "):
        evaluate.load(dataset, dataset.load_data()[1])


# The centre bias


def test_the_centre_bias_comes_from_the_training_images_only(tmp_path):
    gaze = random_gaze()
    held_out = held_out_names(own_set(tmp_path / "before", gaze))
    elsewhere = {name: [(1, 1, 1), (2, 2, 2)] for name in held_out}
    biases = []
    for folder, changed in (
        ("first", gaze),
        ("held out elsewhere", gaze | elsewhere),
        (
            "training elsewhere",
            {name: elsewhere.get(name, [(1, 1, 1), (2, 2, 2)]) for name in gaze},
        ),
    ):
        dataset = own_set(tmp_path / folder, changed)
        biases.append(evaluate.load(dataset, dataset.load_data()[1]).centre_bias)
    assert np.array_equal(biases[0], biases[1])
    assert not np.allclose(biases[0], biases[2])


def test_the_centre_bias_lies_where_people_looked_in_relative_terms():
    random = np.random.default_rng(0)
    gaze = []
    for size in [(40, 200), (300, 100)] * 10:
        places = np.clip(random.normal((0.25, 0.75), 0.02, (30, 2)), 0, 0.99) * size
        gaze.append(Gaze(tuple(places.astype(int).T), size, np.full(30, np.nan)))
    bias = evaluate.centre_bias(gaze)
    top = np.unravel_index(bias.argmax(), bias.shape)
    assert np.divide(top, bias.shape) == pytest.approx((0.25, 0.75), abs=0.05)


@settings(max_examples=20)
@given(st.lists(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 11)), min_size=1), min_size=1))
def test_the_centre_bias_is_a_density_that_excludes_no_place(images_of_positions):
    gaze = [
        Gaze(tuple(np.array(positions).T), (9, 12), np.full(len(positions), np.nan))
        for positions in images_of_positions
    ]
    bias = evaluate.centre_bias(gaze)
    assert bias.min() > 0
    assert bias.sum() == pytest.approx(1)
    stretched = evaluate.stretched(bias, (31, 17))
    assert stretched.shape == (31, 17)
    assert stretched.min() > 0
    assert stretched.sum() == pytest.approx(1)


def test_the_centre_bias_of_people_who_look_anywhere_is_nearly_flat():
    random = np.random.default_rng(1)
    gaze = [
        Gaze(tuple(random.integers(0, 100, (2, 200))), (100, 100), np.full(200, np.nan))
        for _ in range(50)
    ]
    bias = evaluate.centre_bias(gaze)
    assert bias.max() / bias.min() < 1.5


def test_the_centre_bias_of_smooth_maps_is_their_mean_over_the_training_images(tmp_path):
    dataset = smooth_set(tmp_path)
    train, valid = dataset.load_data()
    held_out = evaluate.load(dataset, valid)
    shrunk = [images.resize(images.read_map(path), (128, 128)) for path in train.maps]
    expected = np.mean([saliency / saliency.sum() for saliency in shrunk], axis=0)
    assert held_out.centre_bias == pytest.approx(expected, rel=1e-4)


# Scores


def test_a_prediction_is_measured_as_the_metrics_define_it(dataset, evaluation):
    held_out, measured = evaluation
    split = dataset.load_data()[1]
    sizes = [SIZE] * len(split.stimuli)
    fixated = [gaze.fixated for gaze in held_out.gaze]
    slope = np.linspace(0, 1, SIZE[0] * SIZE[1]).reshape(SIZE)
    bias = evaluate.stretched(held_out.centre_bias, SIZE)
    for index, path in enumerate(split.maps):
        others = metrics.nonfixations(index, fixated, sizes)
        expected = metrics.scores(slope, images.read_map(path), fixated[index], others, bias)
        assert measured[index].scores[MODEL] == expected
        assert measured[index].name == split.stimuli[index].name
        assert measured[index].size == SIZE


def test_shuffled_auc_takes_the_others_fixations_at_this_images_size_and_never_its_own(tmp_path):
    sizes = dict(zip(NAMES, [(60, 80), (50, 30), (44, 101)] * 4, strict=False))
    gaze = {
        name: [
            (x * width, y * height, who)
            for x, y, who in np.random.default_rng(number).random((8, 3)) * (1, 1, 0)
        ]
        for number, name in enumerate(NAMES)
        for height, width in [sizes[name]]
    }
    dataset = own_set(tmp_path, gaze, sizes)
    held_out = evaluate.load(dataset, dataset.load_data()[1])
    fixated = [image.fixated for image in held_out.gaze]
    own_sizes = [image.size for image in held_out.gaze]
    for index, size in enumerate(own_sizes):
        saliency = np.random.default_rng(index).random(size)
        others = metrics.nonfixations(index, fixated, own_sizes)
        measured = held_out.measure(index, saliency).scores[MODEL]
        assert measured.sAUC == metrics.sauc(saliency, fixated[index], others)


def test_shuffled_auc_draws_from_very_many_fixations_but_never_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "_MOST_OTHERS", 10)
    gaze = random_gaze()
    names = held_out_names(own_set(tmp_path / "before", gaze))
    gaze |= {name: [(70, 5, 1)] * 40 for name in names} | {names[0]: [(5, 5, 1)] * 40}
    dataset = own_set(tmp_path / "after", gaze)
    held_out = evaluate.load(dataset, dataset.load_data()[1])
    saliency = np.zeros(SIZE)
    saliency[5, 5] = 1
    assert held_out.measure(0, saliency).scores[MODEL].sAUC == 1


def test_a_uniform_map_is_measured_as_chance(evaluation):
    for image in evaluation[1]:
        uniform = image.scores[UNIFORM]
        assert (uniform.AUC, uniform.sAUC, uniform.NSS, uniform.CC) == (0.5, 0.5, 0, 0)


def test_the_centre_bias_has_no_information_gain_over_itself(evaluation):
    assert {image.scores[CENTRE_BIAS].IG for image in evaluation[1]} == {0}


def test_a_map_of_another_size_has_its_points_moved(tmp_path, pairs):
    write_files(tmp_path / "own", pairs)
    dataset = data.open_dataset("own", tmp_path)
    held_out = evaluate.load(dataset, dataset.load_data()[1])
    height, width = held_out.gaze[0].size
    measured = held_out.measure(0, np.random.default_rng(0).random((2 * height, 2 * width)))
    assert measured.fixations == len(held_out.gaze[0].fixated[0])
    assert 0 < measured.scores[MODEL].AUC < 1


# The human ceiling


def test_viewers_who_look_alike_predict_each_other(tmp_path):
    gaze = {
        name: [(x, y, who) for x, y, _ in rows for who in (1, 2)]
        for name, rows in random_gaze().items()
    }
    for image in evaluated(own_set(tmp_path, gaze))[1]:
        ceiling = dataclasses.asdict(image.scores[CEILING])
        assert ceiling["CC"] == pytest.approx(1, abs=0.01)
        assert ceiling["KLD"] == pytest.approx(0, abs=0.05)


def test_viewers_who_look_elsewhere_do_not(tmp_path):
    gaze = {name: [(5, 5, 1), (6, 6, 1), (70, 50, 2), (71, 51, 2)] for name in NAMES}
    for image in evaluated(own_set(tmp_path, gaze))[1]:
        assert image.scores[CEILING].CC < 0.1


def test_the_ceiling_of_an_image_does_not_depend_on_what_else_is_measured(dataset, evaluation):
    split = dataset.load_data()[1]
    last = data.Split(split.stimuli[-1:], split.maps[-1:])
    alone = evaluate.load(dataset, last).measure(0, np.ones(SIZE)).scores[CEILING]
    together = evaluation[1][-1].scores[CEILING]
    assert alone == dataclasses.replace(together, sAUC=None)


def test_an_image_of_one_viewer_has_no_ceiling_and_the_table_says_so(tmp_path):
    gaze = random_gaze()
    names = held_out_names(own_set(tmp_path / "before", gaze))
    gaze[names[0]] = [(5, 5, 1), (9, 9, 1)]
    held_out, measured = evaluated(own_set(tmp_path / "after", gaze))
    assert [CEILING in image.scores for image in measured] == [False, True]
    assert "human ceiling on 1 of 2 images" in held_out.left_out(measured)


def test_points_without_viewers_have_no_ceiling_and_the_table_says_so(tmp_path, pairs):
    write_files(tmp_path / "own", pairs)
    dataset = data.open_dataset("own", tmp_path)
    held_out = evaluate.load(dataset, dataset.load_data()[1])
    measured = [held_out.measure(0, np.ones(held_out.gaze[0].size))]
    assert set(measured[0].scores) == {MODEL, CENTRE_BIAS, UNIFORM}
    assert held_out.left_out(measured) == {CEILING: "no two viewers' fixations are known apart"}


def test_the_ceiling_of_a_very_large_set_is_measured_on_some_images(dataset, monkeypatch):
    monkeypatch.setattr(evaluate, "_MOST_CEILINGS", 1)
    held_out, measured = evaluated(dataset)
    assert sum(CEILING in image.scores for image in measured) == 1
    assert "human ceiling on 1 of 2 images" in held_out.left_out(measured)


# Where only smooth maps are known


def test_smooth_maps_leave_out_what_needs_points_and_say_why(smooth):
    held_out, measured = smooth
    assert {tuple(image.scores) for image in measured} == {(MODEL, CENTRE_BIAS, UNIFORM)}
    scores = dataclasses.asdict(measured[0].scores[MODEL])
    assert [name for name, value in scores.items() if value is None] == list(evaluate.POINT_METRICS)
    assert measured[0].fixations is None
    assert set(held_out.left_out(measured)) == {*evaluate.POINT_METRICS, CEILING}


def test_the_table_of_smooth_maps_has_their_columns_and_the_reason(smooth, tmp_path):
    summary = json.loads(written(tmp_path, *smooth).read_text())
    text = evaluate.table(summary)
    assert text.splitlines()[0].split() == ["CC", "SIM", "KLD"]
    assert (
        "Left out: AUC, sAUC, NSS, IG, human ceiling: only smooth maps of own are known, no "
        "fixation points." in text
    )
    header = (tmp_path / "per_image.csv").read_text().splitlines()[0].split(",")
    assert header[4:] == [
        *("CC", "SIM", "KLD"),
        *("CC_centre_bias", "SIM_centre_bias", "KLD_centre_bias"),
    ]


def test_a_single_held_out_image_has_no_shuffled_auc(tmp_path):
    gaze = dict(list(random_gaze().items())[:2])
    held_out, measured = evaluated(own_set(tmp_path, gaze))
    assert measured[0].scores[MODEL].sAUC is None
    assert "sAUC" in held_out.left_out(measured)


# Intervals


some_values = arrays(np.float64, st.integers(1, 60), elements=st.floats(-100, 100))


@given(some_values)
def test_an_interval_holds_its_mean_and_is_the_same_each_time(values):
    interval = evaluate.bootstrap(values)
    slack = 1e-9 + 1e-9 * abs(interval.mean)
    assert values.min() - slack <= interval.low <= interval.mean + slack
    assert interval.mean - slack <= interval.high <= values.max() + slack
    assert evaluate.bootstrap(values) == interval


@given(some_values, st.integers(1, 10))
def test_an_interval_passes_over_what_is_not_known(values, gaps):
    with_gaps = np.insert(values, 0, [np.nan] * gaps)
    assert evaluate.bootstrap(with_gaps) == evaluate.bootstrap(values)
    assert evaluate.bootstrap(with_gaps).count == len(values)


def test_an_interval_is_as_wide_as_the_normal_distribution_says():
    values = np.random.default_rng(0).normal(5, 2, 400)
    interval = evaluate.bootstrap(values)
    error = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - error, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + error, abs=0.03)


def test_an_interval_of_nothing_is_not_a_number():
    interval = evaluate.bootstrap(np.array([np.nan]))
    assert np.isnan([interval.mean, interval.low, interval.high]).all()
    assert interval.count == 0


# What is written


def test_the_summary_holds_all_that_it_takes_to_repeat_the_evaluation(evaluation, tmp_path):
    path = written(tmp_path, *evaluation)
    summary = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert list(summary) == [
        *("dataset", "images", "metrics", "left_out", "weights", "data", "input_size", "date"),
        "versions",
    ]
    assert (summary["dataset"], summary["images"], summary["left_out"]) == ("own", 2, {})
    assert list(summary["metrics"]) == [MODEL, CENTRE_BIAS, UNIFORM, CEILING]
    for row in summary["metrics"].values():
        assert list(row) == list(evaluate.METRICS)
        for entry in row.values():
            assert list(entry) == ["mean", "low", "high"]
    assert len(summary["weights"]["sha256"]) == 64
    assert summary["data"]["archives"] == []
    assert len(summary["data"]["fingerprint"]) == 16
    assert summary["input_size"] == [64, 64]
    assert list(summary["versions"]) == ["python", "tensorflow", "keras", "numpy", "scipy"]


def test_the_summary_names_an_unusual_variant(evaluation, tmp_path):
    held_out, measured = evaluation
    weights = tmp_path / "some.weights.h5"
    weights.write_bytes(b"weights")
    summary = evaluate.summary(held_out, measured, weights, (64, 64), {"channels": "RGB"})
    assert summary["weights"]["variant"] == {"channels": "RGB"}


def test_the_means_are_those_of_the_lines(evaluation, tmp_path):
    results = evaluate.read_results(written(tmp_path, *evaluation))
    measured = evaluation[1]
    assert list(results.per_image) == [image.name for image in measured]
    for row, suffix in ((MODEL, ""), (CENTRE_BIAS, "_centre_bias")):
        for metric, entry in results.summary["metrics"][row].items():
            column = [line[f"{metric}{suffix}"] for line in results.per_image.values()]
            assert column == pytest.approx(evaluate.values(measured, row, metric), rel=1e-9)
            assert entry["mean"] == pytest.approx(np.mean(column))


def test_the_table_is_aligned_and_not_wider_than_a_wide_terminal(evaluation, tmp_path):
    text = evaluate.table(json.loads(written(tmp_path, *evaluation).read_text()))
    lines = text.splitlines()
    assert [line.split("  ")[0] for line in lines[1:9:2]] == [MODEL, CENTRE_BIAS, UNIFORM, CEILING]
    assert lines[0].split() == list(evaluate.METRICS)
    assert len({len(line) for line in lines[:9]}) == 1
    assert max(map(len, lines)) <= 125
    assert "-0.000" not in text


def test_the_table_has_a_dash_where_one_row_lacks_a_metric():
    entry = {"mean": 0.7761, "low": 0.7609, "high": 0.79}
    summary = {
        "dataset": "own",
        "images": 1,
        "metrics": {MODEL: {"CC": entry, "SIM": entry}, UNIFORM: {"CC": entry}},
        "left_out": {"CC on 1 image": "the human map is constant"},
    }
    assert evaluate.table(summary).splitlines() == [
        "                    CC            SIM",
        "model            0.776          0.776",
        "        [0.761, 0.790] [0.761, 0.790]",
        "uniform          0.776              -",
        "        [0.761, 0.790]",
        "",
        "Means over 1 held-out image of own, with their 95% bootstrap intervals; lower is better "
        "in KLD.",
        "Left out: CC on 1 image: the human map is constant.",
    ]


def test_a_constant_human_map_counts_in_no_mean_of_cc(dataset):
    held_out = evaluate.load(dataset, dataset.load_data()[1])
    constant = metrics.Scores(0.5, 0.5, 0.0, float("nan"), 0.5, 0.5, 0.0)
    known = metrics.Scores(0.5, 0.5, 0.0, 0.25, 0.5, 0.5, 0.0)
    rows = (MODEL, CENTRE_BIAS, UNIFORM, CEILING)
    measured = [
        Measured(name, SIZE, 1, dict.fromkeys(rows, scores))
        for name, scores in (("a.png", constant), ("b.png", known))
    ]
    summary = evaluate.summary(held_out, measured, Path(__file__), (64, 64))
    assert summary["metrics"][MODEL]["CC"]["mean"] == 0.25
    assert summary["left_out"] == {"CC on 1 image": "the human map is constant"}


# Damaged results


@pytest.fixture
def results(evaluation, tmp_path) -> Path:
    return written(tmp_path / "results", *evaluation)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no JSON"),
        ('{"dataset": "own",\n\n"images":', "line 3: no JSON"),
        ("[]", "not the summary of an evaluation"),
        ('{"dataset": "own"}', "not the summary of an evaluation"),
        ("null", "not the summary of an evaluation"),
    ],
)
def test_a_damaged_summary_is_one_sentence(results, text, message):
    results.write_text(text)
    with pytest.raises(UserError, match=rf"summary\.json.*{message}"):
        evaluate.read_results(results)


def test_a_summary_that_is_not_text_is_one_sentence(results):
    results.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"summary\.json: not the summary"):
        evaluate.read_results(results)


@pytest.mark.parametrize("name", ["summary.json", "per_image.csv"])
def test_a_missing_file_is_named(results, name):
    (results.parent / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}: there is no such file"):
        evaluate.read_results(results)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [], "line 1: the first line has to name the columns"),
        (lambda lines: ["name,CC", *lines[1:]], "line 1: the first line has to name the columns"),
        (lambda lines: [*lines[:2], "a.png,1,2"], "line 3: 3 cells where"),
        (lambda lines: [*lines[:2], lines[1]], "line 3: the image .* is there a second time"),
        (lambda lines: [*lines[:2], lines[2].replace(",80,", ",wide,")], "line 3: could not"),
        (lambda lines: [*lines[:2], '"' + lines[2]], "line 3: "),
        (lambda lines: lines[:2], "not of one evaluation"),
    ],
)
def test_a_damaged_table_is_one_sentence_with_the_line(results, change, message):
    path = results.parent / "per_image.csv"
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{line}\n" for line in change(lines)))
    with pytest.raises(UserError, match=rf"per_image\.csv.*{message}"):
        evaluate.read_results(results)


# Comparisons


def results_of(folder: Path, lines: dict[str, dict[str, float]], **summary) -> evaluate.Results:
    """Return an evaluation with these numbers per image."""
    names = [name for name in evaluate.METRICS if name in next(iter(lines.values()))]
    means = {name: {"mean": np.mean([line[name] for line in lines.values()])} for name in names}
    truth = {"width": 80.0, "height": 60.0, "fixations": 9.0}
    return evaluate.Results(
        folder / "summary.json",
        {
            "dataset": "own",
            "images": len(lines),
            "metrics": {MODEL: means},
            "weights": {"file": f"weights/{folder}.weights.h5"},
            "date": "2026-01-31T12:00:00+00:00",
            "data": {"fingerprint": "0"},
            **summary,
        },
        {name: truth | line for name, line in lines.items()},
    )


def numbered(**columns: np.ndarray) -> dict[str, dict[str, float]]:
    count = len(next(iter(columns.values())))
    return {
        f"{index:03}.jpg": {name: float(values[index]) for name, values in columns.items()}
        for index in range(count)
    }


def line_of(text: str, start: str) -> str:
    [line] = [line for line in text.splitlines() if line.startswith(start)]
    return line


def test_a_comparison_says_what_got_clearly_better_or_worse():
    random = np.random.default_rng(0)
    base = random.random((4, 50))
    noise = random.normal(0, 0.01, (4, 50))
    shifts = np.array([[0.1], [-0.1], [-0.1], [0]])
    names = ("NSS", "CC", "KLD", "SIM")
    after = base + noise + shifts
    after[3] = base[3] + (noise[3] - noise[3].mean())
    old = results_of(Path("old"), numbered(**dict(zip(names, base, strict=True))))
    new = results_of(Path("new"), numbered(**dict(zip(names, after, strict=True))))
    text = evaluate.compare(new, old)
    assert line_of(text, "NSS").endswith("clearly better")
    assert line_of(text, "CC").endswith("clearly worse")
    assert line_of(text, "KLD").endswith("clearly better")
    assert line_of(text, "SIM").endswith("no clear change")
    assert "+0.1" in line_of(text, "NSS")
    assert "[-0.1" in line_of(text, "KLD")


def test_a_comparison_pairs_images_by_name_whatever_their_order():
    lines = numbered(CC=np.linspace(0, 1, 20))
    backwards = dict(reversed(lines.items()))
    text = evaluate.compare(results_of(Path("new"), backwards), results_of(Path("old"), lines))
    assert "+0.000  [+0.000, +0.000]" in line_of(text, "CC")
    assert "no clear change" in text
    assert "Changed most" not in text


def test_a_comparison_says_which_images_only_one_has():
    lines = numbered(CC=np.linspace(0, 1, 20))
    fewer = {name: line for name, line in lines.items() if name != "003.jpg"}
    fewer["new.jpg"] = {"CC": 0.5}
    text = evaluate.compare(results_of(Path("new"), fewer), results_of(Path("old"), lines))
    assert text.startswith(
        f"Compared with {Path('old/summary.json')} (old.weights.h5, 2026-01-31) on 19 images:"
    )
    assert "Only now: 1 image (new.jpg)." in text
    assert "Only before: 1 image (003.jpg)." in text


def test_a_comparison_names_the_images_that_changed_most():
    before = np.zeros(30)
    after = np.zeros(30)
    after[:7] = np.arange(7, 0, -1)
    after[20:22] = -3, -4
    text = evaluate.compare(
        results_of(Path("new"), numbered(NSS=after, CC=before)),
        results_of(Path("old"), numbered(NSS=before, CC=before)),
    ).splitlines()
    better = text.index("Changed most for the better in NSS:")
    assert text[better + 1 : better + 6] == [
        f"  0.000 -> {value}.000  00{index}.jpg" for index, value in enumerate((7, 6, 5, 4, 3))
    ]
    assert text[better + 6 : better + 9] == [
        "Changed most for the worse in NSS:",
        "  0.000 -> -4.000  021.jpg",
        "  0.000 -> -3.000  020.jpg",
    ]


def test_a_comparison_takes_the_metrics_that_both_have():
    lines = numbered(CC=np.linspace(0, 1, 5))
    with_points = numbered(CC=np.linspace(0, 1, 5), NSS=np.ones(5))
    text = evaluate.compare(results_of(Path("new"), lines), results_of(Path("old"), with_points))
    assert "NSS" not in text
    with pytest.raises(UserError, match="no metric in common"):
        evaluate.compare(
            results_of(Path("new"), lines), results_of(Path("old"), numbered(NSS=np.ones(5)))
        )


def test_evaluations_without_a_common_image_cannot_be_compared():
    one = results_of(Path("one"), {"a.jpg": {"CC": 0.5}})
    other = results_of(Path("other"), {"b.jpg": {"CC": 0.5}})
    with pytest.raises(UserError, match="have no image in common"):
        evaluate.compare(one, other)


def test_a_comparison_warns_where_the_truth_is_another():
    lines = numbered(CC=np.linspace(0, 1, 5))
    old = results_of(Path("old"), lines)
    recorded = {name: line | {"fixations": 8.0} for name, line in old.per_image.items()}
    new = dataclasses.replace(old, per_image=recorded)
    assert "5 images had another size or number of fixations before" in evaluate.compare(new, old)
    new = results_of(Path("new"), lines, data={"fingerprint": "1"})
    assert "not the same files in both" in evaluate.compare(new, old)
    new = results_of(Path("new"), lines, dataset="other")
    assert "of different datasets: other and own" in evaluate.compare(new, old)
    assert "not" not in evaluate.compare(old, old).replace("no clear", "")


def test_an_evaluation_can_be_named_by_its_folder(results):
    assert evaluate.read_results(results.parent) == evaluate.read_results(results)


def test_an_evaluation_can_be_compared_with_the_one_it_is_written_over(dataset, tmp_path):
    old = evaluate.read_results(written(tmp_path, *evaluated(dataset)))
    better = evaluated(dataset, lambda name: images.read_map(dataset.path / "saliency" / name))
    new = evaluate.read_results(written(tmp_path, *better))
    assert new.path == old.path
    text = evaluate.compare(new, old)
    assert "clearly better" in line_of(text, "CC")
    assert "clearly better" in line_of(text, "KLD")


# Imports


def test_evaluating_needs_no_tensorflow():
    code = "import sys, evaluate; sys.exit('tensorflow' in sys.modules)"
    root = Path(evaluate.__file__).parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
