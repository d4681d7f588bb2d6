"""The ONNX file: its contract, the Keras model's detections at sizes never traced, files that are none of ours."""

import json
import subprocess
import sys
import venv

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrcnn.config import AnchorConfig, Category, DetectionConfig, HeadConfig, ImageConfig
from tfrcnn.errors import InputError
from tfrcnn.export import contract
from tfrcnn.export.contract import OUTPUTS
from tfrcnn.export.onnx import graph as onnx_graph
from tfrcnn.export.onnx import kernels as onnx_operators
from tfrcnn.export.onnx import runtime as onnx_runtime
from tfrcnn.export.onnx.precision import body_nodes, stem_nodes
from tfrcnn.export.onnx.runtime import OnnxRuntime
from tfrcnn.export.onnx.writer import _mended_tf2onnx, to_onnx
from tfrcnn.models import build_detector, preset

onnx = pytest.importorskip("onnx")
tf2onnx = pytest.importorskip("tf2onnx")
CATEGORIES = (Category(3, "cat"), Category(90, "dög"), Category(7, "bird"))


def make_detector(image_size=None, **changes):
    """Random weights that find dozens of objects of every class, with scores far apart."""
    keras.utils.set_random_seed(1)
    config = preset("tiny_fpn", CATEGORIES, image_size).detector
    detections = DetectionConfig(score_threshold=0.2, max_detections=100)
    image = config.image if image_size else config.image.replace(min_size=128, max_size=256)
    detector = build_detector(config.replace(**{"detections": detections, "image": image, **changes}))
    rng = np.random.default_rng(0)
    detector.rpn_head.objectness.kernel.assign(rng.normal(0, 0.2, detector.rpn_head.objectness.kernel.shape))
    detector.rpn_head.deltas.kernel.assign(rng.normal(0, 0.02, detector.rpn_head.deltas.kernel.shape))
    for layer, output in ((detector.box_head.classifier, 0), (detector.box_head.regressor, 1)):
        layer.kernel.assign(rng.normal(0, 0.01, layer.kernel.shape))
        values = head_outputs(detector)[output].numpy()
        values = values.reshape(-1, layer.kernel.shape[1])
        layer.kernel.assign(layer.kernel / values.std(0) * 1.5)
        layer.bias.assign(-values.mean(0) / values.std(0) * 1.5)
    return detector


def head_outputs(detector):
    size = detector.config.image.static_size or (128, 192)
    images, sizes = picture(1, *size).astype(np.float32), tf.constant([size], tf.float32)
    features = detector.extract_features(images, sizes)
    proposals = detector.proposal_layer(
        *detector.rpn_head(features), detector.anchor_generator(features, images), sizes
    )
    return detector.box_head(detector.roi_pooling(features[: len(detector.roi_pooling.strides)], proposals["boxes"]))


def picture(*shape, seed=0):
    """Smooth blobs: what resizing does to white noise says little."""
    rng = np.random.default_rng(seed)
    batch, height, width = shape
    coarse = rng.uniform(0, 255, (batch, 8, 8, 3)).astype(np.float32)
    return np.clip(tf.image.resize(coarse, (height, width), "bicubic"), 0, 255).astype(np.uint8)


def expected(detector, images, classes):
    """The Keras model's answer in the contract's form."""
    sizes = np.tile(np.float32(images.shape[1:3]), (len(images), 1))
    found = contract.to_contract(detector(images.astype(np.float32)), sizes, tf.constant(classes, tf.float32))
    return {name: value.numpy() for name, value in found.items()}


def assert_same_detections(found, wanted, size, threshold=0.2):
    """One to one, whatever the order: scores that differ by rounding may swap."""
    scale = np.tile(np.float32(size), 2)
    for i, count in enumerate(wanted["num_detections"].astype(int)):
        left = list(range(int(found["num_detections"][i])))
        for j in range(count):
            close = [
                k
                for k in left
                if found["detection_classes"][i, k] == wanted["detection_classes"][i, j]
                and abs(found["detection_scores"][i, k] - wanted["detection_scores"][i, j]) < 1e-3
                and np.all(abs(found["detection_boxes"][i, k] - wanted["detection_boxes"][i, j]) * scale < 0.05)
            ]
            if close:
                left.remove(close[0])
            else:
                assert wanted["detection_scores"][i, j] < threshold + 1e-3, f"{j} of image {i} is missing"
        assert all(found["detection_scores"][i, k] < threshold + 1e-3 for k in left)


