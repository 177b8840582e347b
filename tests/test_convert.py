"""Frozen graphs are built here as the authors of MSI-Net built theirs, with random weights."""

import io
import shutil
import zipfile

import numpy as np
import pytest
from conftest import write_archive

import config
import convert
from model import MSINET, ORDINARY, Variant, read_checkpoint, tf, write_checkpoint
from utils import MissingFileError, UserError

v1 = tf.compat.v1

NAMES = {
    f"block{block}_conv{index}": f"conv{block}/conv{block}_{index}"
    for block, depth in enumerate((2, 2, 3, 3, 3), start=1)
    for index in range(1, depth + 1)
}
NAMES |= {f"aspp_conv1_{index}": f"aspp/conv1_{index}" for index in range(1, 6)}
NAMES |= {"aspp_conv2": "aspp/conv2"}
NAMES |= {f"decoder_conv{index}": f"decoder/conv{index}" for index in range(1, 5)}


def random_weights() -> dict[str, list[np.ndarray]]:
    """Return [kernel, bias] by published name, of the size that keeps values in their range."""
    random = np.random.default_rng(7)
    weights = {}
    for layer in MSINET().convolutions():
        shape = tuple(layer.kernel.shape)
        kernel = random.standard_normal(shape, np.float32) * np.sqrt(2 / np.prod(shape[:3]))
        bias = random.standard_normal(shape[-1:], np.float32)
        weights[NAMES[layer.name]] = [kernel.astype(np.float32), bias]
    return weights


class Builder:
    """Builds the published network as TensorFlow 1 did.

    Args:
        weights: [kernel, bias] by published name.
        layout: "NHWC", that of the graphs for a CPU, or "NCHW", that for a GPU.
        reads: Keep the operations that read a variable, as a graph has them before optimisation.
        folds: Dilate by folding the image, as TensorFlow 1 did, or by the convolution itself.
        without: A layer to leave out.
    """

    def __init__(self, weights, layout="NHWC", reads=False, folds=True, without=""):
        self.weights, self.layout, self.reads = weights, layout, reads
        self.folds, self.without = folds, without
        self.channels = layout.index("C")
        self.places = [layout.index("H"), layout.index("W")]

    def constant(self, array, name):
        value = tf.constant(array, name=name)
        return tf.identity(value, name=f"{name}/read") if self.reads else value

    def convolution(self, x, name, dilation=1, relu=True):
        if name == self.without:
            return x
        kernel, bias = self.weights[name]
        weights = self.constant(kernel, f"{name}/kernel")

        def convolve(image, dilation, padding):
            dilations = [dilation if edge in self.places else 1 for edge in range(4)]
            return tf.nn.conv2d(image, weights, 1, padding, self.layout, dilations)

        if dilation > 1 and self.folds:
            x = v1.nn.with_space_to_batch(
                x,
                [dilation, dilation],
                "SAME",
                lambda image, _, padding: convolve(image, 1, padding),
                filter_shape=kernel.shape[:2],
                spatial_dims=self.places,
                data_format=self.layout,
            )
        else:
            x = convolve(x, dilation, "SAME")
        x = tf.nn.bias_add(x, self.constant(bias, f"{name}/bias"), self.layout)
        return tf.nn.relu(x) if relu else x

    def resized(self, x, size):
        if self.layout == "NCHW":
            x = tf.transpose(x, (0, 2, 3, 1))
        x = v1.image.resize_bilinear(x, size)
        return tf.transpose(x, (0, 3, 1, 2)) if self.layout == "NCHW" else x

    def size(self, x):
        return [tf.shape(x)[place] for place in self.places]

    def encoder(self, x):
        outputs = []
        for block, depth in enumerate((2, 2, 3, 3, 3), start=1):
            for index in range(1, depth + 1):
                x = self.convolution(x, f"conv{block}/conv{block}_{index}", 2 if block == 5 else 1)
            stride, padding = (2, "VALID") if block < 4 else (1, "SAME")
            x = tf.nn.max_pool2d(x, 2, stride, padding, self.layout)
            outputs.append(x)
        return tf.concat(outputs[2:], self.channels)

    def aspp(self, x):
        branches = [
            self.convolution(x, f"aspp/conv1_{index}", dilation)
            for index, dilation in ((1, 1), (2, 4), (3, 8), (4, 12))
        ]
        mean = self.convolution(tf.reduce_mean(x, self.places, keepdims=True), "aspp/conv1_5")
        branches.append(self.resized(mean, self.size(x)))
        return self.convolution(tf.concat(branches, self.channels), "aspp/conv2")

    def decoder(self, x):
        for index in (1, 2, 3):
            x = self.resized(x, [2 * edge for edge in self.size(x)])
            x = self.convolution(x, f"decoder/conv{index}")
        x = self.convolution(x, "decoder/conv4", relu=False)
        return tf.transpose(x, (0, 2, 3, 1)) if self.layout == "NCHW" else x

    def graph(self):
        with tf.Graph().as_default() as graph:
            images = v1.placeholder(tf.float32, (None, None, None, 3), name="input")
            x = images - tf.constant([[[[103.939, 116.779, 123.68]]]], tf.float32)
            if self.layout == "NCHW":
                x = tf.transpose(x, (0, 3, 1, 2))
            maps = self.decoder(self.aspp(self.encoder(x)))
            maps -= tf.reduce_min(maps, (1, 2, 3), keepdims=True)
            maximum = tf.reduce_max(maps, (1, 2, 3), keepdims=True)
            tf.realdiv(maps, 1e-7 + maximum, name="output")
        return graph.as_graph_def()


