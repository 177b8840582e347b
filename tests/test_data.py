import random
from pathlib import Path

import numpy as np
import pytest
from conftest import DATASET, FIXTURES, STEMS, real_points, write_files
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import config
import data
import images
import main
import prepare
from utils import UserError

TARGET = (64, 80)
edges = st.integers(1, 400)
targets = st.tuples(st.integers(1, 12), st.integers(1, 12)).map(lambda s: (8 * s[0], 8 * s[1]))


@pytest.fixture
def real(home, pairs) -> Path:
    """Return a folder of datasets with the real pairs, prepared."""
    home.archive(pairs)
    assert home.run("prepare", "-d", DATASET, "--allow-partial").status == 0
    return home.data


# Datasets and their split


def stated_split(names: list[str], n_train: int) -> tuple[list[str], list[str]]:
    """Split as the original code base does: sorted, shuffled with seed 42, the first n_train."""
    indices = np.arange(len(names))
    np.random.RandomState(42).shuffle(indices)
    shuffled = [sorted(names)[index] for index in indices]
    return shuffled[:n_train], shuffled[n_train:]


def file_names(split: data.Split) -> list[str]:
    return [path.name for path in split.stimuli]


def test_the_split_of_the_whole_set_is_the_stated_one(thousand):
    train, valid = data.FIXATIONADD1000(thousand[0].data).load_data()
    names = [f"{number}.png" for number in range(1, 1001)]
    assert (file_names(train), file_names(valid)) == stated_split(names, 800)


@pytest.mark.parametrize(("count", "n_train"), [(10, 8), (7, 6), (3, 2), (2, 1)])
def test_the_split_of_a_part_is_the_stated_one(home, pairs, count, n_train):
    stems = random.Random(count).sample(STEMS, count)
    home.archive({name: pairs[name] for name in pairs if Path(name).stem in stems})
    options = prepare.Options(allow_partial=True)
    train, valid = data.FIXATIONADD1000(home.data, options).load_data()
    names = [f"{stem}.jpg" for stem in stems]
    assert (file_names(train), file_names(valid)) == stated_split(names, n_train)


def test_the_parts_are_disjoint_and_together_whole(thousand):
    train, valid = data.FIXATIONADD1000(thousand[0].data).load_data()
    assert not set(train.stimuli) & set(valid.stimuli)
    assert len({*train.stimuli, *valid.stimuli}) == 1000


def test_the_split_is_the_same_every_time(real):
    first, second = (data.FIXATIONADD1000(real).load_data() for _ in range(2))
    assert first == second


def test_every_stimulus_comes_with_its_own_map(real):
    for part in data.FIXATIONADD1000(real).load_data():
        stems = [path.stem for path in part.stimuli]
        assert [path.stem for path in part.maps] == stems
        assert {path.parent.name for path in part.maps} == {"saliency"}


def test_the_dataset_has_its_stated_numbers():
    assert (data.FIXATIONADD1000.n_train, data.FIXATIONADD1000.n_valid) == (800, 200)


def test_a_partial_dataset_says_its_own_numbers(real):
    dataset = data.FIXATIONADD1000(real)
    assert (dataset.n_train, dataset.n_valid) == (8, 2)


def test_a_dataset_opens_from_its_own_folder_as_well(real):
    assert data.FIXATIONADD1000(real / DATASET).load_data() == (
        data.FIXATIONADD1000(real).load_data()
    )


@pytest.mark.parametrize("change", ["remove stimulus", "remove map", "add stimulus"])
def test_a_folder_that_changed_since_it_was_prepared_is_an_error(real, change):
    stimuli, maps = real / DATASET / "stimuli", real / DATASET / "saliency"
    if change == "remove stimulus":
        (stimuli / "94.jpg").unlink()
    elif change == "remove map":
        (maps / "94.png").unlink()
    else:
        (stimuli / "new.jpg").write_bytes((stimuli / "94.jpg").read_bytes())
    with pytest.raises(UserError, match="prepared"):
        data.FIXATIONADD1000(real).load_data()


def test_side_files_in_a_prepared_folder_are_ignored(real):
    before = data.FIXATIONADD1000(real).load_data()
    for name in (".DS_Store", "._94.jpg", "notes.txt"):
        (real / DATASET / "stimuli" / name).write_bytes(b"clutter")
    assert data.FIXATIONADD1000(real).load_data() == before


@pytest.mark.parametrize("name", main.datasets_list)
def test_every_dataset_has_an_input_size_divisible_by_8(name):
    height, width = config.DIMS[f"image_size_{name}"]
    assert height % 8 == width % 8 == 0


# Into the network and out of it


