"""The SavedModel: its contract, and the Keras model's numbers, for pixels and for files."""

import io
import json
import os
import pickle
import re
import shutil
import struct
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfrcnn.config import Category
from tfrcnn.data.decode import read_image
from tfrcnn.errors import InputError
from tfrcnn.export import load
from tfrcnn.export.artefact import OUTPUTS
from tfrcnn.export.runtimes import ArtefactPredictor
from tfrcnn.export.saved_model import to_saved_model
from tfrcnn.export.saved_model.runtime import SavedModelRuntime
from tfrcnn.models import build_detector

from ..shared_use import PICTURES, assert_threads_can_share, in_forked_child

CATEGORIES = (Category(3, "cat"), Category(90, "dog"))
D = 10


@pytest.fixture(scope="module")
def detector(saved_detector):
    return saved_detector


@pytest.fixture(scope="module")
def path(saved_path):
    return saved_path


@pytest.fixture(scope="module")
def runtime(path):
    return SavedModelRuntime(path)


def pixels(*shape):
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def encode(image, file_format="PNG", mode="RGB", **options):
    stream = io.BytesIO()
    Image.fromarray(image).convert(mode).save(stream, file_format, **options)
    return stream.getvalue()


def assert_same_as_keras(outputs, expected, height, width):
    """Compare a file with the Keras model: 0.05 px, 1e-3 of score, the same categories and counts."""
    ids = np.array([category.id for category in CATEGORIES])
    boxes = outputs["detection_boxes"] * [height, width, height, width]
    np.testing.assert_allclose(boxes, expected["boxes"], atol=0.05)
    np.testing.assert_allclose(outputs["detection_scores"], expected["scores"], atol=1e-3)
    np.testing.assert_array_equal(outputs["num_detections"], expected["num_detections"])
    present = np.arange(D) < outputs["num_detections"][:, None]
    np.testing.assert_array_equal(outputs["detection_classes"], np.where(present, ids[expected["labels"]], 0))


def test_outputs_keep_the_contract(runtime):
    outputs = runtime.run(pixels(2, 90, 120, 3))
    assert {name: (value.shape, value.dtype.name) for name, value in outputs.items()} == {
        "detection_boxes": ((2, D, 4), "float32"),
        "detection_classes": ((2, D), "float32"),
        "detection_scores": ((2, D), "float32"),
        "num_detections": ((2,), "float32"),
    }
    assert tuple(outputs) == OUTPUTS
    boxes = outputs["detection_boxes"]
    assert np.all(boxes[..., :2] < boxes[..., 2:])
    assert boxes.min() >= 0
    assert boxes.max() <= 1.00001
    assert set(outputs["detection_classes"].ravel()) <= {3, 90}
    assert np.all(np.diff(outputs["detection_scores"]) <= 0)


@pytest.mark.parametrize("shape", [(1, 90, 120, 3), (3, 64, 64, 3), (1, 1, 50, 3), (2, 300, 20, 3), (1, 640, 480, 3)])
def test_pixels_of_every_size_give_what_the_keras_model_gives(runtime, detector, shape):
    images = pixels(*shape)
    assert_same_as_keras(runtime.run(images), detector(images.astype(np.float32)), *shape[1:3])


@pytest.mark.parametrize("value", [0, 255])
def test_a_blank_image_gives_what_the_keras_model_gives(runtime, detector, value):
    images = np.full((1, 80, 70, 3), value, np.uint8)
    assert_same_as_keras(runtime.run(images), detector(images.astype(np.float32)), 80, 70)


def test_floats_are_rounded_to_pixels(runtime):
    images = pixels(1, 60, 80, 3)
    outputs = runtime.run(images + np.random.default_rng(0).uniform(-0.4, 0.4, images.shape).astype(np.float32))
    np.testing.assert_array_equal(outputs["detection_boxes"], runtime.run(images)["detection_boxes"])


def test_files_of_mixed_sizes_give_what_each_gives_alone(runtime, detector):
    images = [pixels(90, 120, 3), pixels(200, 30, 3), pixels(64, 64, 3), pixels(1, 50, 3)]
    outputs = runtime.run_encoded([encode(image) for image in images])
    for i, image in enumerate(images):
        one = {name: value[i : i + 1] for name, value in outputs.items()}
        assert_same_as_keras(one, detector(image[None].astype(np.float32)), *image.shape[:2])
        for name, value in runtime.run(image[None]).items():
            np.testing.assert_allclose(one[name], value, atol=1e-5)


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("BMP", "RGB"), ("BMP", "P"), ("GIF", "P")],
)
def test_a_file_of_each_format_gives_what_its_pixels_give(runtime, file_format, mode):
    data = encode(pixels(70, 90, 3), file_format, mode)
    decoded = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    outputs = runtime.run_encoded([data])
    for name, value in runtime.run(decoded[None]).items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-5)