def run(definition, image):
    with tf.Graph().as_default():
        [output] = v1.import_graph_def(definition, return_elements=["output:0"], name="")
        with v1.Session() as session:
            return session.run(output, {"input:0": image})


def renamed(definition, pattern=""):
    """Return a graph whose nodes are in another order; those with `pattern` lost their names."""
    lost = {
        node.name: f"op_{index}"
        for index, node in enumerate(definition.node)
        if pattern in node.name and node.op != "Placeholder"
    }
    result = v1.GraphDef()
    for index in np.random.default_rng(1).permutation(len(definition.node)):
        node = result.node.add()
        node.CopyFrom(definition.node[index])
        node.name = lost.get(node.name, node.name)
        for position, name in enumerate(node.input):
            mark, name = ("^", name[1:]) if name.startswith("^") else ("", name)
            name, colon, port = name.partition(":")
            node.input[position] = mark + lost.get(name, name) + colon + port
    return result


def write(path, definition):
    path.write_bytes(definition.SerializeToString())
    return path


def same(tensors, weights):
    return set(tensors) == set(NAMES) and all(
        np.array_equal(array, other)
        for layer, arrays in tensors.items()
        for array, other in zip(arrays, weights[NAMES[layer]], strict=True)
    )


def refusal(path):
    with pytest.raises(UserError) as refused:
        convert.convert_frozen_graph(path)
    return str(refused.value)


class Published:
    """A model as it is published, in full size, and what it predicts."""

    def __init__(self, folder):
        self.weights = random_weights()
        self.graph = write(folder / "model_salicon_cpu.pb", Builder(self.weights).graph())
        # Noise alone would be predicted much alike by every variant; colours and edges are not.
        self.image = np.full((1, 64, 80, 3), (200, 40, 90), np.float32)
        self.image[:, 20:50, 13:37] = (10, 250, 30)
        self.image += np.random.default_rng(3).uniform(-5, 5, self.image.shape)
        self.map = run(v1.GraphDef.FromString(self.graph.read_bytes()), self.image)
        self.file = folder / "model_salicon_cpu.weights.h5"
        convert.convert(self.graph, self.file, "salicon")

    def difference(self, model):
        return np.abs(np.asarray(model(self.image)) - self.map).max()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return Published(tmp_path_factory.mktemp("published"))


@pytest.fixture
def weights(thin):
    return random_weights()


def test_converted_weights_predict_what_the_frozen_graph_predicts(published):
    model = MSINET()
    model.load(published.file)
    assert published.map.max() == pytest.approx(1) and published.map.std() > 0.05
    assert published.difference(model) < 1e-4


@pytest.mark.parametrize("variant", [ORDINARY, Variant("BGR", False), Variant("RGB", True)])
def test_every_other_variant_predicts_something_else(published, variant):
    model = MSINET(variant)
    model.load_weights(published.file)
    assert published.difference(model) > 1e-3