@pytest.fixture(scope="module")
def detector():
    return make_detector()


@pytest.fixture(scope="module")
def path(detector, tmp_path_factory):
    return to_onnx(detector, tmp_path_factory.mktemp("onnx") / "tiny.onnx")


@pytest.fixture(scope="module")
def runtime(path):
    return OnnxRuntime(path, threads=1)


def test_names_types_and_axes_are_the_contracts(path):
    graph = onnx.load(path).graph

    def signature(value):
        tensor = value.type.tensor_type
        return value.name, tensor.elem_type, [d.dim_param or d.dim_value for d in tensor.shape.dim]

    float32, uint8 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8
    assert [signature(value) for value in graph.input] == [("images", uint8, ["batch", "height", "width", 3])]
    assert [signature(value) for value in graph.output] == [
        ("detection_boxes", float32, ["batch", 100, 4]),
        ("detection_classes", float32, ["batch", 100]),
        ("detection_scores", float32, ["batch", 100]),
        ("num_detections", float32, ["batch"]),
    ]
    assert tuple(value.name for value in graph.output) == OUTPUTS


def test_the_graph_is_valid_with_shapes_inferred_and_has_neither_loop_nor_foreign_operator(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    operators = {node.op_type for node in model.graph.node}
    assert {node.domain for node in model.graph.node} == {""}
    assert not operators & {"Loop", "Scan", "If", "PyFunc"}
    assert {"NonMaxSuppression", "RoiAlign", "Where"} <= operators


def test_the_description_and_the_categories_are_in_the_file(path, runtime):
    properties = {entry.key: json.loads(entry.value) for entry in onnx.load(path).metadata_props}
    assert properties["categories"] == {"3": "cat", "90": "dög", "7": "bird"}
    assert properties["tfrcnn"] == runtime.description
    assert runtime.description["format"] == "onnx"
    assert runtime.description["detections"]["max_detections"] == 100
    assert onnx_runtime.FORMAT == contract.FORMAT


@pytest.mark.parametrize(
    "shape", [(1, 128, 128), (1, 90, 120), (2, 300, 170), (3, 64, 500), (1, 640, 480), (1, 1, 50), (2, 33, 1)]
)
def test_it_detects_what_keras_detects_at_sizes_never_traced(detector, runtime, shape):
    images = picture(*shape)
    found, wanted = runtime.run(images), expected(detector, images, [3, 90, 7])
    assert [(k, v.dtype, v.shape) for k, v in found.items()] == [(k, v.dtype, v.shape) for k, v in wanted.items()]
    if min(shape[1:]) > 50:
        assert wanted["num_detections"].min() > 5
    assert_same_detections(found, wanted, images.shape[1:3])


def test_an_image_gives_the_same_alone_and_in_a_batch(runtime):
    images = np.concatenate([picture(1, 100, 140, seed=s) for s in range(3)])
    together = runtime.run(images)
    for i in range(3):
        alone = {name: value[0] for name, value in runtime.run(images[i : i + 1]).items()}
        for name, value in alone.items():
            np.testing.assert_allclose(together[name][i], value, atol=1e-5)


def test_a_static_network_size_takes_any_image_and_options_reach_the_graph(tmp_path):
    detector = make_detector()
    path = to_onnx(detector, tmp_path / "a.onnx", (96, 160), max_detections=7, score_threshold=0.3, opset=18)
    runtime = OnnxRuntime(path)
    assert runtime.description["image"]["static_size"] == [96, 160]
    same = contract.prepare(detector, (96, 160), 7, 0.3)
    for shape in ((1, 50, 200), (2, 200, 50)):
        images = picture(*shape)
        found = runtime.run(images)
        assert found["detection_boxes"].shape == (shape[0], 7, 4)
        assert_same_detections(found, expected(same, images, [3, 90, 7]), shape[1:], threshold=0.3)
    assert {entry.version for entry in onnx.load(path).opset_import if not entry.domain} == {18}


@pytest.mark.parametrize("head", [HeadConfig(convs=(16,), units=(32,)), HeadConfig(units=(32,), aligned=True)])
def test_every_kind_of_head_takes_the_crops_in_its_own_order(tmp_path, head):
    detector = make_detector(head=head)
    runtime = OnnxRuntime(to_onnx(detector, tmp_path / "a.onnx"))
    images = picture(2, 128, 150)
    wanted = expected(detector, images, [3, 90, 7])
    assert wanted["num_detections"].min() > 5
    assert_same_detections(runtime.run(images), wanted, images.shape[1:3])


@pytest.mark.parametrize(("divisor", "cut"), [(32, False), (16, False), (4, True)])
def test_a_coarse_map_is_cut_only_where_maps_are_rounded(tmp_path, divisor, cut):
    """Strides 4, 8 and 16: of 100 x 132 pixels, in multiples of 4, maps of 25 x 33, 13 x 17 and 7 x 9."""
    image = ImageConfig(100, 256, divisor=divisor)
    detector = make_detector(image=image)
    assert detector.fpn.strides == (4, 8, 16)
    path = to_onnx(detector, tmp_path / "a.onnx")
    graph = onnx.load(path).graph
    users = {name: node.op_type for node in graph.node for name in node.input}
    doubled = [node for node in graph.node if node.op_type == "Resize" and "fpn" in node.name]
    assert [users[node.output[0]] for node in doubled] == 2 * ["Slice" if cut else "Add"]
    images = picture(2, 100, 132)
    wanted = expected(detector, images, [3, 90, 7])
    assert wanted["num_detections"].min() > 5
    assert_same_detections(OnnxRuntime(path).run(images), wanted, images.shape[1:3])


def test_maps_of_unpadded_convolutions_are_cut():
    detector = make_detector()
    assert onnx_operators._halves_exactly(detector)
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(2, 3, 4)(inputs)  # of 256 rows 64, but then 31
    maps = [x, keras.layers.Conv2D(2, 3, 2)(x), keras.layers.Conv2D(2, 3, 4, "same")(x)]
    detector.backbone = keras.Model(inputs, maps)
    assert not onnx_operators._halves_exactly(detector)


def test_roi_pool_is_one_max_roi_pool_that_finds_what_keras_finds(tmp_path):
    head = HeadConfig(pooling="roi_pool", units=(32,))
    detector = make_detector(head=head, fpn=None, anchors=AnchorConfig(sizes=((16.0, 32.0, 64.0),)))
    path = to_onnx(detector, tmp_path / "a.onnx")
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert operators.count("MaxRoiPool") == 1
    assert not set(operators) & {"Loop", "Scan", "If", "PyFunc"}
    images = picture(2, 128, 150)
    wanted = expected(detector, images, [3, 90, 7])
    assert wanted["num_detections"].min() > 5
    assert_same_detections(OnnxRuntime(path).run(images), wanted, images.shape[1:3])


def test_exporting_leaves_the_detector_as_it_was(detector, runtime):
    assert_same_detections(
        runtime.run(picture(1, 99, 99)), expected(detector, picture(1, 99, 99), [3, 90, 7]), (99, 99)
    )
    again = make_detector()
    for one, other in zip(detector.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_no_detection_is_a_count_of_zero_and_zeros(tmp_path):
    detector = make_detector()
    path = to_onnx(detector, tmp_path / "a.onnx", score_threshold=0.9999)
    found = OnnxRuntime(path).run(np.zeros((2, 70, 80, 3), np.uint8))
    assert found["num_detections"].tolist() == [0, 0]
    assert not any(np.any(value) for value in found.values())


def test_float_images_are_rounded(runtime):
    images = picture(1, 80, 80)
    for name, value in runtime.run(images.astype(np.float32) + 0.3).items():
        np.testing.assert_array_equal(value, runtime.run(images)[name])


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_the_native_nms_is_the_layers_own(data):
    """The graph behind ONNX's operator, with that operator played by numpy."""
    from tfrcnn.export.onnx import kernels as onnx_operators
    from tfrcnn.layers.nms import batched_nms

    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    sets, count, limit = (data.draw(st.integers(1, most)) for most in (4, 12, 8))
    corners = rng.integers(0, 20, (sets, count, 2))
    boxes = tf.constant(np.concatenate([corners, corners + 8], -1), tf.float32)
    scores = tf.constant(np.sort(rng.random((sets, count)))[:, ::-1], tf.float32)
    indices, counts = (value.numpy() for value in batched_nms(boxes, scores > 0.3, limit, 0.4))
    rows = [(s, 0, indices[s, k]) for s in range(sets) for k in range(counts[s])]

    def operator(op_type, inputs, dtype, **_):
        assert (op_type, [list(x.shape) for x in inputs[:2]]) == (
            "NonMaxSuppression",
            [[sets, count, 4], [sets, 1, count]],
        )
        return tf.reshape(tf.constant(rows, dtype), [-1, 3])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_operators, "operator", operator)
        again = onnx_operators.nms(boxes, scores, limit, 0.4, 0.3)
    np.testing.assert_array_equal(again[0], indices)
    np.testing.assert_array_equal(again[1], counts)


@pytest.fixture
def reconverted(path, monkeypatch):
    """Exports of the module's detector in other precisions, without the minute of converting it again."""
    monkeypatch.setattr("tfrcnn.export.onnx.writer._trace", lambda *_: onnx.load(path))


def types_of_weights(path, op_type):
    graph = onnx.load(path).graph
    names = {name for node in graph.node if node.op_type == op_type for name in node.input}
    return {tensor.data_type for tensor in graph.initializer if tensor.name in names}


def test_float16_is_half_the_size_and_detects_the_same_to_its_precision(detector, path, tmp_path, reconverted):
    half = to_onnx(detector, tmp_path / "half.onnx", precision="float16")
    assert half.stat().st_size < 0.55 * path.stat().st_size
    runtime = OnnxRuntime(half)
    assert runtime.description["precision"] == "float16"
    images = picture(2, 120, 160)
    found, wanted = runtime.run(images), OnnxRuntime(path).run(images)
    assert {value.dtype.name for value in found.values()} == {"float32"}
    assert abs(found["num_detections"] - wanted["num_detections"]).max() <= 3
    np.testing.assert_allclose(found["detection_scores"][:, :5], wanted["detection_scores"][:, :5], atol=0.02)


def test_float16_stops_at_the_layers_that_score_and_at_geometry(detector, tmp_path, reconverted):
    model = onnx.load(to_onnx(detector, tmp_path / "half.onnx", precision="float16"))
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    for node in model.graph.node:
        in_float16 = types.get(node.output[0]) == onnx.TensorProto.FLOAT16
        if node.op_type == "Conv":
            assert in_float16 != any(layer in node.name for layer in ("/objectness", "/deltas"))
        if node.op_type in ("RoiAlign", "NonMaxSuppression", "TopK", "Softmax", "Exp"):
            assert not in_float16


def test_int8_has_8_bit_weights_in_a_third_of_the_size_and_finds_much_the_same(detector, path, tmp_path, reconverted):
    images = [picture(1, 96 + 16 * i, 128, seed=i)[0] for i in range(6)]
    small = to_onnx(detector, tmp_path / "int8.onnx", precision="int8", representative=images)
    assert small.stat().st_size < 0.4 * path.stat().st_size
    assert onnx.TensorProto.INT8 in types_of_weights(small, "DequantizeLinear")
    runtime = OnnxRuntime(small)
    assert runtime.description["precision"] == "int8"
    found, wanted = runtime.run(images[2][None]), OnnxRuntime(path).run(images[2][None])
    assert abs(found["num_detections"][0] / wanted["num_detections"][0] - 1) < 0.3
    assert {entry.key for entry in onnx.load(small).metadata_props} == {"tfrcnn", "categories"}


def test_convolutions_of_the_stem_are_known_by_their_kernels_whatever_tf2onnx_calls_them():
    make, tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
    kernel = np.zeros((1, 1, 1, 1), np.float32)
    nodes = [make("Conv", [f"x{i}", f"a/backbone/conv{i}/convolution"], [f"x{i + 1}"], f"Conv__{i}") for i in range(5)]
    nodes.append(make("Conv", ["x5", "a/fpn/lateral0/convolution"], ["x6"], "Conv__5"))
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, 8, 8]) for name in ("x0", "x6")]
    weights = [tensor(kernel, node.input[1]) for node in nodes]
    graph = onnx.helper.make_graph(nodes, "a", ends[:1], ends[1:], weights)
    model = onnx.helper.make_model(graph)
    assert stem_nodes(model, body_nodes(model)) == {"Conv__0", "Conv__1", "Conv__2"}


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "needs representative images, found none"),
        ([np.zeros((9, 9, 3), np.float32)], r"image 1 must be .* uint8, found \[9, 9, 3\] float32"),
        ([np.zeros((9, 9), np.uint8)], r"found \[9, 9\] uint8"),
    ],
)
def test_images_that_int8_cannot_measure_are_refused(detector, tmp_path, reconverted, images, message):
    with pytest.raises(InputError, match=message):
        to_onnx(detector, tmp_path / "a.onnx", precision="int8", representative=images)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "float64"}, "precision of ONNX must be one of float32, float16, int8, found 'float64'"),
        ({"precision": "int8"}, "int8 needs representative images"),
        ({"opset": 15}, "opset must be one of 16, 17, 18, found 15"),
        ({"image_size": (100, 96)}, "multiples of 32"),
        ({"score_threshold": 2.0}, "score_threshold"),
    ],
)
def test_an_option_that_cannot_be_is_one_clear_error_and_no_file(detector, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        to_onnx(detector, tmp_path / "a.onnx", **options)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(detector, tmp_path):
    (tmp_path / "a.onnx").write_text("mine")
    with pytest.raises(InputError, match=r"a\.onnx exists already"):
        to_onnx(detector, tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_text() == "mine"


def test_an_export_that_fails_leaves_nothing(detector, path, tmp_path, monkeypatch):
    monkeypatch.setattr("tfrcnn.export.onnx.writer._trace", lambda *_: onnx.load(path))
    monkeypatch.setattr("onnx.checker.check_model", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        to_onnx(detector, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


WEIGHTS = """
import resource
import numpy as np, tensorflow as tf, tf2onnx
from tfrcnn.export.onnx.writer import _mended_tf2onnx

random = np.random.default_rng(0)
weights = [tf.Variable(random.random((1024, 2048), np.float32)) for _ in range(8)]  # 8 MiB each
function = tf.function(lambda x: [x @ w for w in weights], input_signature=[tf.TensorSpec([1, 1024])])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
with _mended_tf2onnx():
    model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=17)
assert len(model.graph.initializer) == 8
print((peak() - before) / 64)
"""


def test_a_number_added_to_a_convolution_without_a_bias_leaves_no_transposes():
    kernel = tf.random.normal([3, 3, 3, 3])

    def network(images):
        features = tf.nn.relu(tf.nn.conv2d(images, kernel, 1, "SAME") + 3.0)
        return tf.nn.conv2d(features, kernel, 1, "SAME")

    function = tf.function(network, input_signature=[tf.TensorSpec([None, None, None, 3])])
    with _mended_tf2onnx():
        model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=17)
    assert [node.op_type for node in model.graph.node].count("Transpose") == 3  # of input, output and kernel


def test_tensorflows_hard_swish_becomes_onnxs():
    def network(images):
        return tf.stack([keras.activations.hard_silu(images), keras.activations.hard_sigmoid(-images)])

    function = tf.function(network, input_signature=[tf.TensorSpec([None, None, None, 3])])
    model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=17)
    onnx_graph.fuse_hard_swish(model)
    operators = [node.op_type for node in model.graph.node]
    assert (operators.count("HardSwish"), operators.count("HardSigmoid"), operators.count("Clip")) == (1, 1, 0)


@pytest.mark.slow
def test_the_converter_does_not_pile_up_copies_of_the_weights():
    """At its peak it holds 32 times their size, most of it in TensorFlow's own freezing; without our care, 46 times."""
    process = subprocess.run([sys.executable, "-c", WEIGHTS], capture_output=True, text=True, check=True)
    assert float(process.stdout) < 38, process.stdout


def test_files_that_cannot_be_run_are_named(path, tmp_path):
    with pytest.raises(InputError, match=r"none\.onnx: no such file"):
        OnnxRuntime(tmp_path / "none.onnx")
    for name, content in (("half", path.read_bytes()[:-1000]), ("empty", b""), ("text", b"PK\x03\x04 not a model")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: "):
            OnnxRuntime(tmp_path / name)
    model = onnx.load(path)
    for value, message in (("{}", "tfrcnn_export must be 1"), ("no", "none that tfrcnn exported")):
        onnx.helper.set_model_props(model, {"tfrcnn": value})
        onnx.save(model, tmp_path / "foreign.onnx")
        with pytest.raises(InputError, match=rf"foreign\.onnx: .*{message}"):
            OnnxRuntime(tmp_path / "foreign.onnx")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 4, 3), np.uint8), r"must be \[B, H, W, 3\]"),
        (np.zeros((1, 4, 4, 1), np.uint8), r"found \[1, 4, 4, 1\]"),
        (np.zeros((0, 4, 4, 3), np.uint8), "none of them 0"),
        (np.zeros((1, 4, 4, 3), np.int64), "found int64"),
    ],
)
def test_images_of_another_form_are_refused(runtime, images, message):
    with pytest.raises(InputError, match=message):
        runtime.run(images)


