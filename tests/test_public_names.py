"""`import tfrcnn`: cheap, complete, and enough for Keras to load what it saved."""

import ast
import importlib.metadata
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import tfrcnn


def python(code: str) -> str:
    """Return the output of a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_tfrcnn_does_not_import_tensorflow() -> None:
    code = "import sys, tfrcnn; tfrcnn.Category(1, 'cell'); print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    assert python(code) == "False False"


def test_names_for_type_checkers_are_those_at_run_time() -> None:
    tree = ast.parse(inspect.getsource(tfrcnn))
    guarded = next(node for node in tree.body if isinstance(node, ast.If)).body
    typed = {alias.asname: node.module for node in guarded if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed == tfrcnn._HOME_OF
    assert list(typed) == [alias.name for node in guarded if isinstance(node, ast.ImportFrom) for alias in node.names]


@pytest.mark.parametrize("name", tfrcnn.__all__)
def test_public_name_is_there_and_explained(name: str) -> None:
    value = getattr(tfrcnn, name)
    assert value.__name__ == name
    assert value.__module__ == tfrcnn._HOME_OF[name]
    assert inspect.getdoc(value)
    assert name in dir(tfrcnn)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'detect'"):
        _ = tfrcnn.detect


def test_version_is_that_of_the_installed_package() -> None:
    try:
        installed = importlib.metadata.version("tfrcnn")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("tfrcnn is not installed, only on the path")
    assert tfrcnn.__version__ == installed


@pytest.mark.slow
def test_keras_loads_a_saved_detector_without_custom_objects(tmp_path: Path) -> None:
    path = tmp_path / "detector.keras"
    preset = tfrcnn.preset("tiny_fpn", (tfrcnn.Category(7, "cell"),))
    tfrcnn.build_detector(preset.detector).save(path)
    printed = python(f"import tfrcnn.models, keras; print(keras.models.load_model({str(path)!r}).config.categories)")
    assert printed == "(Category(id=7, name='cell'),)"
