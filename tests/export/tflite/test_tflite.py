"""A .tflite file: what is in it, and that it detects what the Keras model does."""

import json
import pickle
import subprocess
import venv
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn import images as image_ops
from tfrcnn.config import AnchorConfig, CascadeConfig, HeadConfig, ImageConfig
from tfrcnn.errors import InputError
from tfrcnn.export import load
from tfrcnn.export.artefact import OUTPUTS
from tfrcnn.export.check.differences import differences
from tfrcnn.export.check.tolerances import TOLERANCES
from tfrcnn.export.stages import run_stages
from tfrcnn.export.tflite import to_tflite
from tfrcnn.export.tflite.flatbuffer import operators
from tfrcnn.export.tflite.runtime import PADDING, TFLiteRuntime, letterbox
from tfrcnn.export.tflite.writer import stage_outputs, static_size
from tfrcnn.models import preset

from ..random_detectors import CATEGORIES, make_detector, make_image
from ..shared_use import PICTURES, assert_threads_can_share, in_forked_child

SIDE = 640  # the tolerance of boxes is stated at this size


@pytest.fixture(scope="module")
def detector():
    return make_detector()


@pytest.fixture(scope="module")
def path(detector, tmp_path_factory):
    return to_tflite(detector, tmp_path_factory.mktemp("export") / "a.tflite")


@pytest.fixture(scope="module")
def runtime(path):
    return TFLiteRuntime(path, threads=1)


def assert_same(detector, runtime, image, boxes=0.05, scores=1e-3):
    """Every detection of one is one of the other's, boxes compared at `SIDE` pixels."""
    expected, outputs = detector(image.astype(np.float32)), runtime.run(image)
    count = int(expected["num_detections"][0])
    assert outputs["num_detections"].tolist() == [count]
    assert not any(outputs[name][0, count:].any() for name in OUTPUTS[:3])
    reference = expected["boxes"][0, :count].numpy() / np.tile(image.shape[1:3], 2)
    distance = np.abs(reference[:, None] - outputs["detection_boxes"][0, None, :count]).max(-1)
    different_label = expected["labels"][0, :count].numpy()[:, None] != outputs["detection_classes"][0, None, :count]
    match = (distance + different_label).argmin(1)
    assert sorted(match) == list(range(count))
    assert (distance + different_label)[np.arange(count), match].max(initial=0) * SIDE < boxes
    error = np.abs(expected["scores"][0, :count].numpy() - outputs["detection_scores"][0][match])
    assert error.max(initial=0) < scores
    return count


@pytest.mark.parametrize("size", [(150, 120), (160, 192), (40, 300), (500, 400), (1, 7)])
def test_the_file_detects_what_the_keras_model_does_in_images_of_any_size(detector, runtime, size):
    assert assert_same(detector, runtime, make_image(*size)) > 0


def test_the_contract_is_kept(runtime):
    outputs = runtime.run(np.concatenate([make_image(), make_image(seed=1)]))
    assert tuple(outputs) == OUTPUTS
    assert {name: (value.shape, value.dtype.name) for name, value in outputs.items()} == {
        "detection_boxes": ((2, 60, 4), "float32"),
        "detection_classes": ((2, 60), "float32"),
        "detection_scores": ((2, 60), "float32"),
        "num_detections": ((2,), "float32"),
    }
    for i, count in enumerate(outputs["num_detections"].astype(int)):
        assert count > 10
        boxes, scores = outputs["detection_boxes"][i, :count], outputs["detection_scores"][i, :count]
        assert np.all(np.diff(scores) <= 0)
        assert np.all((boxes >= 0) & (boxes <= 1))
        assert np.all(boxes[:, :2] < boxes[:, 2:])
        assert set(outputs["detection_classes"][i]) <= {0.0, 1.0}


