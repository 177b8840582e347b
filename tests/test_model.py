"""The network itself at its full size; what surrounds it with a sixteenth of the filters."""

import shutil

import h5py
import numpy as np
import pytest
from conftest import ENCODER, THIN_ENCODER, VGG16, make_thin, write_vgg16
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import model
from model import tf
from utils import UserError

HEAD = [
    (1, 1, 1280, 256),
    (3, 3, 1280, 256),
    (3, 3, 1280, 256),
    (3, 3, 1280, 256),
    (1, 1, 1280, 256),
    (1, 1, 1280, 256),
    (3, 3, 256, 128),
    (3, 3, 128, 64),
    (3, 3, 64, 32),
    (3, 3, 32, 1),
]
IMAGES = np.random.RandomState(0).randint(0, 256, (2, 48, 40, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> model.MSINET:
    """Return the full network; tests must not change its weights."""
    tf.keras.utils.set_random_seed(0)
    return model.MSINET()


def weights_of(network: model.MSINET) -> dict[str, list[np.ndarray]]:
    return {
        layer.name: [variable.numpy() for variable in layer.variables]
        for layer in network.convolutions()
    }


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(a, b) for name in one for a, b in zip(one[name], other[name], strict=True)
    )


# Architecture


def test_the_network_has_24_934_209_parameters(network):
    assert network.count_params() == 24_934_209


@pytest.mark.parametrize("name", ENCODER)
def test_an_encoder_layer_has_the_shape_of_vgg16(network, name):
    kernel, bias = network.get_layer(name).variables
    assert tuple(kernel.shape) == ENCODER[name]
    assert tuple(bias.shape) == ENCODER[name][-1:]


def test_the_other_layers_have_the_shapes_of_the_paper(network):
    kernels = [
        tuple(layer.variables[0].shape)
        for layer in network.convolutions()
        if layer.name not in ENCODER
    ]
    assert sorted(kernels) == sorted(HEAD)


def relu_conv(x, kernel, bias, dilation=1):
    return tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME", dilations=dilation) + bias)


def reference(weights: dict[str, list[np.ndarray]], pictures: np.ndarray) -> np.ndarray:
    """Compute MSI-Net from the design's words with TensorFlow's bare operations."""
    x = pictures[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
    kept = []
    blocks = [(2, 2, 1), (2, 2, 1), (3, 2, 1), (3, 1, 1), (3, 1, 2)]
    for block, (depth, stride, dilation) in enumerate(blocks, start=1):
        for index in range(1, depth + 1):
            x = relu_conv(x, *weights[f"block{block}_conv{index}"], dilation)
        x = tf.nn.max_pool2d(x, 2, stride, "SAME")
        kept.append(x)
    x = tf.concat(kept[2:], axis=-1)
    assert x.shape[1:] == (pictures.shape[1] // 8, pictures.shape[2] // 8, 1280)
    branches = [
        relu_conv(x, *weights[f"aspp_conv1_{index}"], dilation)
        for index, dilation in ((1, 1), (2, 4), (3, 8), (4, 12))
    ]
    whole = relu_conv(tf.reduce_mean(x, (1, 2), keepdims=True), *weights["aspp_conv1_5"])
    x = tf.concat([*branches, tf.broadcast_to(whole, branches[0].shape)], axis=-1)
    x = relu_conv(x, *weights["aspp_conv2"])
    for index in (1, 2, 3):
        x = tf.image.resize(x, (2 * x.shape[1], 2 * x.shape[2]))
        x = relu_conv(x, *weights[f"decoder_conv{index}"])
    kernel, bias = weights["decoder_conv4"]
    x = tf.nn.conv2d(x, kernel, 1, "SAME") + bias
    x -= tf.reduce_min(x, (1, 2, 3), keepdims=True)
    return (x / (1e-7 + tf.reduce_max(x, (1, 2, 3), keepdims=True))).numpy()


def test_the_output_is_that_of_the_design_in_bare_operations(network):
    expected = reference(weights_of(network), IMAGES)
    assert expected.std() > 0.01
    np.testing.assert_allclose(network(IMAGES), expected, atol=1e-3)


@pytest.mark.parametrize("size", [(8, 8), (16, 40), (64, 48)])
def test_the_output_has_the_size_of_the_input_and_one_channel(network, size):
    assert network(np.zeros((1, *size, 3), np.float32)).shape == (1, *size, 1)


def test_the_output_of_every_image_reaches_from_0_to_1(network):
    output = network(IMAGES).numpy()
    np.testing.assert_allclose(output.min(axis=(1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(output.max(axis=(1, 2, 3)), 1, atol=1e-4)


def test_an_image_of_one_colour_gives_no_values_that_are_not_numbers(network):
    output = network(np.zeros((1, 64, 64, 3), np.float32)).numpy()
    assert np.isfinite(output).all()
    assert 0 <= output.min() <= output.max() <= 1


def test_images_of_a_batch_do_not_influence_one_another(network):
    together = network(IMAGES).numpy()
    alone = np.concatenate([network(image[None]).numpy() for image in IMAGES])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_the_order_of_colours_matters(network):
    assert np.abs(network(IMAGES) - network(IMAGES[..., ::-1])).max() > 1e-3


# The loss


def numpy_kld(truth: np.ndarray, prediction: np.ndarray, eps: float = 1e-7) -> float:
    losses = []
    for p, q in zip(truth.astype(np.float64), prediction.astype(np.float64), strict=True):
        p, q = p / (eps + p.sum()), q / (eps + q.sum())
        losses.append((p * np.log(eps + p / (eps + q))).sum())
    return float(np.mean(losses))


def maps(top: float, batch: int = 2):
    return hnp.arrays(np.float32, (batch, 6, 5, 1), elements=st.floats(0, top, width=32))


@settings(max_examples=100)
@given(truth=maps(255), prediction=maps(1))
def test_the_loss_equals_a_numpy_version(truth, prediction):
    loss = float(model.kld_loss(truth, prediction))
    assert loss == pytest.approx(numpy_kld(truth, prediction), rel=1e-3, abs=1e-4)


@given(maps(255).map(lambda truth: truth + 1))
def test_the_loss_of_equal_maps_is_zero(truth):
    assert float(model.kld_loss(truth, truth)) == pytest.approx(0, abs=1e-4)


@given(truth=maps(1).map(lambda t: t + 0.1), prediction=maps(1).map(lambda p: p + 0.1))
def test_the_loss_does_not_depend_on_the_scale_of_the_maps(truth, prediction):
    scaled = float(model.kld_loss(truth * 255, prediction))
    assert scaled == pytest.approx(float(model.kld_loss(truth, prediction)), rel=1e-3, abs=1e-4)


def test_the_loss_of_a_batch_is_the_mean_of_its_images():
    random = np.random.RandomState(0)
    truth, prediction = (random.rand(4, 8, 9, 1).astype(np.float32) for _ in range(2))
    alone = [float(model.kld_loss(truth[i : i + 1], prediction[i : i + 1])) for i in range(4)]
    assert float(model.kld_loss(truth, prediction)) == pytest.approx(np.mean(alone), rel=1e-4)


@pytest.mark.parametrize(("truth", "prediction"), [(0, 0), (0, 1), (1, 0)])
def test_the_loss_of_empty_maps_is_finite(truth, prediction):
    shape = (1, 8, 8, 1)
    loss = model.kld_loss(np.full(shape, truth, "float32"), np.full(shape, prediction, "float32"))
    assert np.isfinite(float(loss))


# Weights


def test_every_vgg16_weight_arrives_in_the_full_encoder(network, tmp_path):
    arrays = write_vgg16(tmp_path / "vgg16.h5", ENCODER)
    fresh = model.MSINET()
    fresh.load_encoder(tmp_path / "vgg16.h5")
    loaded = weights_of(fresh)
    assert same({name: loaded[name] for name in ENCODER}, arrays)


@pytest.fixture
def small(thin) -> model.MSINET:
    """Return a network of a sixteenth of the filters."""
    return model.MSINET()


def test_vgg16_weights_leave_the_rest_of_the_network_as_it_was(small, tmp_path):
    before = weights_of(small)
    write_vgg16(tmp_path / "vgg16.h5", THIN_ENCODER)
    small.load_encoder(tmp_path / "vgg16.h5")
    after = weights_of(small)
    rest = [name for name in before if name not in ENCODER]
    assert same({name: after[name] for name in rest}, {name: before[name] for name in rest})


def test_a_vgg16_file_with_dense_layers_is_read_as_well(small, tmp_path):
    arrays = write_vgg16(tmp_path / "vgg16.h5", THIN_ENCODER, dense=True)
    small.load_encoder(tmp_path / "vgg16.h5")
    assert np.array_equal(weights_of(small)["block5_conv3"][0], arrays["block5_conv3"][0])


@pytest.mark.parametrize("name", ["block1_conv1", "block3_conv2", "block5_conv3"])
def test_a_wrong_layer_name_does_not_pass_silently(small, tmp_path, name):
    before = weights_of(small)
    shapes = {("conv_" + key if key == name else key): shape for key, shape in THIN_ENCODER.items()}
    write_vgg16(tmp_path / "vgg16.h5", shapes)
    with pytest.raises(UserError, match=name):
        small.load_encoder(tmp_path / "vgg16.h5")
    assert same(weights_of(small), before)


@pytest.mark.parametrize("name", ["block_4_conv2", "conv4_2"])
def test_a_wrong_name_in_the_network_does_not_pass_silently(small, tmp_path, name):
    write_vgg16(tmp_path / "vgg16.h5", THIN_ENCODER)
    small.get_layer("block4_conv2").name = name
    assert small.get_layer(name).name == name
    with pytest.raises(UserError, match=r"block_?4_conv2"):
        small.load_encoder(tmp_path / "vgg16.h5")


@pytest.mark.parametrize("wrong", ["shape", "finite", "bias"])
def test_weights_that_do_not_fit_are_refused_by_layer_and_change_nothing(small, tmp_path, wrong):
    path = tmp_path / "vgg16.h5"
    write_vgg16(path, THIN_ENCODER)
    with h5py.File(path, "r+") as file:
        group = file["block4_conv1"]
        kernel = group["block4_conv1_W_1:0"]
        if wrong == "finite":
            kernel[0, 0, 0, 0] = np.nan
        elif wrong == "bias":
            del group["block4_conv1_b_1:0"]
        else:
            del group["block4_conv1_W_1:0"]
            group["block4_conv1_W_1:0"] = np.zeros((3, 3, 7, 32), np.float32)
    before = weights_of(small)
    with pytest.raises(UserError, match="block4_conv1"):
        small.load_encoder(path)
    assert same(weights_of(small), before)


def test_weights_come_back_from_a_file_as_they_were(small, tmp_path):
    path = tmp_path / "a.weights.h5"
    model.write_checkpoint(path, small, {})
    other = model.MSINET()
    assert not same(weights_of(other), weights_of(small))
    other.load(path)
    assert same(weights_of(other), weights_of(small))


def test_a_weights_file_is_read_by_keras_too(small, tmp_path):
    path = tmp_path / "a.weights.h5"
    model.write_checkpoint(path, small, {"epoch": 1}, trained_on=[b"0123456789abcdef"])
    other = model.MSINET()
    other.load_weights(path)
    assert same(weights_of(other), weights_of(small))


def test_a_weights_file_that_keras_wrote_is_read_too(small, tmp_path):
    path = tmp_path / "a.weights.h5"
    small.save_weights(path)
    other = model.MSINET()
    other.load(path)
    assert same(weights_of(other), weights_of(small))


def test_what_was_stored_with_the_weights_comes_back(small, tmp_path):
    path = tmp_path / "a.weights.h5"
    digests = [bytes([number] * 16) for number in range(3)]
    model.write_checkpoint(path, small, {"train_loss": [0.5]}, trained_on=digests)
    checkpoint = model.read_checkpoint(path)
    assert checkpoint.metadata["train_loss"] == [0.5]
    assert checkpoint.trained_on == frozenset(digests)


@pytest.fixture
def weights_file(small, tmp_path):
    path = tmp_path / "a.weights.h5"
    model.write_checkpoint(path, small, {})
    return path


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_weights_file_is_refused_by_name(small, weights_file, share):
    content = weights_file.read_bytes()
    weights_file.write_bytes(content[: int(len(content) * share)])
    before = weights_of(small)
    with pytest.raises(UserError, match=r"a\.weights\.h5"):
        small.load(weights_file)
    assert same(weights_of(small), before)


@pytest.mark.parametrize("content", [b"no HDF5", b"<!doctype html>", b"PK\x03\x04"])
def test_a_file_that_holds_no_weights_is_refused_by_name(small, tmp_path, content):
    path = tmp_path / "a.weights.h5"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.weights\.h5"):
        small.load(path)


def test_a_vgg16_file_is_not_taken_for_a_whole_network(small, tmp_path):
    write_vgg16(tmp_path / "vgg16.h5", THIN_ENCODER)
    with pytest.raises(UserError, match="missing"):
        small.load(tmp_path / "vgg16.h5")


def test_a_missing_weights_file_is_a_file_not_found_error(small, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.weights\.h5"):
        small.load(tmp_path / "absent.weights.h5")


@pytest.mark.parametrize(
    ("there", "device", "found"),
    [
        (["cpu", "gpu"], "gpu", "gpu"),
        (["cpu", "gpu"], "cpu", "cpu"),
        (["tpu"], "gpu", "tpu"),
        (["metal"], "cpu", "metal"),
        ([], "gpu", None),
    ],
)
def test_weights_of_the_own_device_go_before_those_of_any_other(tmp_path, there, device, found):
    for suffix in [*there]:
        (tmp_path / f"model_osie_{suffix}.weights.h5").touch()
    (tmp_path / "model_salicon_gpu.weights.h5").touch()
    path = model.find_weights(tmp_path, "osie", device)
    assert (path and path.name) == (found and f"model_osie_{found}.weights.h5")


# What training starts from


@pytest.fixture
def paths(tmp_path) -> dict:
    return {name: tmp_path / name for name in ("latest", "best", "weights")}


def put(network: model.MSINET, folder, dataset: str, device: str = "gpu", **metadata):
    path = folder / f"model_{dataset}_{device}.weights.h5"
    model.write_checkpoint(path, network, metadata)
    return path


def test_auto_takes_the_datasets_latest_checkpoint_first(small, paths):
    put(model.MSINET(), paths["best"], "salicon")
    latest = put(small, paths["latest"], "fixationadd1000")
    other = model.MSINET()
    start = other.restore("fixationadd1000", paths, "gpu")
    assert same(weights_of(other), weights_of(small))
    assert str(latest) in start.origin


@pytest.mark.parametrize("init", ["auto", "salicon"])
@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_the_best_salicon_checkpoint_is_taken_next(small, paths, init, device):
    best = put(small, paths["best"], "salicon", device)
    other = model.MSINET()
    start = other.restore("fixationadd1000", paths, "gpu", init)
    assert same(weights_of(other), weights_of(small))
    assert str(best) in start.origin


@pytest.mark.parametrize(
    ("dataset", "init"), [("salicon", "auto"), ("fixationadd1000", "imagenet")]
)
def test_the_vgg16_encoder_is_taken_from_the_weights_folder(small, paths, dataset, init):
    vgg16 = paths["weights"] / VGG16
    arrays = write_vgg16(vgg16, THIN_ENCODER)
    start = small.restore(dataset, paths, "gpu", init)
    loaded = weights_of(small)
    assert same({name: loaded[name] for name in ENCODER}, arrays)
    assert str(vgg16) in start.origin


@pytest.mark.parametrize("init", ["auto", "salicon"])
def test_without_a_salicon_checkpoint_the_error_says_to_train_on_it_first(small, paths, init):
    write_vgg16(paths["weights"] / VGG16, THIN_ENCODER)
    with pytest.raises(FileNotFoundError, match=r"^Train model on SALICON first") as caught:
        small.restore("fixationadd1000", paths, "gpu", init)
    for choice in ("imagenet", "random", ".weights.h5"):
        assert choice in str(caught.value)


def test_random_leaves_the_weights_as_they_were_made(small, paths):
    before = weights_of(small)
    start = small.restore("fixationadd1000", paths, "gpu", "random")
    assert same(weights_of(small), before)
    assert "random" in start.origin


def test_a_weights_file_can_be_started_from(small, weights_file, paths):
    other = model.MSINET()
    start = other.restore("fixationadd1000", paths, "gpu", str(weights_file))
    assert same(weights_of(other), weights_of(small))
    assert str(weights_file) in start.origin


@pytest.mark.parametrize("init", ["absent.weights.h5", "Random", ""])
def test_a_start_that_does_not_exist_is_an_error_that_names_the_choices(small, paths, init):
    with pytest.raises(FileNotFoundError, match="imagenet"):
        small.restore("fixationadd1000", paths, "gpu", init)


# The SavedModel


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return a small network and its SavedModel, loaded from another place."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        make_thin(patch)
        network = model.MSINET()
    path = network.export_saved_model("fixationadd1000", folder / "best", "cpu")
    assert path == folder / "best" / "model_fixationadd1000_cpu"
    loaded = tf.saved_model.load(str(shutil.move(path, folder / "moved")))
    return network, loaded.signatures["serving_default"]


def test_the_signature_takes_and_gives_the_stated_tensors(exported):
    _, serve = exported
    inputs = serve.structured_input_signature[1]
    assert inputs == {"input": tf.TensorSpec((None, None, None, 3), tf.float32, name="input")}
    assert list(serve.structured_outputs) == ["output"]
    assert serve.structured_outputs["output"].dtype == tf.float32
    assert serve.structured_outputs["output"].shape.as_list()[-1] == 1


def test_the_saved_model_computes_what_the_network_computes(exported):
    network, serve = exported
    output = serve(input=tf.constant(IMAGES))["output"]
    np.testing.assert_allclose(output, network(IMAGES), atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (61, 33), (64, 40)])
def test_the_saved_model_takes_images_of_any_size(exported, size):
    _, serve = exported
    pictures = np.random.RandomState(1).randint(0, 256, (2, *size, 3)).astype(np.float32)
    output = serve(input=tf.constant(pictures))["output"].numpy()
    assert output.shape == (2, *size, 1)
    assert 0 <= output.min() <= output.max() <= 1
