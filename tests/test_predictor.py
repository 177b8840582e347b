"""Predicting through the command line, with a sixteenth of the filters."""

import io
import re
import shutil
from pathlib import Path

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
    make_thin,
    tree,
    write_files,
)
from PIL import Image

import config
import data
import images
import model
import trainer

PICTURE = decoded(FIXTURES / "stimuli" / "952.jpg")
HELD_OUT = [
    sorted(f"{stem}.jpg" for stem in STEMS)[index][:-4]
    for index in np.random.RandomState(42).permutation(len(STEMS))[8:]
]


def predicted(home: Home, *options: object) -> Outcome:
    outcome = home.run("test", "-d", DATASET, *options)
    assert outcome.status == 0, outcome.err
    return outcome


def results(home: Home) -> list[str]:
    return sorted(tree(home.maps)) if home.maps.exists() else []


def best(home: Home, device: str = "gpu") -> Path:
    return home.results / "ckpts" / "best" / f"model_{DATASET}_{device}.weights.h5"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Return a file of random weights."""
    path = tmp_path_factory.mktemp("weights") / "any.weights.h5"
    with pytest.MonkeyPatch.context() as patch:
        make_thin(patch)
        model.tf.keras.utils.set_random_seed(0)
        model.write_checkpoint(path, model.MSINET(), {})
    return path


@pytest.fixture
def ready(home, weights) -> Home:
    """Return a home with weights to predict with."""
    best(home).parent.mkdir(parents=True)
    shutil.copy(weights, best(home))
    return home


def train(home: Home, pairs: dict[str, bytes], name: str = "add1000.tar.gz") -> None:
    """Prepare pairs and make checkpoints as training does, without the time that steps take."""
    home.archive(pairs, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.Trainer, "run_epoch", lambda *args, **options: 1.0)
        patch.setattr(model.MSINET, "export_saved_model", lambda *args, **options: None)
        options = ("--allow-partial", "--init", "random", "--epochs", 1)
        assert home.run("train", "-d", DATASET, *options).status == 0


# Held-out images


def test_by_default_exactly_the_held_out_images_are_predicted(home, pairs):
    train(home, pairs)
    predicted(home)
    assert results(home) == sorted(f"{stem}.png" for stem in HELD_OUT)


def test_held_out_images_that_the_weights_were_trained_on_are_left_out_and_counted(home, pairs):
    # The weights are of a part of the set, in whose own split one of them was for training.
    part = [*HELD_OUT[1:], *[stem for stem in STEMS if stem not in HELD_OUT][:4]]
    train(home, {name: pairs[name] for name in pairs if Path(name).stem in part})
    assert HELD_OUT[1] in trained_stems(home)
    shutil.rmtree(home.dataset)
    home.archive(pairs, "add1000.tar.gz")
    outcome = predicted(home, "--allow-partial")
    assert results(home) == [f"{HELD_OUT[0]}.png"]
    assert "1 held-out image " in outcome.out


def trained_stems(home: Home) -> list[str]:
    part, _ = data.FIXATIONADD1000(home.data).load_data()
    return [path.stem for path in part.stimuli]


def test_an_image_is_known_as_trained_on_under_another_name(home, pairs):
    train(home, pairs)
    renamed = {}
    for name, content in pairs.items():
        folder, file = name.split("/")
        renamed[f"{folder}/renamed_{file}"] = content
    trained_on = trained_stems(home)
    shutil.rmtree(home.dataset)
    home.archive(renamed, "add1000.tar.gz")
    home.run("test", "-d", DATASET, "--allow-partial")
    predicted_stems = {name.removeprefix("renamed_").removesuffix(".png") for name in results(home)}
    assert not predicted_stems & set(trained_on)


def test_weights_that_saw_every_held_out_image_are_an_error(home, pairs, weights, thin):
    train(home, pairs)
    _, valid = data.FIXATIONADD1000(home.data).load_data()
    network = model.MSINET()
    model.write_checkpoint(best(home), network, {}, trained_on=data.digests(valid.stimuli))
    outcome = home.run("test", "-d", DATASET)
    assert outcome.status == 2
    assert "trained on" in outcome.err
    assert results(home) == []


def test_the_dataset_is_prepared_when_it_is_not(ready, pairs):
    ready.archive(pairs)
    predicted(ready, "--allow-partial")
    assert results(ready) == sorted(f"{stem}.png" for stem in HELD_OUT)


# Images of the user's choice


def test_one_image_file_is_predicted(ready):
    predicted(ready, "-p", FIXTURES / "stimuli" / "94.jpg")
    assert results(ready) == ["94.png"]


def test_a_folder_is_searched_recursively_and_mirrored(ready):
    content = encoded(PICTURE, format="JPEG")
    names = ("a.jpg", "b/a.jpg", "b/c/d.jpg", "e/a.jpg")
    write_files(ready.work / "in", dict.fromkeys(names, content))
    predicted(ready, "-p", "in")
    assert results(ready) == ["a.png", "b/a.png", "b/c/d.png", "e/a.png"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("in/*.jpg", ["a.png"]),
        ("in/*/a.jpg", ["b/a.png", "e/a.png"]),
        ("in/**/*.jpg", ["a.png", "b/a.png", "e/a.png"]),
    ],
)
def test_a_quoted_glob_is_predicted_and_mirrored(ready, pattern, expected):
    content = encoded(PICTURE, format="JPEG")
    write_files(ready.work / "in", {f"{name}/a.jpg": content for name in (".", "b", "e")})
    predicted(ready, "-p", pattern)
    assert results(ready) == expected


@pytest.mark.parametrize(
    "names",
    [
        ["a.jpg", "b/a.jpg"],
        ["a.jpg", "a.png"],
        ["a.jpg", "a.jpeg", "a.webp"],
        ["a.jpg", "a.png", "a.jpg.png"],
        ["a.jpg", "a.jpg.jpg", "a.png", "a.png.png"],
        ["a.jpg", "a_overlay.jpg", "a_overlay.png"],
        ["b/a.jpg", "b.a.jpg", "b_a.jpg"],
    ],
    ids=" ".join,
)
def test_two_inputs_never_overwrite_each_other(ready, names):
    for number, name in enumerate(names):
        content = encoded(PICTURE[: 20 + number], format="PNG")
        write_files(ready.work / "in", {name: content})
    predicted(ready, "-p", "in", "--overlay")
    maps = [name for name in results(ready) if name.endswith(".png")]
    heights = sorted(decoded(ready.maps / name).shape[0] for name in maps)
    assert heights == [20 + number for number in range(len(names))]
    assert len(results(ready)) == 2 * len(names)


def test_names_with_spaces_and_accents_are_kept(ready):
    write_files(ready.work / "in", {"caf\u00e9 [1].jpg": encoded(PICTURE, format="JPEG")})
    predicted(ready, "-p", "in")
    assert results(ready) == ["caf\u00e9 [1].png"]


@pytest.mark.parametrize("path", ["absent.jpg", "absent", "*.jpg", "empty"])
def test_a_path_without_images_is_one_clear_error(ready, path):
    (ready.work / "empty").mkdir()
    outcome = ready.run("test", "-d", DATASET, "-p", path)
    assert outcome.status == 2
    assert path in outcome.err
    assert "Traceback" not in outcome.err


def animation() -> bytes:
    frames = [Image.fromarray(np.roll(PICTURE, shift, axis=1)) for shift in (0, 20)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(PICTURE, format="JPEG", exif=exif)


HEIGHT, WIDTH = PICTURE.shape[:2]
FORMATS = {
    "turned.jpg": (turned(), (WIDTH, HEIGHT)),
    "cmyk.jpg": (encoded(PICTURE, "CMYK", "JPEG"), (HEIGHT, WIDTH)),
    "grey_photo.jpg": (encoded(PICTURE, "L", "JPEG"), (HEIGHT, WIDTH)),
    "progressive.jpeg": (encoded(PICTURE, format="JPEG", progressive=True), (HEIGHT, WIDTH)),
    "grey.png": (encoded(PICTURE, "L"), (HEIGHT, WIDTH)),
    "1-bit.png": (encoded(PICTURE, "1"), (HEIGHT, WIDTH)),
    "palette.png": (encoded(PICTURE, "P"), (HEIGHT, WIDTH)),
    "transparent.png": (encoded(PICTURE, "RGBA"), (HEIGHT, WIDTH)),
    "16-bit.png": (encoded(PICTURE[..., 0].astype(np.uint16) * 257), (HEIGHT, WIDTH)),
    "web.webp": (encoded(PICTURE, format="WEBP"), (HEIGHT, WIDTH)),
    "bitmap.bmp": (encoded(PICTURE, format="BMP"), (HEIGHT, WIDTH)),
    "animated.gif": (animation(), (HEIGHT, WIDTH)),
    "UPPER.JPG": (encoded(PICTURE, format="JPEG"), (HEIGHT, WIDTH)),
    "misnamed.png": (encoded(PICTURE, format="JPEG"), (HEIGHT, WIDTH)),
    "large.png": (encoded(np.kron(PICTURE, np.ones((9, 7, 1), np.uint8))), (9 * HEIGHT, 7 * WIDTH)),
    "one_pixel.png": (encoded(PICTURE[:1, :1]), (1, 1)),
    "row.png": (encoded(PICTURE[:1]), (1, WIDTH)),
    "column.png": (encoded(PICTURE[:, :1]), (HEIGHT, 1)),
    "odd.png": (encoded(PICTURE[:61, :37]), (61, 37)),
}


@pytest.fixture(scope="module")
def predicted_formats(tmp_path_factory, weights):
    """Return a home where images of every format were predicted with overlays."""
    home = Home(tmp_path_factory.mktemp("formats"))
    write_files(home.work / "in", {name: content for name, (content, _) in FORMATS.items()})
    predicted(home, "-p", "in", "--overlay", "--weights", weights)
    return home


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_an_8_bit_grey_png_of_the_images_size(predicted_formats, name):
    with Image.open(predicted_formats.maps / f"{Path(name).stem}.png") as image:
        assert (image.format, image.mode) == ("PNG", "L")
        assert image.size[::-1] == FORMATS[name][1]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_an_overlay_of_the_images_size(predicted_formats, name):
    (overlay,) = predicted_formats.maps.glob(f"{Path(name).stem}_overlay.*")
    with Image.open(overlay) as image:
        assert image.mode == "RGB"
        assert image.size[::-1] == FORMATS[name][1]


def test_the_overlay_shows_the_image_under_the_heat_map(predicted_formats):
    overlay = decoded(predicted_formats.maps / "bitmap_overlay.jpg").mean(axis=-1)
    edges, image_edges = (np.diff(grey).ravel() for grey in (overlay, PICTURE.mean(axis=-1)))
    assert np.corrcoef(edges, image_edges)[0, 1] > 0.5


def test_without_the_option_there_are_no_overlays(ready):
    predicted(ready, "-p", FIXTURES / "stimuli")
    assert results(ready) == sorted(f"{stem}.png" for stem in STEMS)


def test_the_map_is_what_the_network_makes_of_the_image(ready, weights, thin):
    predicted(ready, "-p", FIXTURES / "stimuli" / "94.jpg")
    network = model.MSINET()
    network.load(weights)
    picture = images.read_stimulus(FIXTURES / "stimuli" / "94.jpg")
    stimulus = data.preprocess(picture, ready.size, config.PADDING["stimulus"])
    output = network(stimulus[None].astype(np.float32))[0].numpy()
    expected = data.postprocess_saliency_map(output, picture.shape[:2])
    expected = expected / expected.max() * 255
    np.testing.assert_allclose(decoded(ready.maps / "94.png"), expected, atol=1.01)


# Files that cannot be read


def test_one_unreadable_file_is_reported_and_the_rest_is_done(ready):
    content = encoded(PICTURE, format="JPEG")
    files = {"a.jpg": content, "broken.jpg": content[:300], "c.jpg": content}
    write_files(ready.work / "in", files)
    outcome = ready.run("test", "-d", DATASET, "-p", "in")
    assert outcome.status == 1
    assert results(ready) == ["a.png", "c.png"]
    assert "broken.jpg" in outcome.out.splitlines()[-1] + outcome.err


def test_all_unreadable_files_are_listed_with_reasons(ready):
    content = encoded(PICTURE, format="JPEG")
    files = {"a.jpg": content, "cut.jpg": content[:300], "empty.png": b"", "text.gif": b"text"}
    write_files(ready.work / "in", files)
    outcome = ready.run("test", "-d", DATASET, "-p", "in", "--overlay")
    assert outcome.status == 1
    assert re.search(r"\b3 files", outcome.out + outcome.err)
    for name in ("cut.jpg", "empty.png", "text.gif"):
        assert re.search(rf"{re.escape(name)}: \w", outcome.out + outcome.err)


def test_when_no_file_can_be_read_it_is_an_error(ready):
    write_files(ready.work / "in", {"a.jpg": b"text", "b.jpg": b""})
    outcome = ready.run("test", "-d", DATASET, "-p", "in")
    assert outcome.status == 2
    assert "a.jpg" in outcome.err
    assert "b.jpg" in outcome.err


# Weights


def used(outcome: Outcome) -> str:
    (line,) = [line for line in outcome.out.splitlines() if "weights" in line.lower()]
    return line


def places(home: Home) -> list[Path]:
    """Return where weights are looked for, the first choice first."""
    pretrained = home.root / "weights"
    return [
        best(home, "gpu"),
        best(home, "cpu"),
        pretrained / f"model_{DATASET}_gpu.weights.h5",
        pretrained / f"model_{DATASET}_tpu.weights.h5",
    ]


@pytest.mark.parametrize("first", range(4))
def test_weights_of_best_go_before_pretrained_ones_and_of_the_device_before_others(
    home, weights, first
):
    for place in places(home)[first:]:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(weights, place)
    outcome = predicted(home, "-p", FIXTURES / "stimuli" / "94.jpg")
    assert str(places(home)[first]) in used(outcome)


def test_weights_named_on_the_command_line_go_before_all_others(ready, weights):
    shutil.copy(weights, ready.work / "mine.weights.h5")
    outcome = predicted(
        ready, "-p", FIXTURES / "stimuli" / "94.jpg", "--weights", "mine.weights.h5"
    )
    assert "mine.weights.h5" in used(outcome)


def test_without_weights_the_error_says_where_they_were_looked_for_and_how_to_get_some(home):
    outcome = home.run("test", "-d", DATASET, "-p", FIXTURES / "stimuli")
    assert outcome.status == 2
    for words in (str(best(home).parent), str(home.root / "weights"), "train", "--weights"):
        assert words in outcome.err


@pytest.mark.parametrize("content", [None, b"", b"no weights"])
def test_unusable_weights_are_one_clear_error(home, content):
    if content is not None:
        (home.work / "mine.weights.h5").write_bytes(content)
    options = ("-p", FIXTURES / "stimuli", "--weights", "mine.weights.h5")
    outcome = home.run("test", "-d", DATASET, *options)
    assert outcome.status == 2
    assert "mine.weights.h5" in outcome.err
    assert "Traceback" not in outcome.err