def test_a_converted_file_states_its_variant_dataset_and_origin(published):
    checkpoint = read_checkpoint(published.file)
    assert checkpoint.variant == convert.PUBLISHED == Variant("RGB", half_pixel_centers=False)
    assert checkpoint.metadata["dataset"] == "salicon"
    assert "model_salicon_cpu.pb" in checkpoint.metadata["origin"]


def test_an_exported_model_computes_the_variant(published, tmp_path):
    model = MSINET()
    model.load(published.file)
    folder = model.export_saved_model("salicon", tmp_path, "cpu")
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    image = tf.constant(published.image)
    assert published.difference(lambda _: served(input=image)["output"]) < 1e-4


def test_a_compiled_function_computes_the_variant(published):
    model = MSINET()
    model.load(published.file)
    assert published.difference(tf.function(lambda x: model(x, training=False))) < 1e-4


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("reads", [True, False])
def test_both_data_layouts_are_read_before_and_after_optimisation(tmp_path, weights, layout, reads):
    path = write(tmp_path / "a.pb", Builder(weights, layout, reads).graph())
    assert same(convert.convert_frozen_graph(path), weights)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("folds", [True, False])
def test_without_any_names_layers_are_told_by_their_place(tmp_path, weights, layout, folds):
    definition = Builder(weights, layout, reads=not folds, folds=folds).graph()
    path = write(tmp_path / "a.pb", renamed(definition))
    assert same(convert.convert_frozen_graph(path), weights)


@pytest.mark.parametrize("lost", ["kernel", "bias", "aspp", "conv5_2/kernel"])
def test_where_some_names_are_lost_the_others_and_the_places_do(tmp_path, weights, lost):
    path = write(tmp_path / "a.pb", renamed(Builder(weights).graph(), lost))
    assert same(convert.convert_frozen_graph(path), weights)


def test_without_places_names_do(tmp_path, weights):
    definition = Builder(weights).graph()
    for node in definition.node:
        if node.op == "Conv2D":
            node.op = "SomeFusedConvolution"
    path = write(tmp_path / "a.pb", definition)
    assert same(convert.convert_frozen_graph(path), weights)


@pytest.mark.parametrize("change", ["import/{}", "{}/read", "import/{}__cf__3"])
def test_extended_names_are_recognised(tmp_path, weights, change):
    definition = Builder(weights).graph()
    for node in definition.node:
        if node.op == "Conv2D":
            node.op = "SomeFusedConvolution"
        if node.op == "Const":
            node.name = change.format(node.name)
    path = write(tmp_path / "a.pb", definition)
    assert same(convert.convert_frozen_graph(path), weights)


def test_biases_that_are_added_as_whole_tensors_are_found(tmp_path, weights):
    definition = Builder(weights).graph()
    for node in definition.node:
        if node.op == "BiasAdd":
            node.op = "AddV2"
            node.input[:] = node.input[::-1]
        elif node.name.endswith("/bias"):
            shape = node.attr["value"].tensor.tensor_shape
            size = shape.dim[0].size
            shape.ClearField("dim")
            for edge in (1, 1, 1, size):
                shape.dim.add().size = edge
    path = write(tmp_path / "a.pb", renamed(definition))
    assert same(convert.convert_frozen_graph(path), weights)


@pytest.mark.parametrize(
    "missing", ["conv3/conv3_2", "conv4/conv4_2", "conv5/conv5_1", "decoder/conv4"]
)
def test_a_missing_layer_is_refused_by_name(tmp_path, weights, missing):
    definition = Builder(weights, without=missing).graph()
    message = refusal(write(tmp_path / "a.pb", definition))
    layer = next(name for name, other in NAMES.items() if other == missing)
    listed = [line for line in message.splitlines() if line.startswith("  ")]
    assert len(listed) == 1 and listed[0].startswith(f"  {layer} ({missing}): no kernel of shape")


def test_a_missing_layer_is_refused_without_names_too(tmp_path, weights):
    definition = Builder(weights, without="conv3/conv3_2").graph()
    message = refusal(write(tmp_path / "a.pb", renamed(definition)))
    assert "block3_conv3 (conv3/conv3_3): no kernel of shape" in message
    assert "block2_conv2" not in message