def test_uint8_and_float_images_are_the_same(runtime):
    image = make_image()
    for one, other in zip(runtime.run(image).values(), runtime.run(image.astype(np.float32)).values()):
        np.testing.assert_array_equal(one, other)


def test_an_image_stretched_over_the_input_needs_no_padding(detector, runtime):
    """MediaPipe stretches: the network takes all of its input as image."""
    image = make_image(160, 192)
    expected = detector.network([image.astype(np.float32), np.array([[160.0, 192.0]])])
    outputs = runtime.run(image)
    count = int(expected["num_detections"][0])
    boxes = outputs["detection_boxes"][0, :count] * [160, 192, 160, 192]
    np.testing.assert_allclose(boxes, expected["boxes"][0, :count], atol=1e-2)


@pytest.mark.slow
def test_an_image_in_which_nothing_is_found_gives_zeros(tmp_path):
    detector = make_detector(score_threshold=0.5)
    detector.box_head.classifier.bias.assign([0.0, 0.0, 1e4])  # all background
    outputs = TFLiteRuntime(to_tflite(detector, tmp_path / "a.tflite")).run(make_image())
    assert not any(value.any() for value in outputs.values())


@pytest.mark.slow
def test_one_category_and_five_hundred_slots_and_another_size(tmp_path):
    detector = make_detector()
    one = make_detector(categories=CATEGORIES[:1])
    path = to_tflite(one, tmp_path / "a.tflite", (96, 128), max_detections=500, score_threshold=0.1)
    runtime = TFLiteRuntime(path)
    assert runtime.size == (96, 128)
    outputs = runtime.run(make_image())
    assert outputs["detection_boxes"].shape == (1, 500, 4)
    scores = outputs["detection_scores"][0, : int(outputs["num_detections"][0])]
    assert scores.min() > 0.1
    assert runtime.description["detections"]["max_detections"] == 500
    assert detector.config.detections.max_detections == 60


def test_without_a_static_size_the_input_is_a_square_of_min_size():
    assert static_size(ImageConfig(320, 640)) == (320, 320)
    assert static_size(ImageConfig(600, 1000, divisor=32)) == (608, 608)
    assert static_size(ImageConfig(static_size=(64, 96))) == (64, 96)


@pytest.mark.parametrize(("height", "width"), [(150, 120), (160, 192), (7, 1000), (1, 1), (333, 320), (1000, 999)])
def test_the_letterbox_is_that_of_the_graph(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    expected = image_ops.resize(tf.constant(image), ImageConfig(static_size=(160, 192))).numpy()
    frame = letterbox(image, (160, 192))
    rows, columns = expected.shape[:2]
    np.testing.assert_allclose(frame[:rows, :columns], expected, atol=1e-4)
    assert np.all(frame[rows:] == PADDING)
    assert np.all(frame[:, columns:] == PADDING)


def test_operators_are_built_in_and_none_keeps_a_variable(path):
    table = operators(path)
    kinds = {row["op"] for row in table}
    assert {"CONV_2D", "FULLY_CONNECTED", "NON_MAX_SUPPRESSION_V4", "TOPK_V2"} <= kinds
    assert not kinds & {"CUSTOM", "VAR_HANDLE", "READ_VARIABLE", "WHILE", "DELEGATE"}
    assert sum(row["count"] for row in table if row["op"] == "NON_MAX_SUPPRESSION_V4") == 4 + len(CATEGORIES)
    assert {row["dtypes"] for row in table if row["op"] == "CONV_2D"} == {"float32 [float32] -> float32"}


def test_outputs_are_in_order_and_named_and_nothing_else_is_fed(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    assert [one["name"] for one in interpreter.get_output_details()] == list(OUTPUTS)
    assert [(one["name"], one["shape"].tolist()) for one in interpreter.get_input_details()] == [
        ("image", [1, 160, 192, 3])
    ]


def test_labels_and_description_are_inside(path, runtime):
    with zipfile.ZipFile(path) as files:
        assert files.read("labels.txt").decode() == "cat\nbig dog\n"
        assert json.loads(files.read("tfrcnn.json")) == runtime.description
    assert runtime.description["format"] == "tflite"
    assert runtime.description["classes"] == "labels"
    assert runtime.description["categories"][1] == {"id": 90, "name": "big dog"}


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "smaller", "scores"), [("float16", 1.9, 0.01), ("dynamic", 3, 0.2)])
def test_smaller_precisions_find_the_same_best_box(detector, path, tmp_path, precision, smaller, scores):
    small = to_tflite(detector, tmp_path / "a.tflite", precision=precision)
    assert path.stat().st_size > smaller * small.stat().st_size
    runtime = TFLiteRuntime(small)
    assert runtime.description["precision"] == precision
    outputs, expected = runtime.run(make_image()), detector(make_image().astype(np.float32))
    np.testing.assert_allclose(outputs["detection_scores"][0, 0], expected["scores"][0, 0], atol=scores)


