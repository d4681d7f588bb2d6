"""YOLO projects: the layouts of Ultralytics, Roboflow, Label Studio, labelImg, CVAT and Darknet, and each fault."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tfrcnn.data import yolo as module
from tfrcnn.data.example import Dataset
from tfrcnn.data.read import load_dataset, read_dataset
from tfrcnn.errors import InputError

BOX = "1 0.25 0.5 0.1 0.2\n"  # in 40 x 30 pixels: x 8..12, y 12..18
PIXELS = [[12, 8, 18, 12]]
YAML = "names: ['cat', 'dog']\nnc: 2\n"


def write(root: Path, files: dict[str, str], *images: str) -> Path:
    """Text files, and images of 40 x 30."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    for name in images:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(root / name)
    return root


def boxes(dataset: Dataset) -> list[list[float]]:
    return [np.round(box, 4).tolist() for example in dataset.examples for box in example.boxes]


NOTES = json.dumps({"categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}], "info": {"year": 2026}})
OBJ_DATA = "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n"
CVAT_YAML = "names:\n  0: cat\n  1: dog\npath: .\ntrain: train.txt\n"
LAYOUTS: dict[str, tuple[dict[str, str], str, str]] = {  # by tool: texts, the image, and what DATA adds to the folder
    "Ultralytics": (
        {"data.yaml": "path: ../datasets/cells\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n"
         "download: https://example.org/cells.zip\n", "labels/train/a.txt": BOX, "labels/val/b.txt": ""},
        "images/train/a.jpg", "/data.yaml@train"),
    "Ultralytics, its folder": (
        {"data.yaml": f"train: images/train\nval: images/val\n{YAML}", "labels/train/a.txt": BOX},
        "images/train/a.jpg", "@train"),
    "Ultralytics, list of folders": (
        {"cells.yaml": f"path: /elsewhere\ntrain: [images/part1, images/part2]\n{YAML}", "labels/part2/a.txt": BOX,
         "images/part1/note.md": ""},
        "images/part2/a.jpg", ""),
    "Ultralytics, list of images": (
        {"data.yaml": f"train: train.txt\n{YAML}", "train.txt": "./images/a.jpg\n\n", "labels/a.txt": BOX},
        "images/a.jpg", "@train"),
    "Roboflow": (
        {"data.yaml": f"train: ../train/images\nval: ../valid/images\n{YAML}roboflow:\n  workspace: x\n",
         "train/labels/a_jpg.rf.1.txt": BOX, "valid/labels/b.txt": BOX},
        "train/images/a_jpg.rf.1.jpg", "@train"),
    "Roboflow, one split": (
        {"data.yaml": f"train: ../train/images\n{YAML}", "train/labels/a_jpg.rf.1.txt": BOX},
        "train/images/a_jpg.rf.1.jpg", "/train"),
    "Roboflow, absolute paths of a notebook": (
        {"data.yaml": f"train: /content/cells-1/train/images\n{YAML}", "train/labels/a.txt": BOX},
        "train/images/a.jpg", "@train"),
    "Roboflow's Darknet": (
        {"train/_darknet.labels": "cat\ndog\n", "train/a_jpg.rf.1.txt": BOX, "README.roboflow.txt": "cells - v1"},
        "train/a_jpg.rf.1.jpg", "@train"),
    "Label Studio": (
        {"classes.txt": "cat\ndog\n", "notes.json": NOTES, "labels/3a-a.txt": BOX}, "images/3a-a.jpg", ""),
    "Label Studio, notes alone": ({"notes.json": NOTES, "labels/3a-a.txt": BOX}, "images/3a-a.png", ""),
    "labelImg": ({"classes.txt": "cat\ndog", "a.txt": BOX}, "a.jpg", ""),
    "labelImg, its picture converted since": ({"classes.txt": "cat\ndog\n", "a.txt": BOX}, "a.png", ""),
    "labelImg, a folder to save to": ({"out/classes.txt": "cat\ndog\n", "out/a.txt": BOX}, "Mikroskop 3/a.JPG", ""),
    "labelImg, labels/ and photos in images/": (
        {"labels/classes.txt": "cat\ndog\n", "labels/a.txt": BOX}, "images/a.jpg", "/images"),
    "Darknet, CVAT's YOLO 1.1": (
        {"obj.data": OBJ_DATA, "obj.names": "cat\ndog\n", "train.txt": "data/obj_train_data/a.png\n",
         "obj_train_data/a.txt": BOX}, "obj_train_data/a.png", ""),
    "CVAT's Ultralytics YOLO": (
        {"data.yaml": CVAT_YAML, "train.txt": "data/images/train/a.png\n", "labels/train/a.txt": BOX},
        "images/train/a.png", ""),
    "folders of splits without names in a yaml": (
        {"classes.txt": "\ufeffcat\ndog\n", "labels/train/sub/a.txt": BOX, "labels/val/b.txt": BOX},
        "images/train/sub/a.jpg", "@train"),
    "YOLO next to VOC's pictures": (
        {"classes.txt": "cat\ndog\n", "labels/a.txt": BOX}, "JPEGImages/a.jpg", ""),
}  # fmt: skip


@pytest.mark.parametrize("tool", LAYOUTS)
def test_project_is_read_as_it_comes(tmp_path: Path, tool: str) -> None:
    files, image, data = LAYOUTS[tool]
    dataset, report = read_dataset(f"{write(tmp_path, files, image)}{data}")
    assert not report.refused
    assert report.counts().keys() <= {"category-without-boxes", "image-path-differs", "label-without-image"}
    (example,) = dataset.examples
    assert boxes(dataset) == PIXELS  # the box is at its centre; x counts in widths and y in heights
    assert (example.labels.tolist(), [category.name for category in dataset.categories]) == ([1], ["cat", "dog"])
    assert example.path == tmp_path / image
    assert (example.height, example.width, example.area.tolist()) == (30, 40, pytest.approx([24]))


def test_splits_are_chosen_and_listed(tmp_path: Path) -> None:
    files = {"data.yaml": f"train: train/images\nval: valid/images\ntest:\n{YAML}"}
    for split, name in (("train", "a"), ("valid", "b")):
        files[f"{split}/labels/{name}.txt"] = BOX
    write(tmp_path, files, "train/images/a.jpg", "valid/images/b.jpg")
    assert load_dataset(f"{tmp_path}@valid").examples[0].path.name == "b.jpg"
    assert load_dataset(f"yolo:{tmp_path}/data.yaml@val").examples[0].path.name == "b.jpg"
    assert len(load_dataset(f"{tmp_path}@train+{tmp_path}@val")) == 2
    with pytest.raises(InputError, match=r"found the folder .* with 2 \(yolo\); did you mean .*@train or .*@val\?"):
        load_dataset(str(tmp_path))
    with pytest.raises(
        InputError, match=r"found the file .*/data.yaml with 2 \(yolo\); did you mean .*/data.yaml@train "
    ):
        load_dataset(f"{tmp_path}/data.yaml")
    with pytest.raises(InputError, match=r"expected one of the splits train, val in .*, found 'test' after the @"):
        load_dataset(f"{tmp_path}@test")


def test_x_and_y_are_the_centre_and_count_in_widths_and_heights(tmp_path: Path) -> None:
    files = {"classes.txt": "cat\ndog\n", "a.txt": "0 0.5 0.25 0.2 0.1\n0 0.5 0.5 1 1\n0 0.1 0.9 0.2 0.2\n"}
    dataset, report = read_dataset(str(write(tmp_path, files, "a.jpg")))
    assert boxes(dataset) == [[6, 16, 9, 24], [0, 0, 30, 40], [24, 0, 30, 8]]
    assert report.counts().keys() == {"category-without-boxes"}


def test_polygon_becomes_the_box_around_it(tmp_path: Path) -> None:
    polygon = "0 0.1 0.2 0.6 0.1 0.5 0.9\n1 0.5 0.5 0.75 0.5 0.75 1 0.5 1\n"
    root = write(tmp_path, {"classes.txt": "cat\ndog\n", "a.txt": polygon}, "a.jpg")
    assert boxes(load_dataset(str(root))) == [[3, 4, 27, 24], [15, 20, 30, 30]]


def test_keypoints_after_the_box_are_left_out(tmp_path: Path) -> None:
    files = {
        "data.yaml": f"train: images\nkpt_shape: [2, 3]\n{YAML}",
        "labels/a.txt": BOX[:-1] + " 0.1 0.1 2 0.3 0.3 2\n",
    }
    assert boxes(load_dataset(str(write(tmp_path, files, "images/a.jpg")))) == PIXELS


def test_rotated_photo_is_read_upright(tmp_path: Path) -> None:
    """A photo of 40 x 30 stored pixels that is shown turned by a quarter has 30 x 40, which the parts refer to."""
    write(tmp_path, {"classes.txt": "cat\ndog\n", "a.txt": BOX})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    dataset, report = read_dataset(str(tmp_path))
    (example,) = dataset.examples
    assert (example.height, example.width, example.orientation) == (40, 30, 6)
    assert boxes(dataset) == [[16, 6, 24, 9]]
    assert report.counts().keys() == {"category-without-boxes"}


def test_classes_count_from_0_in_every_file_of_names(tmp_path: Path) -> None:
    for number, names in enumerate(("names: [cat, dog]", "names: {0: cat, 1: dog}", 'names:\n  "1": dog\n  "0": cat')):
        root = write(
            tmp_path / str(number), {"data.yaml": f"train: .\n{names}\n", "a.txt": "0 0.5 0.5 0.1 0.1"}, "a.jpg"
        )
        dataset = load_dataset(str(root))
        assert dataset.categories[dataset.examples[0].labels[0]].name == "cat"


def test_names_that_yaml_takes_for_other_values_stay_names(tmp_path: Path) -> None:
    files = {"data.yaml": "train: .\nnames: [no, 7, null, 1e3, 血小板]\n", "a.txt": BOX}
    dataset = load_dataset(str(write(tmp_path, files, "a.jpg")))
    assert [category.name for category in dataset.categories] == ["no", "7", "null", "1e3", "血小板"]


def test_classes_without_names_are_their_numbers_in_every_split(tmp_path: Path) -> None:
    files = {"labels/train/a.txt": BOX, "labels/val/b.txt": "3 0.5 0.5 0.1 0.1"}
    root = write(tmp_path, files, "images/train/a.jpg", "images/val/b.jpg")
    dataset, report = read_dataset(f"{root}@train")
    assert [category.name for category in dataset.categories] == ["1", "3"]
    assert dataset.categories == load_dataset(f"{root}@val").categories
    assert report.counts()["numbered-categories"] == 1
    assert not report.refused


FAULTS: dict[str, tuple[str, str, str]] = {  # by name: the line, the kind and the message
    "too few columns": ("1 0.5 0.5 0.1", "bad-value", "expected 5 numbers .*, found 4 numbers"),
    "too many columns": ("1 0.5 0.5 0.1 0.1 0.9", "bad-value", "expected 5 numbers .*, found 6 numbers"),
    "a polygon of two points": ("1 0.5 0.5 0.1 0.1 0.9 0.2 0.3", "bad-value", "expected 5 .*, found 8 numbers"),
    "a word": ("cat 0.5 0.5 0.1 0.1", "bad-value", "expected numbers, found 'cat'"),
    "commas": ("1,0.5,0.5,0.1,0.1", "bad-value", "expected numbers, found '1,0.5,0.5,0.1,0.1'"),
    "a decimal comma": ("1 0,5 0.5 0.1 0.1", "bad-value", "expected numbers, found '0,5'"),
    "pixels": ("1 20 15 4 6", "bad-value", r"expected parts of .*, in 0..1, found 20 \(pixels\?\)"),
    "a class with a fraction": ("1.5 0.5 0.5 0.1 0.1", "bad-value", "expected a class of 0, 1, 2, ..., found 1.5"),
    "a negative class": ("-1 0.5 0.5 0.1 0.1", "bad-value", "expected a class of 0, 1, 2, ..., found -1"),
    "a class beyond the names": ("2 0.5 0.5 0.1 0.1", "unknown-category", "expected a class in 0..1, .*, found 2"),
    "a box beyond the image": ("1 0.9 0.5 0.4 0.2", "box-beyond-image", "image of 40 x 30 px, found 0.9 0.5 0.4 0.2"),
    "a centre beyond the image": ("1 1.5 0.5 0.4 0.2", "box-outside-image", "image of 40 x 30 px, found 1.5 0.5"),
    "no width": ("1 0.5 0.5 0 0.2", "zero-area-box", "expected positive sides, found 0.5 0.5 0 0.2"),
    "a negative width": ("1 0.5 0.5 -0.1 0.2", "inverted-box", "expected positive sides, found 0.5 0.5 -0.1 0.2"),
    "no number": ("1 nan 0.5 0.1 0.2", "nan-box", "expected four finite numbers, found nan 0.5"),
    "a polygon without a number": ("1 nan 0 0.5 0 0.5 0.5", "nan-box", "expected four finite numbers"),
    "a line twice": (BOX.strip(), "duplicate-box", "expected each object once, found 0.25 0.5 0.1 0.2 again"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_of_a_line_names_file_and_line(tmp_path: Path, name: str) -> None:
    line, kind, message = FAULTS[name]
    root = write(tmp_path, {"classes.txt": "cat\ndog\n", "labels/a.txt": f"{BOX}\n{line}\n"}, "images/a.jpg")
    faults = [fault for fault in read_dataset(str(root))[1].faults if fault.kind != "category-without-boxes"]
    assert [(fault.kind, fault.file, fault.field) for fault in faults] == [(kind, f"{root}/labels/a.txt", "line 3")]
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(faults[0].message)


@pytest.mark.parametrize(
    ("classes", "asks"), [((1, 2), True), ((2,), True), ((0, 1, 2), False), ((1, 3), False), ((1, 1), False)]
)
def test_labels_that_may_count_from_1_are_asked_about(tmp_path: Path, classes: tuple[int, ...], asks: bool) -> None:
    lines = "".join(f"{number} 0.5 0.5 0.1 0.{i + 1}\n" for i, number in enumerate(classes))
    root = write(tmp_path, {"classes.txt": "cat\ndog\n", "labels/a.txt": lines}, "images/a.jpg")
    messages = [fault.message for fault in read_dataset(str(root))[1].faults if fault.kind == "unknown-category"]
    assert len(messages) == sum(number > 1 for number in classes)
    assert all(message.endswith("no label is of class 0: do they count from 1?") is asks for message in messages)


def test_image_without_label_is_a_negative_and_label_without_image_is_reported(tmp_path: Path) -> None:
    files = {"classes.txt": "cat\ndog\n", "labels/a.txt": BOX, "labels/gone.txt": BOX * 2, "labels/empty.txt": ""}
    root = write(tmp_path, files, "images/a.jpg", "images/b.jpg", "images/empty.jpg")
    dataset, report = read_dataset(str(root))
    assert [len(example.boxes) for example in dataset.examples] == [1, 0, 0]
    assert not report.refused
    assert [fault.render() for fault in report.faults[:2]] == [
        f"{root}/images/b.jpg: expected b.txt in {root}/labels, found none",
        f"{root}/labels/gone.txt: expected an image gone for 2 boxes, found none",
    ]
    assert report.counts().keys() == {"image-without-label", "label-without-image", "category-without-boxes"}


CONFIGS: dict[str, tuple[str, str, str, str]] = {  # by name: data.yaml, the kind, the field and the message
    "broken YAML": ("names: [cat\ntrain: images\n", "syntax-error", "line 2, column 6", "expected YAML, found: "),
    "no split": (YAML, "bad-value", "train", "expected a folder or a list of images, found nothing"),
    "another number of names": (
        "train: images\nnames: [cat, dog]\nnc: 3\n",
        "bad-value",
        "nc",
        "expected 2, .* found 3",
    ),
    "a name twice": ("train: images\nnames: [dog, dog]\n", "duplicate-category", "names", "found 'dog' 2 times"),
    "no name": ("train: images\nnames: [cat, dog, '']\n", "bad-value", "names", "a name, found 2: ''"),
    "a folder that is not there": (f"train: pictures\n{YAML}", "empty-split", "train", "found nothing at pictures in "),
    "an empty file": ("", "bad-value", "line 1", "expected names, train and val, found an empty file"),
    "comments alone": ("# cells\n", "bad-value", "line 1", "expected names, train and val, found an empty file"),
    "a list": ("- cat\n- dog\n", "bad-value", "line 1", "expected names, train and val, found no keys"),
    "two documents": (
        f"train: images\n{YAML}---\ntrain: images\n",
        "syntax-error",
        "line 4, column 1",
        "^expected YAML, found: another document$",
    ),
    "a tab": (
        "train: images\nnames:\n\t- cat\n",
        "syntax-error",
        "line 3, column 1",
        "^expected YAML, found: character",
    ),
    "keys twice": (
        f"train: images\n{YAML}train: other\nnc: 3\n",
        "syntax-error",
        "line 4",
        "^expected each key once, found 'train' in lines 1 and 4, 'nc' in lines 3 and 5$",
    ),
    "a class twice": (
        "train: images\nnames:\n  0: cat\n  1: dog\n  0: bird\n",
        "syntax-error",
        "line 5",
        "^expected each key once, found '0' in lines 3 and 5$",
    ),
    "a folder without images": (f"train: labels\n{YAML}", "empty-split", "", "expected at least one image, found none"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_fault_of_data_yaml_names_its_field(tmp_path: Path, name: str) -> None:
    text, kind, field, message = CONFIGS[name]
    root = write(tmp_path, {"data.yaml": text, "labels/a.txt": BOX}, "images/a.jpg")
    report = read_dataset(f"{root}/data.yaml")[1]
    assert report.refused
    fault = next(fault for fault in report.faults if fault.kind == kind)
    assert fault.field == field
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(fault.message)


@pytest.mark.parametrize("name", ["broken YAML", "two documents", "keys twice", "an empty file", "a list"])
@pytest.mark.parametrize("split", ["", "@train"])
def test_a_damaged_data_yaml_is_the_fault_of_its_folder_and_of_each_split(
    tmp_path: Path, name: str, split: str
) -> None:
    text, kind, field, message = CONFIGS[name]
    root = write(tmp_path, {"data.yaml": text, "labels/train/a.txt": BOX}, "images/train/a.jpg")
    report = read_dataset(f"{root}{split}")[1]
    assert report.refused
    (fault,) = (fault for fault in report.faults if fault.kind == kind)
    assert (fault.file, fault.field) == (f"{root}/data.yaml", field)
    assert re.search(message, fault.message)


def test_an_empty_data_yaml_next_to_another_format_or_names_does_not_matter(tmp_path: Path) -> None:
    root = write(tmp_path / "yolo", {"data.yaml": "", "classes.txt": "cat\ndog\n", "a.txt": BOX}, "a.jpg")
    assert boxes(load_dataset(str(root))) == PIXELS
    image = {"id": 1, "file_name": "a.jpg", "width": 40, "height": 30}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 12, 4, 6]}
    content = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "cat"}]}
    root = write(tmp_path / "coco", {"data.yaml": "", "cells.json": json.dumps(content)}, "images/a.jpg")
    assert boxes(load_dataset(str(root))) == PIXELS


def test_a_key_twice_in_an_obj_data_is_refused_with_its_lines(tmp_path: Path) -> None:
    data = f"{OBJ_DATA}train = data/test.txt\n"
    root = write(tmp_path, {"obj.data": data, "obj.names": "cat\ndog\n", "train.txt": "a.jpg\n", "a.txt": BOX}, "a.jpg")
    (fault,) = read_dataset(str(root))[1].faults
    assert (fault.kind, fault.field) == ("syntax-error", "line 5")
    assert fault.message == "expected each key once, found 'train' in lines 2 and 5"


def test_fault_of_a_list_names_its_line(tmp_path: Path) -> None:
    lists = "images/a.jpg\nimages/gone.jpg\nimages/a.jpg\n"
    root = write(tmp_path, {"data.yaml": f"train: t.txt\n{YAML}", "t.txt": lists, "labels/a.txt": BOX}, "images/a.jpg")
    faults = [(f.kind, f.file, f.field) for f in read_dataset(str(root))[1].faults if f.action == "refused"]
    file = f"{root}/t.txt"
    assert faults == [("missing-image", file, "line 2"), ("duplicate-image-id", file, "line 3")]


def test_images_without_any_label_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path, {"data.yaml": f"train: images\n{YAML}"}, "images/a.jpg")
    with pytest.raises(InputError, match=r"1 x missing-annotation.*\n.*expected .txt files in .*, found none"):
        load_dataset(str(root))


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    root = write(tmp_path, {"p/classes.txt": "cat\ndog\n", "p/labels/a.txt": BOX}, "p/images/a.jpg", "else/a.png")
    assert load_dataset(f"{root}/p", root / "else").examples[0].path == root / "else/a.png"
    assert boxes(load_dataset(f"{root}/p", root / "else")) == PIXELS


