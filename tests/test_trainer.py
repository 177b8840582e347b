"""Training through the command line, with a sixteenth of the filters on ten real pairs."""

import re
import shutil

import numpy as np
import pytest
from conftest import DATASET, FIXTURES, THIN_ENCODER, VGG16, Home, Outcome, tree, write_vgg16
from PIL import Image

import config
import data
import model
import trainer
from model import tf

TRAIN = ("train", "-d", DATASET, "--allow-partial", "--device", "cpu")
NAME = f"{DATASET}_cpu"


def trained(home: Home, *options: object) -> Outcome:
    outcome = home.run(*TRAIN, *options)
    assert outcome.status == 0, outcome.err
    return outcome


def history(home: Home, kind: str = "train") -> list[float]:
    lines = (home.results / "history" / f"{kind}_{NAME}.txt").read_text().splitlines()
    return [float(line) for line in lines]


def checkpoint(home: Home, kind: str = "latest") -> model.Checkpoint:
    return model.read_checkpoint(home.results / "ckpts" / kind / f"model_{NAME}.weights.h5")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Return a home after one epoch from random weights, and what it printed."""
    folder = tmp_path_factory.mktemp("first")
    home = Home(folder)
    home.archive(
        {
            f"{kind}/{path.name}": path.read_bytes()
            for kind in ("stimuli", "fixation")
            for path in (FIXTURES / kind).iterdir()
        }
    )
    yield home, trained(home, "--init", "random", "--epochs", 1)
    shutil.rmtree(folder)


@pytest.fixture
def untrained(first, tmp_path) -> Home:
    """Return a home with the dataset prepared."""
    home = Home(tmp_path)
    shutil.copytree(first[0].data, home.data)
    return home


@pytest.fixture
def begun(first, untrained) -> Home:
    """Return a home after one epoch."""
    shutil.copytree(first[0].results, untrained.results)
    return untrained


def quick_export(patch: pytest.MonkeyPatch) -> None:
    """Let the export of a SavedModel take no time."""

    def export(self, dataset, path, device):
        folder = path / f"model_{dataset}_{device}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "saved_model.pb").write_text("exported")

    patch.setattr(model.MSINET, "export_saved_model", export)


def set_losses(patch: pytest.MonkeyPatch, valid: list[float]) -> None:
    """Let epochs take no time and have these held-out losses."""
    left = iter(valid)

    def run_epoch(self, batches, count, description, training):
        return 1.0 if training else next(left)

    patch.setattr(trainer.Trainer, "run_epoch", run_epoch)
    quick_export(patch)


# One epoch


def test_training_says_what_it_starts_from_in_one_line(first):
    _, outcome = first
    assert [line for line in outcome.out.splitlines() if line.startswith("Restored")] == [
        "Restored nothing: random weights."
    ]


def test_an_epoch_says_its_training_and_held_out_loss(first):
    home, outcome = first
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("Epoch 1/1")]
    said = [float(number) for number in re.findall(r"\d+\.\d{4}", line)]
    assert said == pytest.approx([history(home)[0], history(home, "valid")[0]], abs=1e-4)


def test_training_says_how_many_images_there_are(first):
    assert re.search(r"8 images, 2 held out", first[1].out)


def test_an_epoch_leaves_exactly_its_files(first):
    home, _ = first
    files = set(tree(home.results))
    saved_model = f"ckpts/best/model_{NAME}/"
    assert f"{saved_model}saved_model.pb" in files
    assert {file for file in files if not file.startswith(saved_model)} == {
        f"ckpts/latest/model_{NAME}.weights.h5",
        f"ckpts/best/model_{NAME}.weights.h5",
        f"history/train_{NAME}.txt",
        f"history/valid_{NAME}.txt",
        f"history/curve_{NAME}.png",
    }


def test_the_curve_is_a_picture(first):
    with Image.open(first[0].results / "history" / f"curve_{NAME}.png") as curve:
        assert curve.format == "PNG"
        assert min(curve.size) >= 200


def test_the_saved_model_of_training_holds_the_best_weights(first, thin):
    home, _ = first
    best = home.results / "ckpts" / "best"
    network = model.MSINET()
    network.load(best / f"model_{NAME}.weights.h5")
    pictures = np.random.RandomState(0).randint(0, 256, (1, 64, 64, 3)).astype(np.float32)
    serve = tf.saved_model.load(str(best / f"model_{NAME}")).signatures["serving_default"]
    output = serve(input=tf.constant(pictures))["output"]
    np.testing.assert_allclose(output, network(pictures), atol=1e-4)


def test_training_changes_the_weights(first, thin):
    tf.keras.utils.set_random_seed(config.PARAMS["seed"])
    before = model.MSINET().get_layer("decoder_conv4").variables[0].numpy()
    after = checkpoint(first[0]).tensors["decoder_conv4"][0]
    assert np.abs(after - before).max() > 0


def test_training_lowers_the_loss(untrained, monkeypatch):
    quick_export(monkeypatch)
    trained(untrained, "--init", "random", "--epochs", 5, "--learning-rate", 3e-3)
    losses = history(untrained)
    assert losses[-1] < 0.8 * losses[0]


# Going on


@pytest.fixture(scope="module")
def continued(first, tmp_path_factory):
    """Return a home where a second epoch followed in a run of its own, and what that printed."""
    home = Home(tmp_path_factory.mktemp("continued"))
    shutil.copytree(first[0].root, home.root, dirs_exist_ok=True)
    yield home, trained(home, "--init", "random", "--epochs", 2)
    shutil.rmtree(home.root)


def test_the_same_command_after_an_interruption_goes_on_with_the_next_epoch(continued):
    _, outcome = continued
    assert "Continuing after epoch 1 of 2" in outcome.out
    assert "Epoch 2/2" in outcome.out
    assert "Epoch 1/2" not in outcome.out


@pytest.mark.parametrize("kind", ["train", "valid"])
def test_going_on_keeps_the_history_of_finished_epochs(first, continued, kind):
    assert len(history(continued[0], kind)) == 2
    assert history(continued[0], kind)[:1] == history(first[0], kind)


def test_a_continued_training_gives_what_an_uninterrupted_one_gives(
    continued, untrained, monkeypatch
):
    quick_export(monkeypatch)
    trained(untrained, "--init", "random", "--epochs", 2)
    assert history(continued[0]) == pytest.approx(history(untrained), rel=1e-4)
    assert history(continued[0], "valid") == pytest.approx(history(untrained, "valid"), rel=1e-4)


def test_a_finished_run_says_so_and_changes_nothing(begun):
    before = tree(begun.results)
    outcome = trained(begun, "--init", "random", "--epochs", 1)
    assert "1 of 1 epochs are finished" in outcome.out
    assert tree(begun.results) == before


def test_a_run_is_continued_without_naming_its_start_again(begun, monkeypatch):
    set_losses(monkeypatch, [0.5])
    assert "Continuing after epoch 1" in trained(begun, "--epochs", 2).out


def interrupted_call(patch: pytest.MonkeyPatch, owner, name: str, call: int) -> None:
    function, calls = getattr(owner, name), []

    def interrupted(*args, **options):
        calls.append(name)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*args, **options)

    patch.setattr(owner, name, interrupted)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (trainer.Trainer, "run_epoch", 1),
        (trainer.Trainer, "run_epoch", 2),
        (model, "write_checkpoint", 1),
        (model, "write_checkpoint", 2),
        (model.MSINET, "export_saved_model", 1),
        (trainer.History, "save", 1),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_interrupted_epoch_is_done_again(begun, owner, name, call):
    with pytest.MonkeyPatch.context() as patch:
        set_losses(patch, [0.1])
        interrupted_call(patch, owner, name, call)
        outcome = begun.run(*TRAIN, "--epochs", 2)
    assert outcome.status == 130
    assert "Traceback" not in outcome.err
    with pytest.MonkeyPatch.context() as patch:
        set_losses(patch, [0.1])
        outcome = trained(begun, "--epochs", 2)
    assert "Epoch 2/2" in outcome.out
    assert len(history(begun)) == len(history(begun, "valid")) == 2
    assert checkpoint(begun).metadata["valid_loss"] == pytest.approx(history(begun, "valid"))


def test_latest_is_written_after_every_epoch_and_best_at_the_lowest_loss(untrained, monkeypatch):
    set_losses(monkeypatch, [0.5, 0.7, 0.4, 0.6])
    seen = []
    for epochs in (1, 2, 3, 4):
        trained(untrained, "--init", "random", "--epochs", epochs)
        best = untrained.results / "ckpts" / "best" / f"model_{NAME}" / "saved_model.pb"
        seen.append(
            (
                len(checkpoint(untrained).metadata["valid_loss"]),
                len(checkpoint(untrained, "best").metadata["valid_loss"]),
                best.stat().st_mtime_ns,
            )
        )
    assert [latest for latest, _, _ in seen] == [1, 2, 3, 4]
    assert [best for _, best, _ in seen] == [1, 1, 3, 3]
    exported = [time for _, _, time in seen]
    assert exported[0] == exported[1] < exported[2] == exported[3]


def test_a_loss_that_is_no_number_stops_with_one_clear_error(begun):
    before = tree(begun.results)
    fresh = Home(begun.root.parent / "other")
    shutil.copytree(begun.data, fresh.data)
    outcome = fresh.run(*TRAIN, "--init", "random", "--learning-rate", "1e30", "--epochs", 2)
    assert outcome.status == 2
    assert "--learning-rate" in outcome.err
    assert not list(fresh.results.glob("ckpts/*/*.h5"))
    assert tree(begun.results) == before


# Other settings


@pytest.mark.parametrize(
    ("option", "value"),
    [("--batch-size", "2"), ("--learning-rate", "0.5"), ("--seed", "7")],
)
def test_a_run_is_not_continued_with_other_settings(begun, option, value):
    before = tree(begun.results)
    outcome = begun.run(*TRAIN, "--epochs", 2, option, value)
    assert outcome.status == 2
    assert option.strip("-").replace("-", "_") in outcome.err
    assert "--fresh" in outcome.err
    assert tree(begun.results) == before


def test_a_run_is_not_continued_from_another_start(begun):
    before = tree(begun.results)
    outcome = begun.run(*TRAIN, "--epochs", 2, "--init", "salicon")
    assert outcome.status == 2
    assert "--fresh" in outcome.err
    assert tree(begun.results) == before


def test_fresh_starts_over_and_keeps_the_old_run(begun, monkeypatch):
    old = {path.name: path.read_bytes() for path in begun.results.glob("ckpts/*/*.h5")}
    set_losses(monkeypatch, [0.5])
    outcome = trained(begun, "--init", "random", "--epochs", 1, "--fresh")
    assert "Epoch 1/1" in outcome.out
    assert checkpoint(begun).metadata["valid_loss"] == [0.5]
    kept = {path.name: path.read_bytes() for path in begun.results.glob("aside/**/*.h5")}
    assert kept == old


def test_the_command_line_goes_before_the_configured_settings(untrained, monkeypatch):
    set_losses(monkeypatch, [0.5, 0.4, 0.3])
    options = ("--batch-size", 3, "--learning-rate", 0.25, "--seed", 7, "--epochs", 3)
    trained(untrained, "--init", "random", *options)
    settings = checkpoint(untrained).metadata["settings"]
    assert (settings["batch_size"], settings["learning_rate"], settings["seed"]) == (3, 0.25, 7)
    assert len(history(untrained)) == 3


def test_without_options_the_configured_settings_count(untrained, monkeypatch):
    set_losses(monkeypatch, [1.0] * 3)
    changed = {"batch_size": 4, "learning_rate": 0.125, "n_epochs": 3, "device": "tpu", "seed": 5}
    for name, value in changed.items():
        monkeypatch.setitem(config.PARAMS, name, value)
    outcome = untrained.run("train", "-d", DATASET, "--allow-partial", "--init", "random")
    assert outcome.status == 0
    latest = untrained.results / "ckpts" / "latest" / f"model_{DATASET}_tpu.weights.h5"
    metadata = model.read_checkpoint(latest).metadata
    settings = metadata["settings"]
    assert (settings["batch_size"], settings["learning_rate"], settings["seed"]) == (4, 0.125, 5)
    assert len(metadata["valid_loss"]) == 3


def test_the_configured_settings_are_those_of_the_design():
    names = ("n_epochs", "batch_size", "learning_rate", "device")
    assert [config.PARAMS[name] for name in names] == [10, 1, 1e-5, "gpu"]


def test_the_seed_decides_the_weights(untrained, monkeypatch):
    set_losses(monkeypatch, [0.5] * 3)
    kernels = []
    for seed in (1, 1, 2):
        shutil.rmtree(untrained.results, ignore_errors=True)
        trained(untrained, "--init", "random", "--seed", seed, "--epochs", 1)
        kernels.append(checkpoint(untrained).tensors["block1_conv1"][0])
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).any()


def test_the_loss_of_an_epoch_is_the_mean_over_its_images_whatever_the_batches(
    untrained, monkeypatch, thin
):
    quick_export(monkeypatch)
    # So small a learning rate that the weights stay those that training began with.
    options = ("--learning-rate", "1e-30", "--batch-size", 3, "--epochs", 1)
    trained(untrained, "--init", "random", *options)
    network = model.MSINET()
    network.load(untrained.results / "ckpts" / "latest" / f"model_{NAME}.weights.h5")
    for kind, part in zip(
        ("train", "valid"), data.FIXATIONADD1000(untrained.data).load_data(), strict=True
    ):
        pairs = [data.read_pair(*pair, untrained.size) for pair in zip(*part, strict=True)]
        stimuli, maps = (np.stack(arrays).astype(np.float32) for arrays in zip(*pairs, strict=True))
        expected = float(model.kld_loss(maps, network(stimuli)))
        assert history(untrained, kind) == [pytest.approx(expected, rel=1e-4)]


# Devices


@pytest.mark.parametrize("device", ["gpu", "tpu", "metal"])
def test_a_missing_device_is_replaced_by_the_cpu_and_said_in_one_line(device):
    said = trainer.choose_device(device)
    assert "CPU" in said
    assert device in said.lower()
    assert "\n" not in said


@pytest.mark.parametrize("device", ["gpu", "metal", "tpu"])
def test_the_device_names_the_files_even_where_the_cpu_does_the_work(
    untrained, monkeypatch, device
):
    set_losses(monkeypatch, [0.5])
    options = ("--allow-partial", "--init", "random", "--epochs", 1, "--device", device)
    outcome = untrained.run("train", "-d", DATASET, *options)
    assert outcome.status == 0
    assert sum("running on the CPU" in line for line in outcome.out.splitlines()) == 1
    names = {path.name for path in untrained.results.glob("ckpts/*/*.h5")}
    assert names == {f"model_{DATASET}_{device}.weights.h5"}


def test_gpu_memory_is_taken_as_it_is_needed(monkeypatch):
    grown = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["one", "two"])
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, on: grown.append((gpu, on))
    )
    assert "GPU" in trainer.choose_device("gpu")
    assert grown == [("one", True), ("two", True)]


# What training starts from


def test_without_any_start_the_error_is_one_clear_message_that_names_the_choices(untrained):
    outcome = untrained.run(*TRAIN)
    assert outcome.status == 2
    assert outcome.err.startswith("Error: Train model on SALICON first")
    assert "Traceback" not in outcome.err
    for choice in ("--init imagenet", "--init random", ".weights.h5"):
        assert choice in outcome.err
    assert not list(untrained.results.rglob("*.h5"))


def test_imagenet_weights_of_the_weights_folder_are_trained_from(untrained, monkeypatch):
    set_losses(monkeypatch, [0.5])
    arrays = write_vgg16(untrained.root / "weights" / VGG16, THIN_ENCODER)
    outcome = trained(untrained, "--init", "imagenet", "--epochs", 1)
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("Restored")]
    assert VGG16 in line
    tensors = checkpoint(untrained).tensors
    for name in THIN_ENCODER:
        np.testing.assert_array_equal(tensors[name][0], arrays[name][0])
        np.testing.assert_array_equal(tensors[name][1], arrays[name][1])


def test_imagenet_weights_that_cannot_be_fetched_are_one_clear_error(untrained, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    outcome = untrained.run(*TRAIN, "--init", "imagenet")
    assert outcome.status == 2
    assert VGG16 in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("init", ["auto", "salicon"])
def test_the_best_salicon_checkpoint_is_fine_tuned(begun, monkeypatch, init):
    best = begun.results / "ckpts" / "best"
    salicon = best / "model_salicon_gpu.weights.h5"
    (best / f"model_{NAME}.weights.h5").rename(salicon)
    shutil.rmtree(begun.results / "ckpts" / "latest")
    expected = model.read_checkpoint(salicon).tensors
    set_losses(monkeypatch, [0.5])
    outcome = trained(begun, "--init", init, "--epochs", 1)
    assert str(salicon) in outcome.out
    np.testing.assert_array_equal(
        checkpoint(begun).tensors["aspp_conv2"][0], expected["aspp_conv2"][0]
    )


def test_a_weights_file_is_trained_from(begun, monkeypatch):
    start = begun.work / "mine.weights.h5"
    (begun.results / "ckpts" / "best" / f"model_{NAME}.weights.h5").rename(start)
    shutil.rmtree(begun.results)
    set_losses(monkeypatch, [0.5])
    outcome = trained(begun, "--init", "mine.weights.h5", "--epochs", 1)
    assert "mine.weights.h5" in outcome.out
    expected = model.read_checkpoint(start).tensors
    np.testing.assert_array_equal(
        checkpoint(begun).tensors["aspp_conv2"][0], expected["aspp_conv2"][0]
    )


def test_a_damaged_latest_checkpoint_is_one_clear_error(begun):
    latest = begun.results / "ckpts" / "latest" / f"model_{NAME}.weights.h5"
    latest.write_bytes(latest.read_bytes()[:1000])
    outcome = begun.run(*TRAIN, "--epochs", 2)
    assert outcome.status == 2
    assert latest.name in outcome.err
    assert "Traceback" not in outcome.err