@given(height=edges, width=edges, target=targets)
def test_a_picture_of_any_size_is_brought_to_the_networks_input(height, width, target):
    picture = np.zeros((height, width, 3), np.uint8)
    assert data.preprocess(picture, target, 126).shape == (*target, 3)


@given(height=edges, width=edges, target=targets)
def test_padding_fills_exactly_what_the_shape_leaves(height, width, target):
    padded = data.preprocess(np.zeros((height, width, 3), np.uint8), target, 126)
    assert set(np.unique(padded)) <= {0, 126}
    scale = min(target[0] / height, target[1] / width)
    covered = (padded[..., 0] == 0).sum()
    expected = [max(edge * scale, 1) for edge in (height, width)]
    lower, upper = np.prod([e - 0.5 for e in expected]), np.prod([e + 0.5 for e in expected])
    assert lower - 1e-6 <= covered <= upper + 1e-6


@given(height=edges, width=edges, target=targets)
def test_the_picture_touches_two_opposite_edges_and_is_centred(height, width, target):
    inside = data.preprocess(np.zeros((height, width, 3), np.uint8), target, 126)[..., 0] == 0
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    gaps = [rows[0], target[0] - 1 - rows[-1], columns[0], target[1] - 1 - columns[-1]]
    assert gaps[:2] == [0, 0] or gaps[2:] == [0, 0]
    assert abs(gaps[0] - gaps[1]) <= 1
    assert abs(gaps[2] - gaps[3]) <= 1


def test_stimuli_are_padded_with_126_and_maps_with_0(real):
    train, _ = data.FIXATIONADD1000(real).load_data()
    portrait = next(path for path in train.stimuli if path.stem in ("94", "878", "949"))
    truth = portrait.parents[1] / "saliency" / f"{portrait.stem}.png"
    stimulus, saliency = data.read_pair(portrait, truth, TARGET)
    assert (stimulus[:, 0] == 126).all()
    assert (saliency[:, 0] == 0).all()


@given(height=edges, width=edges, target=targets)
def test_a_predicted_map_returns_at_the_images_own_size(height, width, target):
    restored = data.postprocess_saliency_map(np.zeros((*target, 1), np.float32), (height, width))
    assert restored.shape == (height, width)
    assert restored.dtype == np.float32


@given(
    height=edges,
    width=edges,
    target=targets,
    place=st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)),
)
def test_a_marked_point_comes_back_within_two_pixels(height, width, target, place):
    # Of the network's input or of the image, whichever pixels are larger.
    pixel = max(height / target[0], width / target[1], 1)
    y, x = int(place[0] * height), int(place[1] * width)
    marked = np.zeros((height, width), np.float32)
    marked[y, x] = 1
    restored = data.postprocess_saliency_map(
        data.preprocess(marked, target, 0)[..., None], (height, width)
    )
    assert restored.max() > 0
    brightest = np.argwhere(restored >= restored.max() * (1 - 1e-5))
    distance = np.abs(brightest.mean(axis=0) - (y, x)).max()
    assert distance <= 2 * pixel


@given(
    map_=hnp.arrays(np.float32, (*TARGET, 1), elements=st.floats(0, 1, width=32)),
    height=edges,
    width=edges,
)
def test_a_restored_map_stays_between_0_and_1(map_, height, width):
    restored = data.postprocess_saliency_map(map_, (height, width))
    assert 0 <= restored.min() <= restored.max() <= 1


@pytest.mark.parametrize("stem", STEMS)
def test_a_picture_comes_back_nearly_as_it_was(stem):
    picture = images.read_stimulus(FIXTURES / "stimuli" / f"{stem}.jpg")
    grey = picture.mean(axis=-1).astype(np.float32) / 255
    restored = data.postprocess_saliency_map(
        data.preprocess(grey, (360, 360), 0)[..., None], grey.shape
    )
    assert np.abs(restored - grey).mean() < 0.02


# Batches


def test_batches_hold_the_pairs_in_their_order(real):
    train, _ = data.FIXATIONADD1000(real).load_data()
    seen = 0
    for stimuli, maps in data.batches(train, TARGET, 3).as_numpy_iterator():
        for stimulus, truth in zip(stimuli, maps, strict=True):
            expected = data.read_pair(train.stimuli[seen], train.maps[seen], TARGET)
            np.testing.assert_array_equal(stimulus, expected[0])
            np.testing.assert_array_equal(truth, expected[1])
            seen += 1
    assert seen == len(train.stimuli)


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 8), (3, [3, 3, 2]), (20, [8])])
def test_the_last_batch_holds_what_is_left(real, batch_size, sizes):
    train, _ = data.FIXATIONADD1000(real).load_data()
    batches = data.batches(train, TARGET, batch_size).as_numpy_iterator()
    assert [len(stimuli) for stimuli, _ in batches] == sizes


