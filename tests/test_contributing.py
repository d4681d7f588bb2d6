"""CONTRIBUTING's table "Where to add what": its paths and names exist, and its rows are all that it takes.

Each test adds what one row adds, in one place or in a copy of the package, and uses it as a user would.
"""

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfrcnn
from tfrcnn.cli.main import main
from tfrcnn.cli.options import DATA_HELP
from tfrcnn.config import Category
from tfrcnn.data.checks import BoxRecord, ImageRecord, Parsed
from tfrcnn.data.data_format import DataFormat
from tfrcnn.data.faults import Fault
from tfrcnn.data.formats import FORMATS
from tfrcnn.errors import InputError
from tfrcnn.models import build_detector, preset
from tfrcnn.models.backbones import BACKBONES
from tfrcnn.models.presets import with_changes
from tfrcnn.training.joint import TrainingModel
from tfrcnn.training.losses import BOX_LOSSES, smooth_l1_loss
from tfrcnn.training.run_optimizer import make_optimizer
from tfrcnn.training.schemes import freeze

from .cli.conftest import write_coco
from .models.test_own_backbone import assert_same_detections, config_of, small_network
from .training.test_joint import TRAINING, make_batch

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("a backbone", "a box loss", "an augmentation", "a data format", "an export target")


def read_rows():
    """Return the cells of each row by its first cell."""
    lines = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in rows[1:]}


ROWS = read_rows()


