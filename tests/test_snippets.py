"""The programs of docs/deployment.md run unchanged, and detect what tfrcnn detects in the same picture."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from tfrcnn.config import Category, DetectionConfig
from tfrcnn.data.decode import read_image
from tfrcnn.export import load, to_onnx, to_saved_model, to_tflite
from tfrcnn.export.tflite.runtime import letterbox
from tfrcnn.models import build_detector, preset

DOCS = Path(__file__).parent.parent / "docs"
BLOCKS = re.findall(r"```python\n(.*?)```", (DOCS / "deployment.md").read_text(encoding="utf-8"), re.DOTALL)

LIBRARIES = ["tfrcnn.export", "tfrcnn.runtime", "onnxruntime", "openvino", "ai_edge_litert", "tensorflow"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a folder with every file that the programs open."""
    keras.utils.set_random_seed(0)
    config = preset("tiny_fpn", (Category(3, "cat"), Category(90, "dog"))).detector
    detector = build_detector(config.replace(detections=DetectionConfig(score_threshold=0.0, max_detections=10)))
    path = tmp_path_factory.mktemp("deployed")
    to_onnx(detector, path / "cells.onnx")
    to_tflite(detector, path / "cells.tflite", (96, 128))
    to_saved_model(detector, path / "serving/cells/1")
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(pixels).save(path / "picture.jpg")
    Image.open(path / "picture.jpg").save(path / "picture.ppm")
    return path


def save_picture(path, kind):
    """Save picture.jpg: a photograph with small details, of each kind that a program may trip over."""
    rng = np.random.default_rng(1)
    shape = {"thin": (1, 2000, 3), "grey": (300, 400), "turned": (300, 400, 3)}[kind]
    exif = Image.Exif()
    exif[0x0112] = 6 if kind == "turned" else 1
    Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(path / "picture.jpg", exif=exif, quality=95)


def test_the_page_has_a_program_for_each_runtime():
    assert len(BLOCKS) == len(LIBRARIES)
    for program, library in zip(BLOCKS, LIBRARIES, strict=True):
        assert re.search(rf"^(from|import) {library}\b", program, re.MULTILINE), program


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_programs_run(number, folder):
    run = subprocess.run([sys.executable, "-c", BLOCKS[number]], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("kind", ["grey", "turned", "thin"])
def test_python_programs_detect_what_tfrcnn_does_in_any_picture(kind, folder, tmp_path, monkeypatch, capsys):
    for name in ("cells.onnx", "cells.tflite", "serving"):
        (tmp_path / name).symlink_to(folder / name)
    save_picture(tmp_path, kind)
    monkeypatch.chdir(tmp_path)
    upright = read_image("picture.jpg")
    assert upright.shape[:2] == {"thin": (1, 2000), "grey": (300, 400), "turned": (400, 300)}[kind]
    variables = {}
    for library, program in zip(LIBRARIES, BLOCKS, strict=True):
        variables[library] = {}
        exec(program, variables[library])
        if library != "ai_edge_litert":
            pixels = variables[library].get("pixels", upright)
            np.testing.assert_array_equal(pixels, upright, err_msg=library)
    frame = variables["ai_edge_litert"]["frame"][0]
    np.testing.assert_allclose(frame, letterbox(upright, frame.shape[:2]), atol=0.01)
    outputs, encoded = variables["tensorflow"]["outputs"], variables["tensorflow"]["encoded"]
    for name in outputs:
        np.testing.assert_allclose(outputs[name], encoded[name], atol=1e-3, err_msg=name)
    scores = variables["tfrcnn.export"]["detections"].scores
    np.testing.assert_allclose(variables["onnxruntime"]["scores"][0, : len(scores)], scores, atol=1e-5)
    np.testing.assert_allclose(
        variables["openvino"]["outputs"]["detection_scores"][0, : len(scores)], scores, atol=1e-3
    )
    np.testing.assert_allclose(outputs["detection_scores"][0, : len(scores)], scores, atol=1e-3)


def test_the_program_in_cpp_detects_what_python_detects(folder):
    if not shutil.which("g++"):
        pytest.skip("no g++ here")
    import openvino

    package = Path(openvino.__file__).parent
    (library,) = (package / "libs").glob("libopenvino.so.*")
    source, rpath = DOCS / "snippets/detect.cpp", f"-Wl,-rpath,{library.parent}"
    command = ["g++", "-std=c++17", source, f"-I{package / 'include'}", library, rpath, "-o", folder / "detect"]
    subprocess.run(command, check=True)
    run = subprocess.run([folder / "detect", "cells.onnx", "picture.ppm"], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    actual = np.array([[float(word) for word in line.split()] for line in run.stdout.splitlines()])
    expected = load(folder / "cells.onnx").detect(folder / "picture.jpg")
    np.testing.assert_array_equal(actual[:, 0], np.array([3, 90])[expected.labels])
    np.testing.assert_allclose(actual[:, 1], expected.scores, atol=1e-5)
    np.testing.assert_allclose(actual[:, 2:], expected.boxes, atol=1e-2)