def test_batches_follow_the_order_asked_for(real):
    train, _ = data.FIXATIONADD1000(real).load_data()
    (forward, _), *_ = data.batches(train, TARGET, 8).as_numpy_iterator()
    (backward, _), *_ = data.batches(train, TARGET, 8, range(7, -1, -1)).as_numpy_iterator()
    np.testing.assert_array_equal(forward[::-1], backward)


def test_the_order_of_an_epoch_is_a_permutation_that_seed_and_epoch_decide():
    order = data.epoch_order(100, seed=1, epoch=2)
    assert sorted(order) == list(range(100))
    np.testing.assert_array_equal(order, data.epoch_order(100, seed=1, epoch=2))
    assert (order != data.epoch_order(100, seed=1, epoch=3)).any()
    assert (order != data.epoch_order(100, seed=2, epoch=2)).any()


def test_the_training_iterator_gives_both_parts(real, monkeypatch):
    monkeypatch.setitem(config.DIMS, f"image_size_{DATASET}", TARGET)
    train, valid = data.get_dataset_iterator("train", DATASET, real)
    assert sum(len(stimuli) for stimuli, _ in train.as_numpy_iterator()) == 8
    assert sum(len(stimuli) for stimuli, _ in valid.as_numpy_iterator()) == 2
    stimuli, maps = next(train.as_numpy_iterator())
    assert stimuli.shape == (1, *TARGET, 3)
    assert maps.shape == (1, *TARGET, 1)


def test_the_test_iterator_gives_every_image_with_its_size_and_path(monkeypatch):
    monkeypatch.setitem(config.DIMS, f"image_size_{DATASET}", TARGET)
    folder = FIXTURES / "stimuli"
    seen = {}
    for stimulus, size, path in data.get_dataset_iterator("test", DATASET, folder):
        assert stimulus.shape == (1, *TARGET, 3)
        seen[Path(path.numpy()[0].decode()).stem] = tuple(size.numpy()[0])
    assert seen == {stem: real_points(stem).shape for stem in STEMS}


@pytest.mark.parametrize(("phase", "dataset"), [("predict", DATASET), ("train", "imagenet")])
def test_an_unknown_phase_or_dataset_is_an_error_that_names_it(tmp_path, phase, dataset):
    with pytest.raises(UserError, match=r"predict|imagenet"):
        data.get_dataset_iterator(phase, dataset, tmp_path)


# Images to predict


@pytest.fixture
def folder(tmp_path) -> Path:
    content = (FIXTURES / "stimuli" / "94.jpg").read_bytes()
    names = ["a.jpg", "b/a.JPG", "b/c/d.png", "._a.jpg", "notes.txt", "__MACOSX/a.jpg"]
    return write_files(tmp_path / "in", dict.fromkeys(names, content))


def relative(paths: list[Path], folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in paths]


def test_a_single_image_is_found(folder):
    assert data.find_images(folder / "a.jpg") == [folder / "a.jpg"]


def test_a_folder_is_searched_recursively_without_clutter(folder):
    assert relative(data.find_images(folder), folder) == ["a.jpg", "b/a.JPG", "b/c/d.png"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg"]),
        ("*/*.JPG", ["b/a.JPG"]),
        ("**/*.png", ["b/c/d.png"]),
        ("**/a.*", ["a.jpg", "b/a.JPG"]),
        ("[ab].jpg", ["a.jpg"]),
    ],
)
def test_a_glob_pattern_finds_what_it_matches(folder, pattern, expected):
    assert relative(data.find_images(folder / pattern), folder) == expected


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path):
    write_files(tmp_path, {"a[1].jpg": b"", "a1.jpg": b""})
    assert data.find_images(tmp_path / "a[1].jpg") == [tmp_path / "a[1].jpg"]


@pytest.mark.parametrize("path", ["absent.jpg", "absent", "*.webp"])
def test_a_path_without_images_is_an_error_that_names_it(folder, path):
    with pytest.raises(UserError) as caught:
        data.find_images(folder / path)
    assert path in str(caught.value)


def test_an_empty_folder_is_an_error_that_says_what_counts_as_an_image(tmp_path):
    with pytest.raises(UserError, match=r"\.jpg.*\.png"):
        data.find_images(tmp_path)


def test_the_root_of_the_images_is_the_folder_all_of_them_lie_in(folder):
    assert data.TEST(DATASET, folder / "b").root == folder / "b"


def test_the_readme_lists_every_dataset_as_its_class_states_it():
    readme = (Path(data.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert data.datasets_table() in readme