def names_of(path):
    """Return the names that a Python file, or the files of a folder, define at their top level."""
    names = set()
    for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
        if file.suffix == ".py":
            for node in ast.parse(file.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    names.add(node.name)
                elif isinstance(node, ast.Assign | ast.AnnAssign):
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    names.update(target.id for target in targets if isinstance(target, ast.Name))
        elif file.suffix == ".yml":
            names.update(re.findall(r"^(\w+):", file.read_text(encoding="utf-8"), re.MULTILINE))
    return names


def is_path(word):
    return "/" in word or word.endswith((".md", ".yml"))


def missing(text):
    """List the words in backticks that do not exist: paths, dotted names, commands, and names of the text's files."""
    words = re.findall(r"`([^`]+)`", text)
    paths = [ROOT / word for word in words if is_path(word)]
    names = set().union(*(names_of(path) for path in paths if path.exists()))
    wrong = []
    for word in words:
        if is_path(word):
            path = ROOT / word
            there = path.parent.is_dir() if "FORMAT" in word else path.exists()
        elif word.startswith("make "):
            there = re.search(rf"^{word[5:]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        elif word.startswith("tfrcnn."):
            there = can_import(word)
        else:
            there = word in names
        if not there:
            wrong.append(word)
    return wrong


def can_import(name):
    home, _, last = name.rpartition(".")
    return hasattr(importlib.import_module(home), last)


def test_the_table_has_a_row_for_everything_that_is_tried_here():
    assert len(ROWS) > 15
    assert set(KINDS) <= set(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_every_path_and_name_of_a_row_exists(row):
    assert missing(" ".join(ROWS[row])) == []


def test_a_path_or_name_that_is_gone_is_found():
    words = ["tfrcnn/gone.py", "GONE", "tfrcnn.gone", "make gone", "BOX_LOSSES", "tfrcnn/training/losses.py"]
    assert missing(" ".join(f"`{word}`" for word in words)) == words[:4]


@pytest.mark.slow
def test_a_backbone_is_a_spec_and_a_line(tmp_path, monkeypatch):
    stages = ("stem", "out1", "out2", "out3")
    spec = tfrcnn.BackboneSpec(lambda config: small_network(), taps=stages[1:], stages=stages)
    monkeypatch.setitem(BACKBONES, "contributed", spec)
    config = config_of("contributed")
    detector = tfrcnn.build_detector(config.replace(image=config.image.replace(static_size=(96, 128))))
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    assert len(tfrcnn.Predictor(detector).detect(image).scores) == 5
    tfrcnn.save_detector(detector, tmp_path)
    assert_same_detections(detector, tfrcnn.load_detector(tmp_path), image[None].astype(np.float32))
    for count, last in enumerate(stages, start=1):
        freeze(detector, TRAINING.replace(frozen_stages=count))
        names = [layer.name for layer in detector.backbone.layers if not layer.trainable]
        assert names[-1] == last


@pytest.mark.slow
def test_a_box_loss_is_a_function_and_a_line(monkeypatch):
    def doubled(config, box_weights):
        loss = smooth_l1_loss(config, box_weights)
        return lambda deltas, targets, boxes: 2 * loss(deltas, targets, boxes)

    monkeypatch.setitem(BOX_LOSSES, "doubled", doubled)
    start = preset("tiny_fpn", (Category(3, "a"), Category(90, "b")))
    names = {f"detector.{part}.box_loss.name": "doubled" for part in ("rpn", "head")}
    expected, actual = (first_losses(config) for config in (start.detector, with_changes(start, names).detector))
    for name in ("rpn_box_loss", "box_loss"):
        assert expected[name] > 0
        np.testing.assert_allclose(actual[name], 2 * expected[name], rtol=1e-5)
    for name in ("rpn_objectness_loss", "classifier_loss"):
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-5)


def first_losses(config):
    """Train one step, and return its losses by name."""
    keras.utils.set_random_seed(0)
    model = TrainingModel(build_detector(config), 0)
    model.compile(optimizer=make_optimizer(TRAINING, 10), run_eagerly=True)
    before = [weight.numpy() for weight in model.trainable_variables]
    history = model.fit(tf.data.Dataset.from_tensors(make_batch()), shuffle=False, verbose=0).history
    assert any(np.any(weight.numpy() != value) for weight, value in zip(model.trainable_variables, before))
    return {name: values[0] for name, values in history.items()}


TRANSPOSE = """

def transpose(image, boxes, labels, seed):
    def swapped():
        return tf.transpose(image, [1, 0, 2]), tf.gather(boxes, [1, 0, 3, 2], axis=1)

    image, boxes = tf.cond(tf.random.stateless_uniform([], seed) < 0.5, swapped, lambda: (image, boxes))
    return image, boxes, labels
"""
LAST_LINE = '        steps["color_jitter"] = partial(color_jitter, strength=training.color_jitter)\n'
IMPORT_TRANSPOSE = "from tfrcnn.data.augment.geometry import transpose\n"
TRANSPOSE_LINE = """    if training.transpose:
        steps["transpose"] = transpose
"""
USE_TRANSPOSE = """
import sys
import numpy as np
import tfrcnn
from tfrcnn.models.presets import with_changes

dataset = tfrcnn.load_dataset(sys.argv[1])
start = tfrcnn.preset("tiny_fpn", dataset.categories)
counts = {False: 0, True: 0}
changes = {"training.horizontal_flip": True, "training.batch_size": 4}
batches = []
for transpose in (False, True):
    preset = with_changes(start, {**changes, "training.transpose": transpose})
    batches.append(tfrcnn.training_data(dataset, preset.detector.image, preset.training).batches().take(3))
for one, other in zip(*batches):
    np.testing.assert_array_equal(other["image_index"], one["image_index"])
    for i in range(4):
        size, other_size = (batch["image_sizes"][i].numpy().astype(int) for batch in (one, other))
        before, after = (b["images"][i, :h, :w].numpy() for b, (h, w) in ((one, size), (other, other_size)))
        boxes, moved = (batch["boxes"][i].numpy() for batch in (one, other))
        swapped = before.shape != after.shape or np.abs(after - before).max() > 1
        if swapped:
            before, boxes = before.transpose(1, 0, 2), boxes[:, [1, 0, 3, 2]]
        np.testing.assert_allclose(after, before, atol=1e-2)
        np.testing.assert_allclose(moved, boxes, atol=1e-3)
        counts[swapped] += 1
assert all(counts.values()), counts
print("used", tfrcnn.__file__)
"""


@pytest.mark.slow
def test_an_augmentation_is_a_function_a_line_and_an_option(tmp_path):
    """It swaps the axes of some images, boxes too; the draws of the horizontal flip stay."""
    package = Path(tfrcnn.__file__).parent
    shutil.copytree(package, tmp_path / "tfrcnn", ignore=shutil.ignore_patterns("__pycache__"))
    edit(tmp_path / "tfrcnn/config_training.py", "    color_jitter: float = 0.0\n", "    transpose: bool = False\n")
    steps, geometry = (tmp_path / f"tfrcnn/data/augment/{name}.py" for name in ("__init__", "geometry"))
    edit(steps, LAST_LINE, TRANSPOSE_LINE)
    edit(steps, "from tfrcnn.data.augment.common import Augmentation, Sample\n", IMPORT_TRANSPOSE)
    geometry.write_text(geometry.read_text(encoding="utf-8") + TRANSPOSE, encoding="utf-8")
    command = [sys.executable, "-P", "-c", USE_TRANSPOSE, str(write_coco(tmp_path / "data"))]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"used {tmp_path}" in done.stdout


def edit(path, line, added):
    """Add text behind a line."""
    text = path.read_text(encoding="utf-8")
    assert text.count(line) == 1
    path.write_text(text.replace(line, line + added), encoding="utf-8")


class Lines(DataFormat):
    """`path/NAME.lines`: one box per line, "picture y1 x1 y2 x2 category"."""

    expected = "a .lines file"
    extensions = (".lines",)

    def find(self, path):
        return {"": partial(self.parse, path)} if path.endswith(".lines") and Path(path).is_file() else {}

    def parse(self, data, images):
        path = Path(data)
        parsed = Parsed(False, "line {}", lambda *box: " ".join(map(str, box)))
        rows = [line.split() for line in path.read_text().splitlines()]
        names, categories = ([*dict.fromkeys(row[i] for row in rows if len(row) == 6)] for i in (0, 5))
        parsed.categories = tuple(Category(i, name) for i, name in enumerate(categories, 1))
        folder = images or path.parent
        parsed.images = [ImageRecord(name, (folder / name,), None, data, "line", "line") for name in names]
        for i, row in enumerate(rows):
            if len(row) == 6:
                box = tuple(map(float, row[1:5]))
                parsed.boxes.append(BoxRecord(names.index(row[0]), i, box, categories.index(row[5])))
            else:
                parsed.faults.append(Fault("bad-value", data, f"line {i}", f"expected 6 words, found {len(row)}"))
        return parsed


class TestADataFormat:
    @pytest.fixture(autouse=True)
    def table(self, monkeypatch):
        monkeypatch.setitem(FORMATS, "lines", Lines())

    @pytest.fixture
    def data(self, tmp_path):
        for name in ("a", "b"):
            Image.new("RGB", (40, 30)).save(tmp_path / f"{name}.png")
            box = "1 2 20 31" if name == "a" else "5 5 9 50"
            (tmp_path / f"{name}.lines").write_text(f"{name}.png {box} cat\n")
        return [str(tmp_path / f"{name}.lines") for name in ("a", "b")]

    def test_is_read_and_its_faults_are_reported(self, data):
        dataset, report = tfrcnn.read_dataset(data[0])
        assert not report.refused
        assert [category.name for category in dataset.categories] == ["cat"]
        np.testing.assert_array_equal(dataset.examples[0].boxes, [[1, 2, 20, 31]])
        Path(data[0]).write_text("a.png 1 2\n")
        assert "bad-value" in tfrcnn.read_dataset(data[0])[1].counts()

    def test_is_read_with_a_folder_of_images(self, data, tmp_path):
        (tmp_path / "else").mkdir()
        shutil.move(tmp_path / "a.png", tmp_path / "else")
        assert tfrcnn.load_dataset(data[0], tmp_path / "else").examples[0].path == tmp_path / "else" / "a.png"

    def test_is_examined_by_the_doctor(self, data, capsys):
        assert main(["doctor", "--data", data[1], "--model", "tiny_fpn"]) == 0
        assert "box-beyond-image" in capsys.readouterr().out
        assert tfrcnn.diagnose(data[1]).counts()["box-beyond-image"] == 1

    def test_is_joined_by_a_plus_with_every_format(self, data, tmp_path):
        coco = write_coco(tmp_path, categories=[{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}])
        assert len(tfrcnn.load_dataset(f"{coco}+{data[0]}+{data[1]}")) == 6
        with pytest.raises(InputError, match=r"found nothing at .*gone\.lines$"):
            tfrcnn.load_dataset(f"{tmp_path}/gone.lines+{data[0]}")

    def test_is_named_and_suggested_by_messages(self, data, tmp_path):
        with pytest.raises(InputError, match=r"found the folder .* with 2 x \.lines, 2 x \.png; did") as caught:
            tfrcnn.load_dataset(str(tmp_path))
        assert f"did you mean {' or '.join(data)}?" in str(caught.value)
        assert "\n  lines:PATH is a .lines file" in str(caught.value)
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match=r"found the folder .* with nothing in it\nLooked for:\n  lines:PATH is a"):
            tfrcnn.load_dataset(f"lines:{tmp_path}/empty")

    def test_is_chosen_by_its_prefix(self, data):
        assert len(tfrcnn.load_dataset(f"lines:{data[0]}")) == 1
        with pytest.raises(InputError, match=r"found the file .*a\.lines\nLooked for:\n  coco:PATH"):
            tfrcnn.load_dataset(f"coco:{data[0]}")


def test_the_help_of_the_commands_names_every_data_format():
    for data_format in FORMATS.values():
        word = re.search(r"\.\w+|\w+@\w+", data_format.expected)
        assert word is not None
        assert word[0] in DATA_HELP


def test_an_export_target_is_a_module_and_a_line():
    """test_targets.py adds the toy target to the table that the row names, and does with it what is listed here."""
    assert "`TARGETS` of `export/__init__.py`" in ROWS["an export target"][0]
    assert "Toy" in names_of(ROOT / "tests/export/toy.py")
    assert {
        "test_a_new_format_is_exported_verified_and_loaded",
        "test_the_command_line_lists_a_new_format",
        "test_the_command_line_exports_and_times_a_new_format",
        "test_exports_import_relatively",
    } <= names_of(ROOT / "tests/export/test_targets.py") | names_of(ROOT / "tests/test_architecture.py")
