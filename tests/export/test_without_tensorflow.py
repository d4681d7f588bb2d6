"""Exported files are used where TensorFlow is neither imported nor installed."""

import importlib.util
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tfrcnn
from tfrcnn.cli.main import main
from tfrcnn.config import Category, DetectionConfig
from tfrcnn.drawing import fonts
from tfrcnn.errors import InputError
from tfrcnn.export import TARGETS, load, to_onnx, to_tflite
from tfrcnn.installed import check_distribution, check_tensorflow
from tfrcnn.models import build_detector, preset

from ..stub_onnx import write_stub

ROOT = Path(__file__).resolve().parents[2]
CATEGORIES = (Category(3, "cat"), Category(90, "dog"))
# Packages that an exported file does not need; predict needs fewer than evaluate.
HEAVY = {"tensorflow", "keras", "matplotlib", "h5py", "jinja2", "fastapi", "requests", "pandas", "scipy", "torch"}
FOR_DATA = {"pycocotools", "yaml", "defusedxml"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture, a COCO file, and an ONNX file that finds a cat and a dog in every picture."""
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(folder / "picture.jpg")
    boxes = [[0.1, 0.1, 0.5, 0.5], [0.2, 0.2, 0.6, 0.6]]
    write_stub(folder / "stub.onnx", CATEGORIES, boxes, [3, 90], [0.9, 0.8])
    box = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [6, 4, 24, 16], "area": 384, "iscrowd": 0}
    truth = {
        "images": [{"id": 1, "file_name": "picture.jpg", "width": 60, "height": 40}],
        "annotations": [box],
        "categories": [category.to_dict() for category in CATEGORIES],
    }
    (folder / "instances.json").write_text(json.dumps(truth))
    return folder


@pytest.fixture
def no_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow is not installed."""
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorflow" else find(name))


def test_predict_and_evaluate_on_a_file_import_only_what_they_use(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    code = """if True:
        import json, sys
        from tfrcnn.cli.main import main
        packages = lambda: sorted({name.split(".")[0] for name in sys.modules})
        out, loaded = sys.argv[1], []
        assert main(["predict", "picture.jpg", "--model", "stub.onnx", "--out", out]) == 0
        loaded.append(packages())
        assert main(["evaluate", "--model", "stub.onnx", "--data", "instances.json"]) == 0
        loaded.append(packages())
        print(json.dumps(loaded))"""
    command = [sys.executable, "-c", code, tmp_path / "out"]
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | home
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # ONNX Runtime's telemetry keeps an id in the cache
    for_prediction, for_evaluation = map(set, json.loads(done.stdout.splitlines()[-1]))
    assert for_prediction & (HEAVY | FOR_DATA) == set()
    assert for_evaluation & HEAVY == set()
    assert {"numpy", "PIL", "onnxruntime"} <= for_prediction
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())) == 2


def test_a_detector_that_needs_tensorflow_says_so_in_one_line(no_tensorflow: None, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    for name, kind in (("run", "a run folder"), ("saved", "a SavedModel")):
        with pytest.raises(InputError, match=rf"{name}: {kind} needs TensorFlow, which is not installed: pip install"):
            load(tmp_path / name)


def test_a_runtime_says_which_distribution_has_tensorflow(no_tensorflow: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfrcnn.installed.distributions", lambda: ["tfrcnn_runtime"])
    with pytest.raises(InputError, match="pip uninstall tfrcnn-runtime, then install tfrcnn"):
        check_tensorflow("training")


def test_two_distributions_in_one_place_are_reported(tmp_path: Path) -> None:
    (tmp_path / f"tfrcnn-{tfrcnn.__version__}.dist-info").mkdir()
    check_distribution(tmp_path)
    (tmp_path / "tfrcnn_runtime-0.1.0.dist-info").mkdir()
    with pytest.raises(InputError, match="both tfrcnn and tfrcnn-runtime, which hold the same files"):
        check_distribution(tmp_path)


def test_a_missing_package_is_one_line_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    monkeypatch.delitem(sys.modules, "matplotlib", raising=False)
    data = ["--model", str(folder / "stub.onnx"), "--data", str(folder / "instances.json")]
    assert main(["evaluate", *data, "--plots", str(tmp_path / "plots")]) == 2
    assert (
        capsys.readouterr().err == "error: --plots needs matplotlib, which is not installed: pip install matplotlib\n"
    )
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)  # an import of it fails
    monkeypatch.delitem(sys.modules, "tfrcnn.evaluation.coco", raising=False)
    monkeypatch.delitem(sys.modules, "tfrcnn.evaluation.evaluate", raising=False)
    assert main(["evaluate", *data]) == 2
    assert capsys.readouterr().err.startswith("error: this command needs pycocotools, which is not installed: pip ")


def test_names_are_drawn_as_escapes_where_no_package_reads_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_has_matplotlib", lambda: False)
    caches = (fonts.font_of, fonts._candidates, fonts._warn_once)
    for cached in caches:
        cached.cache_clear()
    try:
        with pytest.warns(UserWarning, match="pip install matplotlib"):
            assert fonts.visible("café") == r"caf\xe9"
    finally:
        for cached in caches:
            cached.cache_clear()


def test_the_runtime_that_is_installed_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    pytest.importorskip("openvino")
    assert TARGETS["onnx"].installed_runtimes()[0] == "OpenVINO"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment with tfrcnn-runtime, and without TensorFlow."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "-o", folder, ROOT / "packaging/runtime"], check=True)
    (wheel,) = folder.glob("tfrcnn_runtime-*.whl")
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / "bin"
    subprocess.run([programs / "pip", "install", "-q", f"{wheel}[onnx,tflite]"], check=True)
    return programs


@pytest.mark.soak
def test_a_new_environment_without_tensorflow_runs_onnx_and_tflite_files(
    bare: Path, folder: Path, tmp_path: Path
) -> None:
    detector = build_detector(
        preset("tiny_fpn", CATEGORIES).detector.replace(detections=DetectionConfig(score_threshold=0.0))
    )
    files = to_onnx(detector, tmp_path / "tiny.onnx"), to_tflite(detector, tmp_path / "tiny.tflite")

    def tfrcnn(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([bare / "tfrcnn", *words], cwd=folder, capture_output=True, text=True, check=False)

    for path in files:
        out = tmp_path / path.suffix
        for command in (
            ("predict", "picture.jpg", "--model", path, "--out", out, "--score-threshold", "0"),
            ("evaluate", "--model", path, "--data", "instances.json"),
            ("benchmark", "--model", path, "--rounds", "1", "--threads", "1"),
        ):
            done = tfrcnn(*command)
            assert (done.returncode, done.stderr) == (0, ""), command
        expected = load(path).detect(folder / "picture.jpg")
        rows = json.loads((out / "detections.json").read_text())
        np.testing.assert_allclose([row["score"] for row in rows], expected.scores, atol=1e-4)
    failed = tfrcnn("train", "--train", "instances.json", "--out", tmp_path / "run")
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: this command needs TensorFlow, which is not installed: pip uninstall")
