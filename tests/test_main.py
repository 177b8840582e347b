"""The command line: its messages, its exit statuses, and the main job from end to end."""

import argparse
import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import termios
from pathlib import Path

import numpy as np
import pytest
from conftest import (
    DATASET,
    FIXTURES,
    STEMS,
    Home,
    decoded,
    encoded,
    real_points,
    tree,
    write_archive,
)
from PIL import Image

import config
import data
import download
import main

REPOSITORY = Path(main.__file__).parent
# What libraries write to a terminal when they start.
FOREIGN = re.compile(
    r"oneDNN|tensorflow|XLA|CUDA|absl|WARNING|Warning|cpu_feature_guard"
    r"|^[WIEF]\d{4} |^20\d\d-\d\d-",
    re.MULTILINE,
)


# End to end, with the full network, as a user runs it


def run_on_terminal(command: list, folder: Path) -> tuple[int, str]:
    """Run a command on a terminal of its own; return its exit status and all the terminal got."""
    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=inside, stderr=inside
    )
    os.close(inside)
    shown = b""
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # Linux says so when the last writer is gone
            break
        if not chunk:
            break
        shown += chunk
    os.close(terminal)
    return process.wait(), shown.decode()


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Return a copy of the repository's code with an archive of the real pairs in data/."""
    folder = tmp_path_factory.mktemp("clone")
    for module in REPOSITORY.glob("*.py"):
        shutil.copy(module, folder)
    members = {
        f"{kind}/{path.name}": path.read_bytes()
        for kind in ("stimuli", "fixation")
        for path in (FIXTURES / kind).iterdir()
    }
    write_archive(folder / "data" / "fixation_add1000.tar.gz", members)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def trained(clone) -> str:
    """Train the full network for an epoch; return what the terminal showed."""
    options = ["--allow-partial", "--init", "random", "--epochs", "1", "--size", "64x64"]
    command = [sys.executable, "main.py", "train", "-d", DATASET, *options]
    status, shown = run_on_terminal(command, clone)
    assert status == 0, shown
    return shown


@pytest.fixture(scope="module")
def tested(clone, trained) -> subprocess.CompletedProcess:
    """Predict the held-out images with the weights that training left."""
    command = [sys.executable, "main.py", "test", "-d", DATASET, "--overlay"]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True)


def test_training_shows_its_own_lines_only(trained):
    assert not FOREIGN.search(trained)


def test_training_shows_progress_with_loss_rate_and_time_left(trained):
    bars = [part for part in re.split(r"[\r\n]", trained) if "/8 " in part and "%" in part]
    assert any(re.search(r"loss \d", bar) for bar in bars)
    assert any("images/s" in bar or "s/ images" in bar for bar in bars)
    assert any(re.search(r"\d\d:\d\d<(\d\d:\d\d|\?)", bar) for bar in bars)


def test_training_the_full_network_leaves_checkpoints_of_all_its_parameters(clone, trained):
    # Four bytes each; the latest holds two moments of Adam as well.
    best = clone / "results" / "ckpts" / "best" / f"model_{DATASET}_gpu.weights.h5"
    latest = clone / "results" / "ckpts" / "latest" / best.name
    assert best.stat().st_size == pytest.approx(4 * 24_934_209, rel=0.02)
    assert latest.stat().st_size == pytest.approx(3 * 4 * 24_934_209, rel=0.02)


def test_the_two_commands_give_a_map_and_an_overlay_for_every_held_out_image(clone, tested):
    assert tested.returncode == 0, tested.stderr
    names = sorted(f"{stem}.jpg" for stem in STEMS)
    held_out = [names[index][:-4] for index in np.random.RandomState(42).permutation(10)[8:]]
    results = clone / "results" / "images" / DATASET
    assert sorted(path.name for path in results.glob("*.png")) == sorted(
        f"{stem}.png" for stem in held_out
    )
    assert len(list(results.glob("*_overlay.*"))) == 2
    for stem in held_out:
        assert decoded(results / f"{stem}.png").shape == real_points(stem).shape


def test_predicting_shows_its_own_lines_only(tested):
    assert not FOREIGN.search(tested.stdout)
    assert tested.stderr == ""


def test_a_failure_is_one_message_with_exit_status_2_and_no_traceback(clone):
    command = [sys.executable, "main.py", "prepare", "-p", "absent"]
    process = subprocess.run(command, cwd=clone, capture_output=True, text=True)
    assert process.returncode == 2
    assert process.stdout == ""
    assert re.fullmatch(r"Error: (.|\n)*absent(.|\n)*\n", process.stderr)
    assert "Traceback" not in process.stderr


def test_the_command_line_opens_without_loading_tensorflow():
    code = "import main, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


# The bundled sample


def test_the_sample_is_twenty_small_real_pairs_in_at_most_a_megabyte():
    path = REPOSITORY / "samples" / config.SAMPLES[DATASET]
    assert path.stat().st_size <= 1_000_000
    with tarfile.open(path) as archive:
        files = {member.name.removeprefix("./"): member for member in archive if member.isreg()}
        stimuli = [name for name in files if name.startswith("stimuli/")]
        assert len(stimuli) == len(files) // 2 == 20
        for name in stimuli:
            with Image.open(archive.extractfile(files[name])) as image:
                assert max(image.size) <= 320