def test_two_constants_of_one_name_are_refused(tmp_path, weights):
    definition = Builder(weights).graph()
    [node] = [node for node in definition.node if node.name == "aspp/conv2/kernel"]
    other = definition.node.add()
    other.CopyFrom(node)
    other.name = "import/aspp/conv2/kernel"
    other.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(weights["aspp/conv2"][0] + 1))
    message = refusal(write(tmp_path / "a.pb", definition))
    assert "aspp_conv2 (aspp/conv2): 2 different constants for its kernel" in message


@pytest.mark.parametrize("kind", ["kernel", "bias"])
def test_names_that_contradict_the_places_are_refused(tmp_path, weights, kind):
    definition = Builder(weights).graph()
    first, second = f"conv5/conv5_1/{kind}", f"conv5/conv5_2/{kind}"
    for node in definition.node:
        node.input[:] = [{first: second, second: first}.get(name, name) for name in node.input]
    message = refusal(write(tmp_path / "a.pb", definition))
    reason = {
        "kernel": "its name stands in another place",
        "bias": "another layer's bias in its place",
    }
    assert f"block5_conv1 (conv5/conv5_1): {reason[kind]}" in message


@pytest.mark.parametrize("names", [True, False])
def test_branches_in_another_order_are_not_taken_for_the_same(tmp_path, weights, names):
    definition = Builder(weights).graph()
    [join] = [node for node in definition.node if node.op == "ConcatV2" and len(node.input) == 6]
    join.input[0], join.input[1] = join.input[1], join.input[0]
    message = refusal(write(tmp_path / "a.pb", definition if names else renamed(definition)))
    reason = "its name stands in another place" if names else "no kernel of shape"
    assert f"aspp_conv2 (aspp/conv2): {reason}" in message


def preparing(mean):
    with tf.Graph().as_default() as graph:
        images = v1.placeholder(tf.float32, (None, None, None, 3))
        tf.subtract(images, tf.constant(mean))
    return graph.as_graph_def()


def swapping():
    with tf.Graph().as_default() as graph:
        tf.reverse(v1.placeholder(tf.float32, (None, None, None, 3)), [-1])
    return graph.as_graph_def()


def resizing(**options):
    with tf.Graph().as_default() as graph:
        v1.image.resize_bilinear(v1.placeholder(tf.float32, (1, 8, 8, 3)), (16, 16), **options)
    return graph.as_graph_def()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: preparing([123.68, 116.779, 103.939]), "subtracts [123.6"),
        (swapping, "reverses"),
        (lambda: resizing(half_pixel_centers=True), "other corners"),
        (lambda: resizing(align_corners=True), "other corners"),
    ],
)
def test_a_graph_that_shows_to_be_another_variant_is_refused(tmp_path, thin, make, reason):
    message = refusal(write(tmp_path / "a.pb", make()))
    assert "does not compute what the published" in message and reason in message


@pytest.mark.parametrize("content", [b"", b"\n", b"garbage" * 100, b"<html>quota</html>"])
def test_what_is_no_graph_is_refused_in_a_sentence(tmp_path, thin, content):
    path = tmp_path / "a.pb"
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith(f"{path} is not a frozen TensorFlow graph") and "\n" not in message


