"""The listing of weights that are here and that can be fetched."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import h5py
import pytest
from conftest import ENCODER, VGG16, Home, tree, write_files, write_vgg16

import weights


def listed(home: Home, *options: object) -> list[str]:
    """Return the lines of `main.py weights`."""
    outcome = home.run("weights", *options)
    assert outcome.status == 0, outcome.err
    return outcome.out.splitlines()


def write(path: Path, **metadata) -> Path:
    """Write a weights file without any weight."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        if metadata:
            file.create_group("saliency").attrs["metadata"] = json.dumps(metadata)
    return path


def test_without_any_weights_it_says_so_and_names_all_that_can_be_fetched(home):
    assert listed(home) == [
        "Here:",
        "  none",
        "To be fetched:",
        "  ImageNet VGG16: train --init imagenet",
        "  the paper's authors' model for salicon: test -d salicon, or train --init pretrained",
        *(
            f"  the paper's authors' model for {name}: test -d {name}"
            for name in ("mit1003", "cat2000", "dutomron", "pascals", "osie", "fiwi")
        ),
    ]
    assert tree(home.root) == {}


def test_a_checkpoint_is_listed_with_dataset_best_held_out_loss_and_date(home):
    path = home.results / "ckpts" / "best" / "model_osie_gpu.weights.h5"
    write(
        path,
        settings={"dataset": "osie"},
        valid_loss=[0.8, 0.65432, 0.7],
        written="2026-02-03T04:05:06+00:00",
    )
    assert listed(home)[1] == (f"  {path}: osie, held-out loss 0.6543 after 3 epochs, 2026-02-03")


def test_a_converted_model_is_listed_with_its_origin_and_not_offered_again(home):
    path = home.root / "weights" / "model_fiwi_pretrained.weights.h5"
    write(path, dataset="fiwi", origin="published as model_fiwi_cpu.pb", written="2026-02-03T04:05")
    lines = listed(home)
    assert lines[1] == f"  {path}: fiwi, published as model_fiwi_cpu.pb, 2026-02-03"
    assert not [line for line in lines[2:] if "fiwi" in line]


def test_the_encoder_is_listed_and_not_offered_again(home):
    path = home.root / "weights" / VGG16
    write_vgg16(path, {"block1_conv1": ENCODER["block1_conv1"]})
    lines = listed(home)
    assert lines[1] == f"  {path}: ImageNet VGG16, the encoder to start from"
    assert not [line for line in lines[2:] if "VGG16" in line]


def test_best_checkpoints_come_before_latest_ones_and_weights(home):
    folders = [home.results / "ckpts" / "best", home.results / "ckpts" / "latest"]
    paths = [
        write(folder / f"model_{name}_cpu.weights.h5", dataset=name)
        for folder in (*folders, home.root / "weights")
        for name in ("cat2000", "mine")
    ]
    lines = listed(home)
    assert lines[1 : 1 + len(paths)] == [f"  {path}: {path.name.split('_')[1]}" for path in paths]
    assert lines[1 + len(paths)] == "To be fetched:"


def test_a_file_of_another_program_is_listed_as_of_an_unknown_dataset(home):
    path = write(home.root / "weights" / "other.weights.h5")
    assert listed(home)[1] == f"  {path}: dataset unknown"


@pytest.mark.parametrize("content", [b"", b"rubbish"])
def test_a_damaged_file_is_listed_as_unreadable(home, content):
    path = home.root / "weights" / "bad.weights.h5"
    path.parent.mkdir()
    path.write_bytes(content)
    assert listed(home)[1].startswith(f"  {path}: not readable (")


@pytest.mark.parametrize("text", ["{", "[]", '{"settings": 5}', '{"valid_loss": ["low"]}', "5"])
def test_a_file_with_damaged_metadata_is_listed_all_the_same(home, text):
    path = write(home.root / "weights" / "bad.weights.h5")
    with h5py.File(path, "a") as file:
        file.create_group("saliency").attrs["metadata"] = text
    assert listed(home)[1].startswith(f"  {path}: ")


def test_a_file_whose_name_begins_with_a_dot_is_half_written_and_left_out(home):
    write(home.results / "ckpts" / "best" / ".123-model_osie_gpu.weights.h5", dataset="osie")
    assert listed(home)[1] == "  none"


def test_the_sample_has_weights_of_its_own(home):
    sample = home.results / "sample" / "ckpts" / "best" / "model_fixationadd1000_gpu.weights.h5"
    write(sample, dataset="fixationadd1000")
    assert listed(home)[1] == "  none"
    assert listed(home, "--sample")[1] == f"  {sample}: fixationadd1000"


def test_the_listing_needs_no_tensorflow(home):
    code = "import main, sys; main.main(['weights']); sys.exit('tensorflow' in sys.modules)"
    root = Path(weights.__file__).parent
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True).returncode == 0
    )


def test_a_set_of_the_users_own_trains_to_checkpoints_of_its_name_that_are_listed(
    home, pairs, monkeypatch
):
    import model
    import trainer

    # What a step computes is tested elsewhere and takes long.
    monkeypatch.setattr(trainer.Trainer, "run_epoch", lambda *args, **options: 1.25)
    monkeypatch.setattr(model.MSINET, "export_saved_model", lambda *args, **options: None)
    write_files(home.data / "my-ads", pairs)
    options = ("--init", "random", "--epochs", 1, "--size", "64x64")
    outcome = home.run("train", "-d", "my-ads", *options)
    assert outcome.status == 0, outcome.err
    checkpoints = [
        home.results / "ckpts" / place / "model_my-ads_gpu.weights.h5"
        for place in ("best", "latest")
    ]
    today = datetime.now(UTC).date().isoformat()
    assert listed(home)[1:3] == [
        f"  {path}: my-ads, held-out loss 1.2500 after 1 epoch, {today}" for path in checkpoints
    ]
    outcome = home.run("test", "-d", "my-ads")
    assert outcome.status == 0, outcome.err
    maps = tree(home.results / "images" / "my-ads")
    assert len([name for name in maps if name.endswith(".png")]) == 2