def test_a_photograph_that_is_stored_turned_is_detected_in_upright(runtime, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(pixels(60, 100, 3)).save(stream, "JPEG", exif=exif)
    (tmp_path / "a.jpg").write_bytes(stream.getvalue())
    upright = read_image(tmp_path / "a.jpg")
    assert upright.shape == (100, 60, 3)
    for name, value in runtime.run(upright[None]).items():
        np.testing.assert_allclose(runtime.run_encoded([stream.getvalue()])[name], value, atol=1e-5)


def test_16_bits_become_8_and_an_animation_its_first_frame(runtime):
    first, second = pixels(40, 50), pixels(40, 51)[:, :50]
    stream = io.BytesIO()
    Image.fromarray(first.astype(np.uint16) * 256 + 77).save(stream, "PNG")
    animation = io.BytesIO()
    Image.fromarray(first).save(animation, "GIF", save_all=True, append_images=[Image.fromarray(second)])
    outputs = runtime.run_encoded([stream.getvalue(), animation.getvalue()])
    expected = runtime.run(np.repeat(first[None, ..., None], 3, axis=-1))
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], np.repeat(value, 2, axis=0), atol=1e-5)


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("spoil", ["nothing", "text", "truncated", "header"])
def test_a_corrupt_file_fails_its_request_and_is_named(runtime, position, spoil):
    good = encode(pixels(90, 120, 3))
    bad = {
        "nothing": b"",
        "text": b"<html>404</html>",
        "truncated": encode(pixels(90, 120, 3), "JPEG")[:900],
        "header": good[:16] + struct.pack(">I", 0) + good[20:],  # a PNG of no columns
    }[spoil]
    files = [good, good, good]
    files[position] = bad
    with pytest.raises(InputError, match=rf"1: \[encoded_images: expected whole JPEG.* position\] \[{position}\]"):
        runtime.run_encoded(files)
    assert runtime.run_encoded([good])["num_detections"] == D


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((60, 80, 3), r"images must be \[B, H, W, 3\] and not empty, found \[60, 80, 3\]"),
        ((1, 60, 80, 5), r"images must be \[B, H, W, 3\] and not empty, found"),
        ((0, 60, 80, 3), r"found \[0, 60, 80, 3\]"),
    ],
)
def test_an_input_that_is_no_batch_of_images_is_refused(runtime, shape, message):
    with pytest.raises(InputError, match=message):
        runtime.run(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(0, 60, 80, 3), (1, 0, 80, 3)])
def test_the_graph_itself_refuses_an_empty_batch(runtime, shape):
    """A server has nothing else."""
    with pytest.raises(tf.errors.InvalidArgumentError, match="one image and one pixel at least"):
        runtime.model.signatures["serving_default"](images=tf.zeros(shape, tf.uint8))


def test_a_request_of_no_file_is_refused(runtime):
    with pytest.raises(InputError, match="one image at least, found none"):
        runtime.run_encoded([])


@pytest.mark.slow
def test_an_image_without_detections_gives_zeros_and_a_count_of_zero(detector, tmp_path):
    runtime = SavedModelRuntime(to_saved_model(detector, tmp_path / "m", max_detections=4, score_threshold=0.999))
    for outputs in (runtime.run(pixels(1, 60, 80, 3)), runtime.run_encoded([encode(pixels(60, 80, 3))])):
        assert outputs["detection_boxes"].shape == (1, 4, 4)
        assert [np.abs(value).max() for value in outputs.values()] == [0, 0, 0, 0]


@pytest.mark.slow
def test_a_static_size_takes_images_of_every_size(detector, tmp_path):
    """The network's input is 96 x 64; a batch of mixed sizes goes through it at once."""
    path = to_saved_model(detector, tmp_path / "m", image_size=(96, 64))
    runtime = SavedModelRuntime(path)
    assert runtime.description["image"]["static_size"] == [96, 64]
    image = detector.config.image.replace(static_size=(96, 64))
    static = build_detector(detector.config.replace(image=image))
    static.set_weights(detector.get_weights())
    images = [pixels(50, 200, 3), pixels(300, 100, 3)]
    files = runtime.run_encoded([encode(image) for image in images])
    for i, image in enumerate(images):
        expected = static(image[None].astype(np.float32))
        assert_same_as_keras(runtime.run(image[None]), expected, *image.shape[:2])
        assert_same_as_keras({name: value[i : i + 1] for name, value in files.items()}, expected, *image.shape[:2])