@pytest.mark.parametrize("folder", ["", "labels/"])
def test_labels_that_were_exported_alone_need_the_folder_of_images(tmp_path: Path, folder: str) -> None:
    files = {"p/classes.txt": "cat\ndog\n", f"p/{folder}a.txt": BOX}
    root = write(tmp_path, files, "else/a.jpg")
    with pytest.raises(
        InputError, match=r"1 x empty-split: .*\n.*expected at least one image, found none; set the fol"
    ):
        load_dataset(f"{root}/p")
    assert boxes(load_dataset(f"{root}/p", root / "else")) == PIXELS


def test_list_of_images_that_are_elsewhere_has_its_labels_in_the_project(tmp_path: Path) -> None:
    files, _, _ = LAYOUTS["CVAT's Ultralytics YOLO"]
    root = write(tmp_path, {f"p/{name}": text for name, text in files.items()}, "else/a.png")
    dataset, report = read_dataset(f"{root}/p", root / "else")
    assert boxes(dataset) == PIXELS
    assert report.counts().keys() == {"category-without-boxes"}


def test_folder_of_two_formats_is_read_by_its_prefix(tmp_path: Path) -> None:
    annotation = "<annotation><filename>a.jpg</filename></annotation>"
    root = write(tmp_path, {"classes.txt": "cat\ndog\n", "a.txt": BOX, "a.xml": annotation}, "a.jpg")
    with pytest.raises(InputError, match=rf"found voc and yolo in .*; type voc:{root} or yolo:{root}$"):
        load_dataset(str(root))
    assert boxes(load_dataset(f"yolo:{root}")) == PIXELS