@pytest.mark.slow
def test_int8_computes_the_network_in_8_bits_and_boxes_in_float32(detector, path, tmp_path):
    images = [make_image(seed=seed)[0] for seed in range(8)]
    small = to_tflite(detector, tmp_path / "a.tflite", precision="int8", representative=iter(images))
    assert path.stat().st_size > 3 * small.stat().st_size
    table = operators(small)
    convolutions = {}
    for row in table:
        kind = "float32" if "float32" in row["dtypes"].split(" -> ")[1] else "int8"
        convolutions[row["op"], kind] = convolutions.get((row["op"], kind), 0) + row["count"]
    # four levels of objectness and deltas, and the stem; the two of the head's outputs
    assert convolutions["CONV_2D", "float32"] == 4 * 2 + 3
    assert convolutions["CONV_2D", "int8"] > 8
    assert convolutions["FULLY_CONNECTED", "float32"] == 2
    assert convolutions["FULLY_CONNECTED", "int8"] == 1
    for op in ("NON_MAX_SUPPRESSION_V4", "TOPK_V2", "EXP", "SOFTMAX", "LOGISTIC"):
        assert not any("int8" in row["dtypes"] for row in table if row["op"] == op)
    outputs, expected = TFLiteRuntime(small).run(images[0][None]), detector(images[0][None].astype(np.float32))
    assert outputs["num_detections"][0] > 10
    np.testing.assert_allclose(outputs["detection_scores"][0, 0], expected["scores"][0, 0], atol=0.2)


@pytest.mark.slow
def test_the_stages_of_int8_are_rounded_and_near(detector):
    picture = make_image(160, 192)[0]
    rounded = stage_outputs(detector, "int8", [picture], picture)
    exact = run_stages(detector, picture[None].astype(np.float32), tf.constant([[160.0, 192.0]]))
    outputs = differences(rounded, {name: value.numpy() for name, value in exact.items()})
    assert outputs["preprocessing"] < 1e-5  # not in 8 bits
    assert 1e-5 < outputs["backbone"] < TOLERANCES["int8"].stage
    assert 1e-5 < outputs["rpn"] < TOLERANCES["int8"].stage


