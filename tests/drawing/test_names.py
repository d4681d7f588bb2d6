"""The public names of tfrcnn.drawing, new and old."""

import importlib
import inspect
import subprocess
import sys

import pytest

from tfrcnn import drawing

OLD = {
    "tfrcnn.visualize": "PALETTE color_of contact_sheet draw_comparison draw_detections save_png",
    "tfrcnn.plots": "show_boxes show_image",
    "tfrcnn.evaluation.report": "plot_confusion plot_curves plot_precision_recall plot_recall",
}


@pytest.mark.parametrize("name", [name for name in drawing.__all__ if name != "PALETTE"])
def test_public_function_is_explained_by_an_example(name):
    assert "Example:" in inspect.getdoc(getattr(drawing, name))


@pytest.mark.parametrize(("module", "names"), OLD.items())
def test_old_names_work_and_warn(module, names):
    old = importlib.import_module(module)
    for name in names.split():
        with pytest.warns(DeprecationWarning, match=f"use tfrcnn.drawing.{name} instead") as caught:
            assert getattr(old, name) is getattr(drawing, name)
        assert caught[0].filename == __file__
    with pytest.raises(AttributeError, match="has no attribute 'draw'"):
        _ = old.draw


def test_pictures_need_no_matplotlib():
    code = "import sys, tfrcnn.drawing; print('matplotlib' in sys.modules, 'tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"
