"""The table of export formats, and a new format in two places."""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import tfrcnn
from tfrcnn.config import Category, DetectionConfig
from tfrcnn.errors import InputError
from tfrcnn.export import TARGETS, ExportOptions, export, load
from tfrcnn.export.check.verification import edge_cases
from tfrcnn.export.runtimes import format_of
from tfrcnn.models import build_detector, preset, save_detector

TOY = Path(__file__).parent / "toy.py"


@pytest.fixture(scope="module")
def detector():
    keras.utils.set_random_seed(0)
    config = preset("tiny_fpn", (Category(3, "cat"), Category(90, "dog"))).detector
    return build_detector(config.replace(detections=DetectionConfig(score_threshold=0.0, max_detections=10)))


@pytest.fixture
def toy(monkeypatch):
    """The toy format, in the table of this process."""
    spec = importlib.util.spec_from_file_location("tfrcnn.export.toy", TOY)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(TARGETS, "toy", module.Toy())
    for user in ("check.verification", "exporting"):  # one picture: seven take a minute
        monkeypatch.setattr(f"tfrcnn.export.{user}.edge_cases", lambda: edge_cases()[-1:])


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the package with the toy format: a module, and its name in `TARGETS`."""
    root = tmp_path_factory.mktemp("extended")
    package = Path(tfrcnn.__file__).parent
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, root / "tfrcnn", ignore=ignore)
    if not (root / "tfrcnn/export").exists():  # an editable install
        shutil.copytree(Path(tfrcnn.export.__file__).parent, root / "tfrcnn/export", ignore=ignore)
    shutil.copy(TOY, root / "tfrcnn/export/toy.py")
    table = root / "tfrcnn/export/__init__.py"
    text = table.read_text()
    assert text.count("TFLite(), Onnx())") == 1
    text = text.replace("TFLite(), Onnx())", "TFLite(), Onnx(), Toy())")
    table.write_text(text.replace("from .tflite import TFLite", "from .tflite import TFLite\nfrom .toy import Toy"))
    return root


def run(root, *arguments):
    """Run `tfrcnn` from the package in `root`; returns its output."""
    command = [sys.executable, "-P", "-m", "tfrcnn.cli.main", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [str(word) for word in command], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_format_is_named_once_and_described():
    assert list(TARGETS) == ["saved_model", "tflite", "onnx"]
    assert all(name == target.name and target.summary and target.runtimes for name, target in TARGETS.items())
    assert {target.precisions[0] for target in TARGETS.values()} == {"float32"}


def test_a_format_is_named_in_its_folder_only():
    """An if on a format's name elsewhere would be one more place for a new format to touch."""
    export_folder = Path(tfrcnn.export.__file__).parent
    for path in [*export_folder.rglob("*.py"), *Path(tfrcnn.__file__).parent.rglob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in TARGETS}
        assert names <= {path.parent.name}, path


def test_listing_the_formats_imports_no_library_of_theirs():
    heavy = "{'tensorflow', 'keras', 'numpy', 'onnx', 'onnxruntime', 'openvino', 'ai_edge_litert', 'matplotlib'}"
    script = f"""if True:
        import sys
        import tfrcnn.cli.main
        import tfrcnn.export.options
        from tfrcnn.export import TARGETS
        for target in TARGETS.values():
            target.installed_runtimes()
        print(sorted({heavy} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_new_format_is_exported_verified_and_loaded(toy, detector, tmp_path):
    report = export(detector, tmp_path / "a.toy", ExportOptions("toy", image_size=(64, 96)))
    assert report.passed, report.faults
    assert (report.format, report.detections > 0, report.unmatched) == ("toy", True, 0)
    assert (tmp_path / "a.toy.report.md").is_file()
    assert format_of(tmp_path / "a.toy") == "toy"
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    assert len(load(tmp_path / "a.toy").detect(picture).scores) == 10
    with pytest.raises(InputError, match="runtime must be one of Toy runtime, found 'LiteRT'"):
        load(tmp_path / "a.toy", runtime="LiteRT")


@pytest.mark.slow
def test_a_new_format_that_fails_is_not_given_its_name(toy, detector, tmp_path, monkeypatch):
    toy_write = TARGETS["toy"].write

    def spoil(detector, *args):
        copy = build_detector(detector.config)
        copy.set_weights([weights * 1.1 for weights in detector.get_weights()])
        toy_write(copy, *args)

    monkeypatch.setattr(TARGETS["toy"], "write", spoil)
    monkeypatch.setattr("tfrcnn.export.check.verification.replays", lambda *_: ())  # they take a minute too
    report = export(detector, tmp_path / "a.toy", ExportOptions("toy"))
    assert not report.passed
    assert (report.stages, report.first_divergent) == ({}, None)  # the toy format cannot compute them
    assert not (tmp_path / "a.toy").exists()
    assert (tmp_path / "a.failed.toy").is_dir()


def test_the_command_line_lists_a_new_format(extended):
    printed = " ".join(run(extended, "export", "--help").split())
    assert "saved_model|tflite|onnx|toy" in printed
    assert "toy: a format for tests" in printed
    assert "(saved_model, tflite, onnx, toy)" in " ".join(run(extended, "benchmark", "--help").split())


@pytest.mark.soak
def test_the_command_line_exports_and_times_a_new_format(extended, detector, tmp_path):
    save_detector(detector, tmp_path / "run")
    path = tmp_path / "a.toy"
    options = ("--model", tmp_path / "run", "--format", "toy", "--image-size", "64x96", "--out", path)
    assert "| verdict | within tolerance |" in run(extended, "export", *options)
    printed = run(extended, "benchmark", "--model", path, "--rounds", "1", "--threads", "1")
    assert f"| {path} | Toy runtime | 1 |" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ExportOptions("coreml"), "format must be one of saved_model, tflite, onnx, found 'coreml'"),
        (ExportOptions("onnx", "dynamic"), "precision of onnx must be one of float32, float16, int8, found 'dynamic'"),
        (ExportOptions("onnx", "int8"), "int8 needs representative images"),
        (ExportOptions("tflite"), "expected a name that ends in .tflite for tflite"),
    ],
)
def test_options_are_checked_before_any_work(options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        options.check(tmp_path / "a.onnx")


def test_a_path_that_exists_is_refused(tmp_path):
    with pytest.raises(InputError, match="exists: choose another name"):
        ExportOptions("saved_model").check(tmp_path)


def test_the_old_keyword_form_works_and_warns():
    with pytest.warns(DeprecationWarning, match=r"use ExportOptions\(format=...\) instead") as caught:
        options = ExportOptions(form="onnx", precision="float16")
    assert caught[0].filename == __file__
    assert options == ExportOptions("onnx", "float16")
    with pytest.warns(DeprecationWarning, match="use ExportOptions.format instead"):
        assert options.form == "onnx"