@pytest.mark.slow
@pytest.mark.parametrize(
    ("representative", "message"), [(None, "int8 needs"), ([], "representative images, found none")]
)
def test_int8_without_representative_images_is_refused(detector, tmp_path, representative, message):
    with pytest.raises(InputError, match=message):
        to_tflite(detector, tmp_path / "a.tflite", precision="int8", representative=representative)
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_kept(detector, tmp_path):
    (tmp_path / "a.tflite").write_text("mine")
    with pytest.raises(InputError, match=r"a\.tflite exists"):
        to_tflite(detector, tmp_path / "a.tflite")
    assert (tmp_path / "a.tflite").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "precision of tflite must be one of float32, float16, dynamic, int8, found 'int4'"),
        ({"image_size": (100, 96)}, "multiples of 32"),
        ({"max_detections": 0}, "max_detections"),
    ],
)
def test_bad_options_are_refused_and_nothing_is_left(detector, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        to_tflite(detector, tmp_path / "a.tflite", **options)
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_fails_leaves_nothing(detector, tmp_path, monkeypatch):
    monkeypatch.setattr("tfrcnn.export.tflite.flatbuffer.finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setattr("tfrcnn.export.tflite.writer._convert", lambda *_: b"")
    with pytest.raises(KeyboardInterrupt):
        to_tflite(detector, tmp_path / "a.tflite")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_not_ours_are_refused_by_name(path, tmp_path):
    whole = path.read_bytes()
    spoilt = {
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"hello",
        "cut": whole[:-1],
        "without_metadata": whole[: whole.index(b"PK\x03\x04labels.txt"[:4])],
    }
    for name, content in spoilt.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: not exported by tfrcnn, or truncated"):
            TFLiteRuntime(tmp_path / name)
    with pytest.raises(InputError, match="missing: no such file"):
        TFLiteRuntime(tmp_path / "missing")
    with pytest.raises(InputError, match="missing: no such file"):
        operators(tmp_path / "missing")
    with pytest.raises(InputError, match="text: not a TensorFlow Lite model"):
        operators(tmp_path / "text")


def test_a_description_without_a_model_is_refused_by_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.tflite", "w") as files:
        files.writestr("tfrcnn.json", json.dumps({"tfrcnn_export": 1}))
    with pytest.raises(InputError, match=r"a\.tflite: LiteRT cannot run it"):
        TFLiteRuntime(tmp_path / "a.tflite")
    with zipfile.ZipFile(tmp_path / "b.tflite", "w") as files:
        files.writestr("tfrcnn.json", json.dumps({"tfrcnn_export": 2}))
    with pytest.raises(InputError, match="expected tfrcnn_export 1 in its description, found 2"):
        TFLiteRuntime(tmp_path / "b.tflite")


@pytest.mark.parametrize("shape", [(10, 10, 3), (1, 10, 10, 5), (1, 0, 10, 3), (0, 10, 10, 3)])
def test_images_of_another_shape_are_refused(runtime, shape):
    with pytest.raises(InputError, match=r"images must be \[B, H, W, 3\]"):
        runtime.run(np.zeros(shape, np.uint8))


def test_eight_threads_share_a_loaded_file_and_bad_images_disturb_no_one(path):
    assert_threads_can_share(load(path).detect)


def test_a_loaded_file_works_in_a_forked_child_and_is_pickled_as_its_path(path):
    detector = load(path)
    assert in_forked_child(lambda: detector.detect(PICTURES[0])) == "done"
    copy = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(copy.detect(PICTURES[0]).boxes, detector.detect(PICTURES[0]).boxes)


def make_environment(folder, *packages):
    """A virtual environment with these packages only; its python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True, capture_output=True)
    return python


@pytest.mark.slow
def test_the_file_runs_with_litert_and_numpy_alone(path, runtime, tmp_path):
    python = make_environment(tmp_path / "venv", "ai-edge-litert", "numpy")
    frame = letterbox(make_image()[0], runtime.size)[None]
    np.save(tmp_path / "frame.npy", frame)
    script = """if True:
        import importlib.util, sys
        import numpy as np
        from ai_edge_litert.interpreter import Interpreter
        assert not any(importlib.util.find_spec(name) for name in ("tfrcnn", "tensorflow", "keras"))
        interpreter = Interpreter(sys.argv[1])
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.load("frame.npy"))
        interpreter.invoke()
        outputs = interpreter.get_output_details()
        np.savez("found.npz", **{one["name"]: interpreter.get_tensor(one["index"]) for one in outputs})
    """
    subprocess.run([python, "-I", "-c", script, path], cwd=tmp_path, check=True)
    outputs = np.load(tmp_path / "found.npz")
    for name, value in runtime.run(make_image()).items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-5)


@pytest.mark.slow
def test_the_file_runs_unchanged_in_mediapipe(tmp_path):
    detector = make_detector(sharpness=2.0)
    path = to_tflite(detector, tmp_path / "a.tflite")
    python = make_environment(tmp_path / "venv", "mediapipe>=1.2")
    image = make_image(160, 192)  # as large as the input: MediaPipe resizes in a way of its own
    np.save(tmp_path / "image.npy", image[0])
    script = """if True:
        import json, sys
        import mediapipe, numpy
        from mediapipe.tasks.python import BaseOptions, vision
        options = vision.ObjectDetectorOptions(BaseOptions(model_asset_path=sys.argv[1]), score_threshold=0.0)
        with vision.ObjectDetector.create_from_options(options) as detector:
            image = mediapipe.Image(mediapipe.ImageFormat.SRGB, numpy.load("image.npy"))
            found = []
            for one in detector.detect(image).detections:
                box, category = one.bounding_box, one.categories[0]
                sides = box.origin_y, box.origin_x, box.height, box.width
                found.append([category.category_name, category.score, *sides])
        with open("found.json", "w") as file:
            json.dump(found, file)
    """
    subprocess.run([python, "-I", "-c", script, path], cwd=tmp_path, check=True)
    outputs = json.loads((tmp_path / "found.json").read_text())
    expected = detector(image.astype(np.float32))
    assert len(outputs) >= 0.9 * int(expected["num_detections"][0])  # it drops boxes without a pixel
    assert [one[0] for one in outputs[:5]] == [CATEGORIES[label].name for label in expected["labels"][0, :5]]
    np.testing.assert_allclose([one[1] for one in outputs[:5]], expected["scores"][0, :5], atol=1e-3)
    corners, far = np.split(np.asarray(expected["boxes"][0, :5]), 2, axis=1)
    fractions = np.hstack([corners, far - corners]) - [one[2:] for one in outputs[:5]]
    assert np.all((fractions > -0.01) & (fractions < 1.01))  # it cuts them off corners, heights and widths


@pytest.mark.slow
def test_boxes_pooled_as_in_the_paper_are_the_same_detections(tmp_path):
    head = HeadConfig(pooling="roi_pool", units=(32,))
    detector = make_detector(size=(128, 96), head=head, fpn=None, anchors=AnchorConfig(sizes=((16.0, 32.0, 64.0),)))
    runtime = TFLiteRuntime(to_tflite(detector, tmp_path / "a.tflite"))
    assert assert_same(detector, runtime, make_image()) > 0


@pytest.mark.slow
def test_small_maps_are_pooled_by_matrix_products(tmp_path):
    detector = make_detector(size=(64, 96))
    path = to_tflite(detector, tmp_path / "a.tflite")
    assert "BATCH_MATMUL" in {row["op"] for row in operators(path)}
    assert assert_same(detector, TFLiteRuntime(path), make_image()) > 10


@pytest.mark.slow
def test_int8_computes_the_hidden_layer_of_each_head_of_a_cascade_in_8_bits(tmp_path):
    head = preset("tiny_fpn").detector.head.replace(class_agnostic=True, cascade=CascadeConfig())
    cascade = make_detector(size=(64, 64), head=head)
    images = [make_image(seed=seed)[0] for seed in range(2)]
    path = to_tflite(cascade, tmp_path / "a.tflite", precision="int8", representative=iter(images))
    rows = [row for row in operators(path) if row["op"] == "FULLY_CONNECTED"]
    assert sum(row["count"] for row in rows if "float32" in row["dtypes"].split(" -> ")[1]) == 3 * 2  # the outputs
    assert sum(row["count"] for row in rows if "float32" not in row["dtypes"].split(" -> ")[1]) == 3