@pytest.mark.slow
def test_a_detector_of_16_bits_is_exported_as_one_of_32(detector, tmp_path):
    mixed = build_detector(detector.config, precision="mixed_bfloat16")
    mixed.set_weights(detector.get_weights())
    runtime = SavedModelRuntime(to_saved_model(mixed, tmp_path / "m"))
    images = pixels(1, 60, 80, 3)
    assert_same_as_keras(runtime.run(images), detector(images.astype(np.float32)), 60, 80)


def test_the_file_describes_itself(runtime, path, detector):
    assert runtime.description["format"] == "saved_model"
    assert runtime.description["classes"] == "category ids"
    assert [(c["id"], c["name"]) for c in runtime.description["categories"]] == [(3, "cat"), (90, "dog")]
    assert runtime.description["detections"]["max_detections"] == D
    assert (path / "assets/labels.txt").read_text() == "3 cat\n90 dog\n"
    # TensorFlow's own record of assets, so that they travel when it copies the model
    assert {Path(asset.asset_path.numpy().decode()).name for asset in runtime.model.assets} == {
        "tfrcnn.json",
        "labels.txt",
    }
    assert len(runtime.model.weights) == len(detector.weights)


def test_names_and_shapes_are_readable(runtime):
    detect, encoded = (runtime.model.signatures[name] for name in ("serving_default", "encoded"))
    assert detect.structured_input_signature[1] == {"images": tf.TensorSpec([None, None, None, 3], tf.uint8, "images")}
    assert encoded.structured_input_signature[1] == {
        "encoded_images": tf.TensorSpec([None], tf.string, "encoded_images")
    }
    for signature in (detect, encoded):
        shapes = {name: spec.shape.as_list() for name, spec in signature.structured_outputs.items()}
        assert shapes["detection_scores"] == [None, D]
        assert shapes["detection_boxes"] == [None, D, 4]
        assert shapes["num_detections"] == [None]


def test_a_session_runs_it_as_tensorflow_serving_does(path, runtime):
    """The C++ server loads the graph into a session and feeds it by the signatures' tensor names."""
    image = pixels(90, 120, 3)
    feeds = {"serving_default": ("images", image[None]), "encoded": ("encoded_images", [encode(image)])}
    expected = runtime.run(image[None])
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
        for name, (key, value) in feeds.items():
            signature = meta.signature_def[name]
            outputs = {key: tensor.name for key, tensor in signature.outputs.items()}
            outputs = session.run(outputs, {signature.inputs[key].name: value})
            for output, value in expected.items():
                np.testing.assert_allclose(outputs[output], value, atol=1e-5)


def test_an_existing_path_is_refused_and_kept(detector, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="m exists"):
        to_saved_model(detector, tmp_path / "m")
    assert [p.name for p in tmp_path.rglob("*")] == ["m", "mine.txt"]


def test_a_size_the_network_cannot_have_is_refused_before_anything_is_written(detector, tmp_path):
    with pytest.raises(InputError, match="multiples of"):
        to_saved_model(detector, tmp_path / "m", image_size=(100, 64))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_failure_leaves_nothing(detector, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("tfrcnn.export.saved_model.writer.write_warmup", fail)
    with pytest.raises(KeyboardInterrupt):
        to_saved_model(detector, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: shutil.rmtree(m), "m: no such file or folder"),
        (lambda m: (m / "saved_model.pb").unlink(), "cannot be loaded"),
        (lambda m: (m / "assets/tfrcnn.json").unlink(), "m: not exported by tfrcnn"),
        (lambda m: (m / "assets/tfrcnn.json").write_text("{"), "not JSON"),
        (lambda m: (m / "assets/tfrcnn.json").write_text("[]"), "expected tfrcnn_export 1"),
        (lambda m: (m / "saved_model.pb").write_bytes((m / "saved_model.pb").read_bytes()[:999]), "cannot be loaded"),
        (lambda m: next(m.glob("variables/*data*")).write_bytes(b"short"), "cannot be loaded"),
        (lambda m: next(m.glob("variables/*index")).unlink(), "cannot be loaded"),
    ],
)
def test_a_damaged_file_is_one_clear_error(path, tmp_path, spoil, message):
    copy = tmp_path / "m"
    shutil.copytree(path, copy)
    spoil(copy)
    with pytest.raises(InputError, match=message) as caught:
        SavedModelRuntime(copy)
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_eight_threads_share_a_loaded_file_and_bad_images_disturb_no_one(runtime):
    assert_threads_can_share(ArtefactPredictor(runtime).detect)