def test_the_sample_names_its_origin_and_licence():
    text = (REPOSITORY / "samples" / "README.md").read_text(encoding="utf-8").lower()
    sets = ("saliency in crowd", "predicting human gaze beyond pixels", "scene")
    for words in (*sets, "mit licence", "copyright nus vip lab"):
        assert words in text.replace("-", " ")


@pytest.fixture
def with_sample(home, pairs) -> Home:
    write_archive(home.root / "samples" / config.SAMPLES[DATASET], pairs)
    return home


def test_the_sample_has_data_and_results_of_its_own(with_sample):
    assert with_sample.run("prepare", "--sample").status == 0
    assert (with_sample.data / "sample" / DATASET / "dataset.json").is_file()
    assert not with_sample.dataset.exists()


def test_the_demo_trains_on_the_sample_and_predicts_its_held_out_images(with_sample):
    outcome = with_sample.run("demo", "--epochs", 1, "--size", "64x64")
    assert outcome.status == 0, outcome.err
    results = with_sample.results / "sample" / "images" / DATASET
    assert len(list(results.glob("*_overlay.*"))) == 2
    assert len(list(results.glob("*.png"))) == 2


# Options


@pytest.mark.parametrize("arguments", [(), ("fly",), ("train", "--fly"), ("test", "-p")])
def test_an_unknown_command_or_option_is_one_message(home, capsys, arguments):
    assert main.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--epochs", "0"),
        ("--epochs", "-1"),
        ("--epochs", "1.5"),
        ("--epochs", "many"),
        ("--batch-size", "0"),
        ("--learning-rate", "0"),
        ("--learning-rate", "-1e-5"),
        ("--learning-rate", "nan"),
        ("--learning-rate", "inf"),
        ("--seed", "-1"),
        ("--seed", "4294967296"),
        ("--sigma", "0"),
        ("--sigma", "nan"),
        ("--device", "abacus"),
        ("-d", "../other"),
    ],
)
def test_an_impossible_value_is_one_message_that_names_the_option(home, option, value):
    outcome = home.run("train", f"{option}={value}" if option.startswith("--") else option, value)
    assert outcome.status == 2
    assert option in outcome.err
    assert "Traceback" not in outcome.err
    assert not home.results.exists()


@pytest.mark.parametrize("command", ["train", "test", "prepare", "demo"])
def test_every_command_explains_its_options(capsys, command):
    with pytest.raises(SystemExit) as stopped:
        main.main([command, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for option in ("--archive", "--skip-bad", "--allow-partial", "--device", "--data"):
        assert option in text


def test_an_interruption_ends_with_status_130_and_no_traceback(home, pairs, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "open_dataset", interrupt)
    outcome = home.run("prepare")
    assert outcome.status == 130
    assert "Traceback" not in outcome.out + outcome.err


@pytest.fixture
def broken(monkeypatch) -> None:
    """Break the program."""

    def fail(*args, **options):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(data, "open_dataset", fail)


def test_a_bug_is_one_message_that_says_how_to_see_more(home, broken):
    outcome = home.run("prepare")
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert "a bug" in outcome.err
    assert "--debug" in outcome.err


def test_a_bug_shows_its_traceback_when_asked_to(home, broken):
    with pytest.raises(ZeroDivisionError):
        home.run("prepare", "--debug")


def test_a_user_error_shows_its_traceback_when_asked_to(home):
    outcome = home.run("prepare", "--debug")
    assert outcome.status == 2
    assert "Traceback" in outcome.err


# Names that people rely on


def test_results_lie_where_the_design_says():
    args = argparse.Namespace(sample=False, data_path=None, data=DATASET)
    paths = main.define_paths("/repository", args)
    root = Path("/repository")
    expected = {
        "data": root / "data",
        "weights": root / "weights",
        "latest": root / "results" / "ckpts" / "latest",
        "best": root / "results" / "ckpts" / "best",
        "history": root / "results" / "history",
        "images": root / "results" / "images" / DATASET,
    }
    assert {name: paths[name] for name in expected} == expected


@pytest.mark.parametrize("name", main.datasets_list)
def test_every_dataset_of_the_list_has_its_class_and_its_download(name):
    cls = getattr(data, name.upper())
    assert cls.n_train > cls.n_valid > 0
    assert callable(getattr(download, f"download_{name}"))
    assert f"image_size_{name}" in config.DIMS


def test_the_working_directory_stays_clean(home, pairs):
    home.archive(pairs)
    assert home.run("prepare", "--allow-partial").status == 0
    assert tree(home.work) == {}


def test_images_of_the_working_directory_are_found_by_relative_names(home, pairs):
    (home.work / "a.jpg").write_bytes(encoded(np.zeros((8, 8, 3), np.uint8)))
    outcome = home.run("test", "-p", "a.jpg")
    # Without weights it fails, but no earlier than at the weights.
    assert outcome.status == 2
    assert "weights" in outcome.err
