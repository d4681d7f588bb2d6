"""The ONNX file: its contract, and the Keras model's detections at sizes never traced."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrcnn.config import AnchorConfig, HeadConfig, ImageConfig
from tfrcnn.errors import InputError
from tfrcnn.export import contract
from tfrcnn.export.artefact import OUTPUTS
from tfrcnn.export.onnx import kernels as onnx_operators
from tfrcnn.export.onnx import to_onnx
from tfrcnn.export.onnx.runtime import OnnxRuntime
from tfrcnn.kernels import TENSORFLOW

from .detectors import assert_same_detections, expected, make_detector, picture

onnx = pytest.importorskip("onnx")


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


def test_no_resize_has_an_empty_tensor_that_tools_misread(path):
    graph = onnx.load(path).graph
    empty = {tensor.name for tensor in graph.initializer if 0 in tensor.dims}
    resizes = [list(node.input) for node in graph.node if node.op_type == "Resize"]
    assert len(resizes) == 3
    assert not empty.intersection(*resizes)
    assert all(names[1] == "" for names in resizes)


def test_the_description_and_the_categories_are_in_the_file(path, runtime):
    properties = {entry.key: json.loads(entry.value) for entry in onnx.load(path).metadata_props}
    assert properties["categories"] == {"3": "cat", "90": "dög", "7": "bird"}
    assert properties["tfrcnn"] == runtime.description
    assert runtime.description["format"] == "onnx"
    assert runtime.description["detections"]["max_detections"] == 100


@pytest.mark.parametrize(
    "shape", [(1, 128, 128), (1, 90, 120), (2, 300, 170), (3, 64, 500), (1, 640, 480), (1, 1, 50), (2, 33, 1)]
)
def test_it_detects_what_keras_detects_at_sizes_never_traced(detector, runtime, shape):
    images = picture(*shape)
    outputs, reference = runtime.run(images), expected(detector, images, [3, 90, 7])
    assert [(k, v.dtype, v.shape) for k, v in outputs.items()] == [(k, v.dtype, v.shape) for k, v in reference.items()]
    if min(shape[1:]) > 50:
        assert reference["num_detections"].min() > 5
    assert_same_detections(outputs, reference, images.shape[1:3])


def test_an_image_gives_the_same_alone_and_in_a_batch(runtime):
    images = np.concatenate([picture(1, 100, 140, seed=s) for s in range(3)])
    together = runtime.run(images)
    for i in range(3):
        alone = {name: value[0] for name, value in runtime.run(images[i : i + 1]).items()}
        for name, value in alone.items():
            np.testing.assert_allclose(together[name][i], value, atol=1e-5)


@pytest.mark.slow
def test_a_static_network_size_takes_any_image_and_options_reach_the_graph(tmp_path):
    detector = make_detector()
    path = to_onnx(detector, tmp_path / "a.onnx", (96, 160), max_detections=7, score_threshold=0.3, opset=18)
    runtime = OnnxRuntime(path)
    assert runtime.description["image"]["static_size"] == [96, 160]
    same = contract.prepare(detector, (96, 160), 7, 0.3)
    for shape in ((1, 50, 200), (2, 200, 50)):
        images = picture(*shape)
        outputs = runtime.run(images)
        assert outputs["detection_boxes"].shape == (shape[0], 7, 4)
        assert_same_detections(outputs, expected(same, images, [3, 90, 7]), shape[1:], threshold=0.3)
    assert {entry.version for entry in onnx.load(path).opset_import if not entry.domain} == {18}


@pytest.mark.slow
@pytest.mark.parametrize("head", [HeadConfig(convs=(16,), units=(32,)), HeadConfig(units=(32,), aligned=True)])
def test_every_kind_of_head_takes_the_crops_in_its_own_order(tmp_path, head):
    detector = make_detector(head=head)
    runtime = OnnxRuntime(to_onnx(detector, tmp_path / "a.onnx"))
    images = picture(2, 128, 150)
    reference = expected(detector, images, [3, 90, 7])
    assert reference["num_detections"].min() > 5
    assert_same_detections(runtime.run(images), reference, images.shape[1:3])


@pytest.mark.slow
@pytest.mark.parametrize(("divisor", "cut"), [(32, False), pytest.param(16, False, marks=pytest.mark.soak), (4, True)])
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
    reference = expected(detector, images, [3, 90, 7])
    assert reference["num_detections"].min() > 5
    assert_same_detections(OnnxRuntime(path).run(images), reference, images.shape[1:3])


def test_maps_of_unpadded_convolutions_are_cut():
    detector = make_detector()
    assert onnx_operators._halves_exactly(detector)
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(2, 3, 4)(inputs)  # of 256 rows 64, but then 31
    maps = [x, keras.layers.Conv2D(2, 3, 2)(x), keras.layers.Conv2D(2, 3, 4, "same")(x)]
    detector.backbone = keras.Model(inputs, maps)
    assert not onnx_operators._halves_exactly(detector)


@pytest.mark.slow
def test_roi_pool_is_one_max_roi_pool_that_finds_what_keras_finds(tmp_path):
    head = HeadConfig(pooling="roi_pool", units=(32,))
    detector = make_detector(head=head, fpn=None, anchors=AnchorConfig(sizes=((16.0, 32.0, 64.0),)))
    path = to_onnx(detector, tmp_path / "a.onnx")
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert operators.count("MaxRoiPool") == 1
    assert not set(operators) & {"Loop", "Scan", "If", "PyFunc"}
    images = picture(2, 128, 150)
    reference = expected(detector, images, [3, 90, 7])
    assert reference["num_detections"].min() > 5
    assert_same_detections(OnnxRuntime(path).run(images), reference, images.shape[1:3])


def test_exporting_leaves_the_detector_as_it_was(detector, runtime):
    assert_same_detections(
        runtime.run(picture(1, 99, 99)), expected(detector, picture(1, 99, 99), [3, 90, 7]), (99, 99)
    )
    again = make_detector()
    for one, other in zip(detector.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_no_detection_is_a_count_of_zero_and_zeros(tmp_path):
    detector = make_detector()
    detector.box_head.classifier.bias.assign([0, 0, 0, 100])  # background, the last, is certain
    path = to_onnx(detector, tmp_path / "a.onnx")
    outputs = OnnxRuntime(path).run(np.zeros((2, 70, 80, 3), np.uint8))
    assert outputs["num_detections"].tolist() == [0, 0]
    assert not any(np.any(value) for value in outputs.values())


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_the_nms_of_onnx_is_tensorflows(data):
    """The graph behind ONNX's operator, with that operator played by numpy."""
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    sets, count, limit = (data.draw(st.integers(1, most)) for most in (4, 12, 8))
    corners = rng.integers(0, 20, (sets, count, 2))
    boxes = tf.constant(np.concatenate([corners, corners + 8], -1), tf.float32)
    scores = tf.constant(np.sort(rng.random((sets, count)))[:, ::-1], tf.float32)
    reference = TENSORFLOW.nms(boxes, scores, scores > 0.3, limit, 0.4)
    indices, counts = reference.indices.numpy(), reference.counts.numpy()
    rows = [(s, 0, indices[s, k]) for s in range(sets) for k in range(counts[s])]

    def operator(op_type, inputs, dtype, **_):
        assert (op_type, [list(x.shape) for x in inputs[:2]]) == (
            "NonMaxSuppression",
            [[sets, count, 4], [sets, 1, count]],
        )
        return tf.reshape(tf.constant(rows, dtype), [-1, 3])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_operators, "operator", operator)
        again = onnx_operators.nms(boxes, scores, scores > 0.3, limit, 0.4)
    for one, other in zip(again, reference):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "float64"}, "precision of onnx must be one of float32, float16, int8, found 'float64'"),
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
    with pytest.raises(InputError, match=r"a\.onnx exists"):
        to_onnx(detector, tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_text() == "mine"


def test_an_export_that_fails_leaves_nothing(detector, path, tmp_path, monkeypatch):
    monkeypatch.setattr("tfrcnn.export.onnx.writer._trace", lambda *_: onnx.load(path))
    monkeypatch.setattr("onnx.checker.check_model", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        to_onnx(detector, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []
