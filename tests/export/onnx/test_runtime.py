"""Running an ONNX file, and files that cannot be run."""

import json
import pickle
import re
import subprocess
import sys
import threading
import venv

import numpy as np
import pytest

from tfrcnn.errors import InputError
from tfrcnn.export import load
from tfrcnn.export.onnx import ONNX_RUNTIME, OPENVINO, OPENVINO_ONE_SIZE, Onnx
from tfrcnn.export.onnx.runtime import OnnxRuntime

from ..shared_use import PICTURES, assert_threads_can_share, in_forked_child
from .detectors import picture

onnx = pytest.importorskip("onnx")


def test_float_images_are_rounded(runtime):
    images = picture(1, 80, 80)
    for name, value in runtime.run(images.astype(np.float32) + 0.3).items():
        np.testing.assert_array_equal(value, runtime.run(images)[name])


@pytest.mark.parametrize("runtime", [ONNX_RUNTIME, OPENVINO])
def test_a_file_that_cannot_be_run_is_named_in_one_line(path, tmp_path, runtime):
    if runtime == OPENVINO:
        pytest.importorskip("openvino")

    def assert_refused(name, message):
        with pytest.raises(InputError, match=rf"{name}: .*{message}") as caught:
            Onnx().load(tmp_path / name, runtime=runtime)
        assert "\n" not in str(caught.value)

    assert_refused("none.onnx", "no such file")
    for name, content in (("half", path.read_bytes()[:-1000]), ("empty", b""), ("text", b"PK\x03\x04 not a model")):
        (tmp_path / f"{name}.onnx").write_bytes(content)
        assert_refused(f"{name}.onnx", "")
    for text in (b"tfrcnn_export", b"detection_scores"):  # in the description, and a name: bytes that are not UTF-8
        (tmp_path / "bytes.onnx").write_bytes(path.read_bytes().replace(text, b"\xbc" + text[1:]))
        assert_refused("bytes.onnx", "")
    model = onnx.load(path)
    for value, message in (("{}", "expected tfrcnn_export 1"), ("no", "not JSON")):
        onnx.helper.set_model_props(model, {"tfrcnn": value})
        onnx.save(model, tmp_path / "foreign.onnx")
        assert_refused("foreign.onnx", message)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 4, 3), np.uint8), r"must be \[B, H, W, 3\]"),
        (np.zeros((1, 4, 4, 5), np.uint8), r"found \[1, 4, 4, 5\]"),
        (np.zeros((0, 4, 4, 3), np.uint8), "not empty"),
        (np.full((1, 4, 4, 3), 300), "found 300..300 of int64"),
    ],
)
def test_images_of_another_form_are_refused(runtime, images, message):
    with pytest.raises(InputError, match=message):
        runtime.run(images)


def test_threads_must_be_positive(path):
    with pytest.raises(InputError, match=r"threads: expected a whole number in 1\.\.1,024, found 0"):
        OnnxRuntime(path, threads=0)


@pytest.fixture(scope="module")
def loaded(path):
    pytest.importorskip("openvino")
    return {name: load(path, runtime=name) for name in Onnx.runtimes}


@pytest.mark.parametrize("name", Onnx.runtimes)
def test_eight_threads_share_a_loaded_file_and_bad_images_disturb_no_one(loaded, name):
    # each change of size compiles again
    pictures = PICTURES[:2] if name == OPENVINO_ONE_SIZE else PICTURES
    assert_threads_can_share(loaded[name].detect, pictures)


def test_a_loaded_file_works_in_a_forked_child(loaded):
    detector = loaded[ONNX_RUNTIME]
    expected, stop = detector.detect(PICTURES[0]), threading.Event()

    def detect():
        np.testing.assert_allclose(detector.detect(PICTURES[0]).boxes, expected.boxes, atol=1e-3)

    def keep_busy():
        while not stop.wait(0.001):
            detect()

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        answers = {in_forked_child(detect) for _ in range(3)}
    finally:
        stop.set()
        thread.join()
    assert answers == {"done"}


def test_a_forked_child_refuses_a_file_that_was_replaced(path, tmp_path):
    file = tmp_path / "a.onnx"
    file.write_bytes(path.read_bytes())
    detector = load(file)
    model = onnx.load(path)
    description = json.loads(model.metadata_props[0].value)
    onnx.helper.set_model_props(model, {"tfrcnn": json.dumps({**description, "version": "other"})})
    onnx.save(model, file)
    message = r"InputError: .*a\.onnx: another file than process \d+ loaded before it was forked"
    assert re.match(message, in_forked_child(lambda: detector.detect(PICTURES[0])))


@pytest.mark.parametrize("name", [OPENVINO, OPENVINO_ONE_SIZE])
def test_openvino_refuses_a_forked_child_in_one_line(loaded, path, name):
    """A lock of its threads that was held during the fork is never released in the child: 1 of 900 children hung."""
    loaded[name].detect(PICTURES[0])
    message = r"InputError: OpenVINO cannot run in process \d+, which was forked from process \d+ after OpenVINO"
    for call in (lambda: loaded[name].detect(PICTURES[0]), lambda: load(path, runtime=name)):
        assert re.match(message, in_forked_child(call))


@pytest.mark.slow
def test_a_loaded_file_is_pickled_as_its_path(loaded, path, tmp_path, monkeypatch):
    monkeypatch.chdir(path.parent)
    data = pickle.dumps(load(path.name, threads=1, runtime=OPENVINO))
    monkeypatch.chdir(tmp_path)
    copy, expected = pickle.loads(data), loaded[OPENVINO].detect(PICTURES[0])
    np.testing.assert_allclose(copy.detect(PICTURES[0]).boxes, expected.boxes, atol=1e-3)
    assert copy.categories == loaded[OPENVINO].categories


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
IN_ONNX_RUNTIME = """
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
assert json.loads(session.get_modelmeta().custom_metadata_map["categories"])["90"] == "dög"
names = [output.name for output in session.get_outputs()]
run = lambda images: dict(zip(names, session.run(None, {"images": images})))
"""
IN_OPENVINO = """
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
@pytest.mark.parametrize(("package", "load"), [("onnxruntime", IN_ONNX_RUNTIME), ("openvino", IN_OPENVINO)])
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