def test_a_truncated_graph_is_refused_in_a_sentence(tmp_path, weights):
    content = Builder(weights).graph().SerializeToString()
    path = tmp_path / "a.pb"
    path.write_bytes(content[: len(content) // 2])
    message = refusal(path)
    assert "is not a frozen TensorFlow graph, or is damaged" in message and "\n" not in message


def test_a_constant_shorter_than_its_shape_is_refused(tmp_path, weights):
    definition = Builder(weights).graph()
    [node] = [node for node in definition.node if node.name == "aspp/conv2/kernel"]
    node.attr["value"].tensor.tensor_content = node.attr["value"].tensor.tensor_content[:-4]
    assert "is damaged" in refusal(write(tmp_path / "a.pb", definition))


def test_a_graph_that_runs_in_a_ring_is_refused(tmp_path, weights):
    definition = Builder(weights).graph()
    pools = [node for node in definition.node if node.op in ("MaxPool", "Identity", "Relu")]
    for node in pools:
        node.input[0] = node.name
    for node in definition.node:
        if node.name.endswith("/kernel"):
            node.op, node.input[:] = "Identity", [node.name]
    assert "no kernel of shape" in refusal(write(tmp_path / "a.pb", definition))


def test_values_that_are_not_finite_are_refused(tmp_path, weights):
    weights["decoder/conv2"][1][0] = np.nan
    source = write(tmp_path / "a.pb", Builder(weights).graph())
    with pytest.raises(UserError, match="decoder_conv2: values that are not finite"):
        convert.convert(source, tmp_path / "a.weights.h5", "salicon")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pb"]


def test_a_missing_file_is_named(tmp_path, thin):
    with pytest.raises(MissingFileError, match=r"a\.zip"):
        convert.convert(tmp_path / "a.zip", tmp_path / "a.weights.h5", "salicon")


@pytest.mark.parametrize("folder", ["", "models/", "models\\"])
def test_a_zip_file_gives_the_model_of_the_dataset(tmp_path, weights, folder):
    graph = Builder(weights).graph().SerializeToString()
    members = {
        f"__MACOSX/{folder}._model_cat2000_gpu.pb": b"clutter",
        f"{folder}model_salicon_gpu.pb": b"another",
        f"{folder}model_cat2000_gpu.pb": graph,
    }
    source = write_archive(tmp_path / "a.zip", members)
    target = tmp_path / "weights" / "model_cat2000_gpu.weights.h5"
    convert.convert(source, target, "cat2000")
    model = MSINET()
    checkpoint = model.load(target)
    assert same(checkpoint.tensors, weights) and checkpoint.metadata["dataset"] == "cat2000"


@pytest.mark.parametrize(
    ("held", "device", "taken"),
    [
        ("cpu gpu", "cpu", "cpu"),
        ("cpu gpu", "gpu", "gpu"),
        ("cpu gpu", "metal", "gpu"),
        ("cpu", "gpu", "cpu"),
        ("gpu", "cpu", "gpu"),
    ],
)
def test_the_model_of_the_device_comes_first_and_another_does(tmp_path, thin, held, device, taken):
    members = {f"model_salicon_{kind}.pb": b"not a graph" for kind in held.split()}
    source = write_archive(tmp_path / "a.zip", members)
    with pytest.raises(UserError, match=f"a.zip: model_salicon_{taken}.pb is not a frozen"):
        convert.convert(source, tmp_path / "a.weights.h5", "salicon", device)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"a.txt": b""}, "no .pb file at all"),
        ({"m/model_mit1003_cpu.pb": b""}, "  m/model_mit1003_cpu.pb"),
        ({"a/model_salicon_gpu.pb": b"", "b/model_salicon_gpu.pb": b""}, "more than once"),
    ],
)
def test_a_zip_file_without_one_such_model_is_refused(tmp_path, members, reason):
    source = write_archive(tmp_path / "a.zip", members)
    with pytest.raises(UserError) as refused:
        convert.convert(source, tmp_path / "a.weights.h5", "salicon")
    assert reason in str(refused.value)


@pytest.mark.parametrize("kind", ["a.zip", "a.pb"])
def test_more_bytes_than_the_limit_are_not_read(tmp_path, monkeypatch, kind):
    monkeypatch.setitem(config.LIMITS, "member_bytes", 100)
    source = tmp_path / kind
    if kind == "a.zip":
        write_archive(source, {"model_salicon_gpu.pb": bytes(101)})
    else:
        source.write_bytes(bytes(101))
    with pytest.raises(UserError, match="101 bytes"):
        convert.convert(source, tmp_path / "a.weights.h5", "salicon")


def damaged_zip(how):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model_salicon_gpu.pb", np.random.default_rng(0).bytes(1000))
    content = bytearray(buffer.getvalue())
    if how == "cut":
        return content[:700]
    content[500] ^= 255
    return content


@pytest.mark.parametrize("how", ["cut", "changed"])
def test_a_damaged_zip_file_is_refused(tmp_path, how):
    source = tmp_path / "a.zip"
    source.write_bytes(damaged_zip(how))
    with pytest.raises(UserError, match="the archive cannot be read"):
        convert.convert(source, tmp_path / "a.weights.h5", "salicon")