def test_texts_next_to_images_are_not_taken_for_labels(tmp_path: Path) -> None:
    root = write(tmp_path, {"images/readme.txt": "taken in 2026", "labels/notes.txt": "none yet"}, "images/a.jpg")
    with pytest.raises(InputError, match=r"expected a data set, found the folder .* with images/, labels/"):
        load_dataset(str(root))


TOKENS = st.sampled_from(["", "0", "1", "-1", "1e309", "nan", "inf", "1_0", "٣", "0x1", "9" * 400, "0,5", "\0", "0.5"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(TOKENS | st.floats().map(str) | st.text(max_size=3), max_size=9))
def test_no_line_crashes_the_reader(tmp_path: Path, words: list[str]) -> None:
    line = " ".join(words).encode("utf-8", "replace").decode()
    dataset, _ = read_dataset(str(write(tmp_path, {"classes.txt": "cat\ndog\n", "a.txt": line}, "a.jpg")))
    for example in dataset.examples:
        assert ((example.boxes >= 0) & (example.boxes <= [30, 40, 30, 40])).all()


def test_pictures_next_to_the_folders_of_splits_do_not_join_them(tmp_path: Path) -> None:
    files = {"classes.txt": "cat\ndog\n", "labels/train/a.txt": BOX, "labels/val/b.txt": BOX}
    root = write(tmp_path, files, "images/train/a.jpg", "images/val/b.jpg", "images/stray.jpg")
    assert [example.image_id for example in load_dataset(f"{root}@train").examples] == ["images/train/a.jpg"]
    with pytest.raises(InputError, match=r"with 2 \(yolo\); did you mean .*@train or .*@val\?"):
        load_dataset(str(root))
    write(root, {"labels/stray.txt": BOX})
    with pytest.raises(InputError, match=r"did you mean .*@train or .*@val or .*@ \(what is in no split\)\?"):
        load_dataset(str(root))
    dataset, report = read_dataset(f"{root}@")
    assert [example.image_id for example in dataset.examples] == ["images/stray.jpg"]
    assert report.counts() == {"category-without-boxes": 1}


def test_subsets_of_any_name_and_case_are_splits(tmp_path: Path) -> None:
    yaml = f"{YAML}path: .\nVal: images/Val\nholdout: holdout.txt\nTrain: images/Train\nlicense: CC BY\nurl: images\n"
    files = {"data.yaml": yaml, "holdout.txt": "images/Val/b.jpg\n", "labels/Train/a.txt": BOX, "labels/Val/b.txt": BOX}
    root = write(tmp_path, files, "images/Train/a.jpg", "images/Val/b.jpg")
    (root / "empty").mkdir()
    (root / "data.yaml").write_text(yaml.replace("url: images", "url: empty\nnote: ."))
    for split, name in (("train", "Train/a.jpg"), ("val", "Val/b.jpg"), ("holdout", "Val/b.jpg")):
        assert [example.image_id for example in load_dataset(f"{root}@{split}").examples] == [f"images/{name}"]
    with pytest.raises(InputError, match=r"with 3 \(yolo\); did you mean .*@Train or .*@Val or .*@holdout\?"):
        load_dataset(str(root))


def test_folders_of_labels_are_looked_for_once_per_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_for = []
    monkeypatch.setattr(module, "label_folders", lambda folder, *_: looked_for.append(folder) or [folder])
    root = write(tmp_path, {f"{name}.txt": BOX for name in "abcde"}, *(f"{name}.jpg" for name in "abcde"))
    assert len(read_dataset(str(root))[0]) == 5
    assert len(looked_for) < 5


def test_a_val_that_is_the_training_data_is_no_split(tmp_path: Path) -> None:
    files = {"data.yaml": f"train: images/train\nval: images/train  # needed\n{YAML}", "labels/train/a.txt": BOX}
    root = write(tmp_path, files, "images/train/a.jpg")
    assert boxes(load_dataset(str(root))) == boxes(load_dataset(f"{root}@train")) == PIXELS
    for data in (f"{root}@val", f"{root}@valid", f"yolo:{root}/data.yaml@val"):
        with pytest.raises(InputError, match=r"other images than those of train, found the same ones in .* val .*0\.2"):
            load_dataset(data)


def test_a_wrong_path_in_the_yaml_is_named_with_what_was_tried(tmp_path: Path) -> None:
    files = {"data.yaml": f"path: /datasets/cells\ntrain: images/train\n{YAML}"}
    (fault,) = read_dataset(str(write(tmp_path, files)))[1].faults[:1]
    assert (fault.kind, fault.file, fault.field) == ("empty-split", f"{tmp_path}/data.yaml", "path, train")
    for text in (
        f"found nothing at images/train in {tmp_path} (tried /datasets/cells/images/",
        f"{tmp_path}/images/train",
    ):
        assert text in fault.message
    assert fault.message.endswith("path is /datasets/cells, which does not exist")
    report = read_dataset(str(write(tmp_path, {"data.yaml": f"path: [a]\ntrain: images/train\n{YAML}"})))[1]
    assert any((fault.field, fault.kind) == ("path", "bad-value") for fault in report.faults)


@pytest.mark.parametrize("train", ["images/train", "../train/images", "/content/cells/train/images"])
def test_a_project_whose_images_are_elsewhere_is_read_with_their_folder(tmp_path: Path, train: str) -> None:
    labels = "labels/train" if train == "images/train" else "train/labels"
    root = write(tmp_path, {"p/data.yaml": f"train: {train}\n{YAML}", f"p/{labels}/a.txt": BOX}, "else/a.jpg")
    (fault,) = [fault for fault in read_dataset(f"{root}/p")[1].faults if fault.action == "refused"]
    assert fault.message.endswith("set the folder of the images if they are elsewhere: --images DIR")
    dataset, report = read_dataset(f"{root}/p", root / "else")
    assert boxes(dataset) == PIXELS
    assert not report.refused


def test_the_folder_of_images_in_a_cvat_project_finds_the_names_above_it(tmp_path: Path) -> None:
    files, image, _ = LAYOUTS["Darknet, CVAT's YOLO 1.1"]
    write(tmp_path, files, image)
    dataset = load_dataset(f"{tmp_path}/obj_train_data")
    assert ([category.name for category in dataset.categories], boxes(dataset)) == (["cat", "dog"], PIXELS)
