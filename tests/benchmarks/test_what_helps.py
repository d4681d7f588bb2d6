"""The program that measures options: its data by hand, and its tables with training replaced."""

import json
from types import SimpleNamespace

import pytest

import tfrcnn
from tfrcnn.data.digits import make_digit_scenes


@pytest.fixture
def what_helps(program):
    return program("what_helps")


def count(path, name):
    content = json.loads(path.read_text())
    category = next(c["id"] for c in content["categories"] if c["name"] == name)
    return sum(a["category_id"] == category for a in content["annotations"]), content


def test_a_fifth_of_the_rare_class_stays_and_no_box_loses_its_image(what_helps, tmp_path):
    path = make_digit_scenes(tmp_path, train=60, val=1, test=1)["train"]
    before, _ = count(path, what_helps.RARE)
    what_helps.thin(path)
    after, content = count(path, what_helps.RARE)
    assert after == round(0.2 * before)
    images = {image["id"] for image in content["images"]}
    assert len(images) < 60
    assert {a["image_id"] for a in content["annotations"]} <= images


def test_the_objects_of_a_table_have_its_size_and_shape(what_helps, tmp_path):
    boxes = {}
    for table in ("small", "long"):
        test = tfrcnn.load_dataset(str(what_helps.scenes(table, tmp_path / table, 8)["train"]))
        boxes[table] = [box for example in test.examples for box in example.boxes]
    assert all(8 <= y2 - y1 <= 16 for y1, _, y2, _ in boxes["small"])
    assert all((x2 - x1) / (y2 - y1) > 5.5 for y1, x1, y2, x2 in boxes["long"])


def test_a_table_has_a_number_per_seed_and_each_row_its_own_change(what_helps, tmp_path, monkeypatch, capsys):
    trained = []

    def train(folder, paths, epochs, seed, changes):
        trained.append((folder.name, epochs, seed, changes))
        return SimpleNamespace(seed=seed)

    monkeypatch.setattr(what_helps, "trained", train)
    monkeypatch.setattr(what_helps, "scores", lambda run, test: {"AP": 0.5 + run.seed / 10, "AP50": 0.9, "AP75": None})
    what_helps.main(["--out", str(tmp_path), "--tables", "copy-paste", "--scenes", "2"])
    assert trained == [
        ("nothing-0", 72, 0, {}),
        ("training.copy_paste=0.5-0", 72, 0, {"training.copy_paste": 0.5}),
        ("nothing-1", 72, 1, {}),
        ("training.copy_paste=0.5-1", 72, 1, {"training.copy_paste": 0.5}),
    ]
    assert "| training.copy_paste=0.5 | 0.500, 0.600 | 0.900, 0.900 | -, - |" in capsys.readouterr().out


def test_the_changes_of_every_row_are_fields_of_the_configuration(what_helps, tmp_path):
    path = make_digit_scenes(tmp_path, train=2, val=1, test=1)["train"]
    for _, _, _, rows in what_helps.TABLES.values():
        for changes in rows.values():
            resolved = tfrcnn.Recipe(str(path), model="tiny_fpn", backbone_weights="none", changes=changes).resolved()
            assert resolved.detector is not None