def test_a_forked_child_is_refused_in_one_line_and_does_not_hang(runtime, path):
    message = r"InputError: TensorFlow cannot run in process \d+, which was forked from process \d+ after"
    files = [encode(PICTURES[0])]
    for call in (lambda: runtime.run(PICTURES[:1]), lambda: runtime.run_encoded(files), lambda: load(path)):
        assert re.match(message, in_forked_child(call))


@pytest.mark.slow
def test_a_loaded_file_is_pickled_as_its_path(path):
    detector = load(path)
    copy = pickle.loads(pickle.dumps(detector))
    np.testing.assert_allclose(copy.detect(PICTURES[0]).boxes, detector.detect(PICTURES[0]).boxes, atol=1e-3)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (b"\xff\xd8", "encoded_images must be a list of bytes, one for each file, found bytes"),
        ("a.jpg", "must be a list of bytes, one for each file, found str"),
        ([b"", "a.jpg"], r"encoded_images\[1\] must be the bytes of a file, found str"),
        ([None], r"encoded_images\[0\] must be the bytes of a file, found NoneType"),
    ],
)
def test_files_that_are_not_bytes_are_refused(runtime, files, message):
    with pytest.raises(InputError, match=message):
        runtime.run_encoded(files)


def test_threads_that_come_too_late_are_refused(path, runtime):
    with pytest.raises(InputError, match="threads=7 comes too late"):
        SavedModelRuntime(path, threads=7)
    with pytest.raises(InputError, match=r"threads: expected a whole number in 1\.\.1,024, found 0"):
        SavedModelRuntime(path, threads=0)


@pytest.mark.slow
def test_threads_are_set_before_tensorflow_runs(path):
    code = f"""if True:
        import numpy as np, tensorflow as tf
        from tfrcnn.export.saved_model.runtime import SavedModelRuntime
        runtime = SavedModelRuntime({str(path)!r}, threads=1)
        runtime.run(np.zeros((1, 60, 80, 3), np.uint8))
        SavedModelRuntime({str(path)!r}, threads=1)  # the same number again is no change
        print(tf.config.threading.get_intra_op_parallelism_threads())
    """
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1"], done.stderr


# It sees no PYTHONPATH and no tfrcnn: what a server has.
BARE = """
import importlib.util, json, pathlib, numpy as np, tensorflow as tf
assert importlib.util.find_spec("tfrcnn") is None
assert importlib.util.find_spec("PIL") is None
stored = np.load("stored.npz")
model = tf.saved_model.load("m")
found = model.signatures["serving_default"](images=tf.constant(stored["images"]))
files = model.signatures["encoded"](encoded_images=tf.constant([stored["encoded"].tobytes()]))
for name in {outputs}:
    np.testing.assert_allclose(found[name], stored[name], atol=1e-5)
    np.testing.assert_allclose(files[name], stored[name], atol=1e-5)
assert [c["name"] for c in json.loads(pathlib.Path("m/assets/tfrcnn.json").read_text())["categories"]] == ["cat", "dog"]
print("runs with TensorFlow", tf.__version__)
"""


@pytest.mark.slow
def test_it_runs_where_there_is_tensorflow_and_nothing_of_ours(path, runtime, tmp_path):
    name = next(name for name in ("tensorflow-cpu", "tensorflow") if installed(name))
    shutil.copytree(path, tmp_path / "m")
    image = pixels(90, 120, 3)
    file = np.frombuffer(encode(image), np.uint8)
    np.savez(tmp_path / "stored.npz", images=image[None], encoded=file, **runtime.run(image[None]))
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    run(python, "-m", "pip", "install", "--quiet", f"{name}=={tf.__version__}", cwd=tmp_path)
    assert "runs with TensorFlow" in run(python, "-c", BARE.format(outputs=OUTPUTS), cwd=tmp_path)


@pytest.mark.slow
def test_saved_model_cli_shows_the_signatures(path, tmp_path):
    command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "show", "--dir", path]
    printed = run(*command, "--tag_set", "serve", "--signature_def", "encoded", cwd=tmp_path)
    assert "inputs['encoded_images'] tensor_info" in printed
    for name in OUTPUTS:
        assert f"outputs['{name}'] tensor_info" in printed


def installed(name):
    try:
        return distribution(name)
    except ImportError:
        return None


def run(*command, cwd):
    environment = {"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "2", **pip_settings()}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip_settings():
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_PROXY")}


def test_the_description_is_plain_json(path):
    assert json.loads((path / "assets/tfrcnn.json").read_text(encoding="utf-8"))["tfrcnn_export"] == 1