@pytest.fixture
def converted(tmp_path, weights):
    """Return the weights file of a small converted model."""
    model = MSINET(convert.PUBLISHED)
    tensors = {layer: weights[name] for layer, name in NAMES.items()}
    model.assign(tensors, "the test")
    path = tmp_path / "published.weights.h5"
    write_checkpoint(path, model, {"dataset": "salicon"})
    return path


@pytest.fixture
def paths(tmp_path):
    return {name: tmp_path / name for name in ("latest", "best", "weights")}


@pytest.mark.parametrize("way", ["auto", "file"])
def test_fine_tuning_continues_with_the_variant_and_stores_it(tmp_path, converted, paths, way):
    paths["best"].mkdir()
    shutil.copy(converted, paths["best"] / "model_salicon_cpu.weights.h5")
    model = MSINET()
    model.restore("fixationadd1000", paths, "cpu", "auto" if way == "auto" else str(converted))
    assert model.variant == convert.PUBLISHED
    image = np.random.default_rng(2).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(image, training=True))
        return tape.gradient(loss, model.trainable_variables)

    for variable, gradient in zip(model.trainable_variables, gradients(), strict=True):
        variable.assign_sub(0.01 * gradient)
    latest = paths["latest"] / "model_fixationadd1000_cpu.weights.h5"
    write_checkpoint(latest, model, {"init": "auto"})
    again = MSINET()
    again.restore("fixationadd1000", paths, "cpu")
    assert again.variant == convert.PUBLISHED
    np.testing.assert_allclose(again(image), model(image), atol=1e-6)


def test_weights_bring_their_variant_and_those_without_one_are_ordinary(tmp_path, converted):
    MSINET().save_weights(tmp_path / "keras.weights.h5")
    write_checkpoint(tmp_path / "ours.weights.h5", MSINET(), {})
    model = MSINET()
    for name in ("keras", "ours"):
        model.load(converted)
        assert model.variant == convert.PUBLISHED
        model.load(tmp_path / f"{name}.weights.h5")
        assert model.variant == ORDINARY


def test_an_encoder_brings_its_order_of_channels_only(tmp_path, converted):
    write_checkpoint(tmp_path / "ours.weights.h5", MSINET(), {})
    model = MSINET(convert.PUBLISHED)
    model.load_encoder(tmp_path / "ours.weights.h5")
    assert model.variant == Variant("BGR", half_pixel_centers=False)


@pytest.mark.parametrize("compiled", ["function", "export"])
def test_a_compiled_network_refuses_another_variant_and_stays_as_it_was(
    tmp_path, converted, compiled
):
    model = MSINET()
    image = np.random.default_rng(2).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    before = model(image).numpy()
    if compiled == "function":
        tf.function(model)(image)
    else:
        model.export_saved_model("salicon", tmp_path / "saved", "cpu")
    with pytest.raises(UserError, match=r"already run compiled .* Load them into a new MSINET"):
        model.load(converted)
    assert model.variant == ORDINARY
    np.testing.assert_array_equal(model(image).numpy(), before)


def test_a_compiled_network_takes_weights_of_its_own_variant(converted):
    model = MSINET(convert.PUBLISHED)
    image = np.random.default_rng(2).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    predict = tf.function(model)
    predict(image)
    model.load(converted)
    np.testing.assert_allclose(predict(image), model(image), atol=1e-5)


def test_keras_reads_the_weights_of_a_variant(converted):
    model = MSINET(convert.PUBLISHED)
    model.load_weights(converted)
    other = MSINET()
    other.load(converted)
    image = np.full((1, 16, 16, 3), (250, 90, 20), np.float32)
    np.testing.assert_array_equal(model(image), other(image))


@pytest.mark.parametrize(
    "stated", [{"channels": "GRB"}, {"upsampling": "cubic"}, {"half_pixel_centers": 1}, "RGB"]
)
def test_a_file_of_an_unknown_variant_is_refused(tmp_path, thin, monkeypatch, stated):
    monkeypatch.setattr("model.asdict", lambda variant: stated)
    path = tmp_path / "a.weights.h5"
    write_checkpoint(path, MSINET(), {})
    with pytest.raises(UserError, match="not a readable weights file"):
        MSINET().load(path)


def test_a_variant_changes_no_parameters():
    assert MSINET().count_params() == MSINET(convert.PUBLISHED).count_params() == 24_934_209