def test_threads_must_be_positive(path):
    with pytest.raises(InputError, match="at least 1"):
        OnnxRuntime(path, threads=0)


def bare_environment(folder, *packages):
    """A Python with these packages and nothing else: tfrcnn and TensorFlow must not be seen."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True, capture_output=True)
    return python


BARE = """
import importlib.util, json, sys
import numpy as np
assert not any(map(importlib.util.find_spec, ("tfrcnn", "tensorflow", "keras")))
stored = np.load(sys.argv[2])
"""
ONNX_RUNTIME = """
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
assert json.loads(session.get_modelmeta().custom_metadata_map["categories"])["90"] == "dög"
names = [output.name for output in session.get_outputs()]
run = lambda images: dict(zip(names, session.run(None, {"images": images})))
"""
OPENVINO = """
import openvino
model = openvino.Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
run = lambda images: {output.any_name: value for output, value in model(images).items()}
"""
COMPARE = """
for i in range(3):
    found = run(stored[f"images{i}"])
    for name in ("num_detections", "detection_classes", "detection_scores", "detection_boxes"):
        np.testing.assert_allclose(found[name], stored[f"{name}{i}"], atol=1e-3, err_msg=f"{name} {i}")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("package", "load"), [("onnxruntime", ONNX_RUNTIME), ("openvino", OPENVINO)])
def test_it_runs_where_only_the_runtime_is_installed(path, runtime, tmp_path, package, load):
    stored = {}
    for i, shape in enumerate([(1, 120, 160), (2, 200, 90), (1, 64, 64)]):
        images = picture(*shape)
        stored |= {f"images{i}": images, **{f"{k}{i}": v for k, v in runtime.run(images).items()}}
    np.savez(tmp_path / "x.npz", **stored)
    python = bare_environment(tmp_path / "venv", "numpy", package)
    command = [python, "-I", "-c", BARE + load + COMPARE, path, tmp_path / "x.npz"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_the_runtime_imports_no_tensorflow():
    script = "import sys, tfrcnn.export.onnx.runtime; assert not {'tensorflow', 'keras', 'onnx'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
