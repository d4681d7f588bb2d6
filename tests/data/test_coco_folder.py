"""COCO folders as Roboflow, CVAT, Label Studio, FiftyOne and COCO lay them out."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tfrcnn.data.read import load_dataset, read_dataset
from tfrcnn.errors import InputError

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
LAYOUTS = {  # by tool: the json, the folder of its images, file_name, and the DATA that reads it
    "Roboflow's split": ("train/_annotations.coco.json", "train", "a_jpg.rf.0f3.jpg", "train"),
    "Roboflow's root": ("valid/_annotations.coco.json", "valid", "a_jpg.rf.0f3.jpg", ""),
    "CVAT": ("annotations/instances_default.json", "images", "a.jpg", ""),
    "CVAT with a subset": ("annotations/instances_Train.json", "images/Train", "a.jpg", "@Train"),
    "COCO": ("annotations/instances_train2017.json", "train2017", "000000000009.jpg", "@train2017"),
    "COCO, folder of annotations": (
        "annotations/instances_val2017.json",
        "val2017",
        "000000000009.jpg",
        "annotations",
    ),
    "Label Studio": ("result.json", "images", "images/3a-a.jpg", ""),
    "Label Studio with Windows' paths": ("result.json", "images", "images\\3a-a.jpg", ""),
    "Label Studio with a path of its server": ("result.json", "images", "../../media/upload/1/3a-a.jpg", ""),
    "FiftyOne": ("labels.json", "data", "a.jpg", ""),
    "a script, one file": ("cells.json", "images", "a.jpg", ""),
    "a script, next to the images": ("instances.json", ".", "a.jpg", ""),
    "a script, a file per split": ("val.json", "images", "a.jpg", "@val"),
    "a project of MMDetection": ("annotations/train.json", "train", "a.jpg", "@train"),
}


def write(file: Path, images: Path, name: str = "a.jpg") -> None:
    """A json with one box, and its image of 40 x 30."""
    for folder in (file.parent, images):
        folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30)).save(images / name.replace("\\", "/").rpartition("/")[2])
    content = {
        "info": {"description": "annotations"},
        "images": [{"id": 1, "file_name": name, "width": 40, "height": 30}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [4, 3, 20, 6], "area": 120, "iscrowd": 0}],
        "categories": CATEGORIES,
    }
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("tool", LAYOUTS)
def test_folder_is_read_as_it_comes(tmp_path: Path, tool: str) -> None:
    file, images, name, data = LAYOUTS[tool]
    write(tmp_path / file, tmp_path / images, name)
    if data == "@val":
        write(tmp_path / "train.json", tmp_path / images, "b.jpg")
    dataset, report = read_dataset(f"{tmp_path}/{data}" if data[:1] != "@" else f"{tmp_path}{data}")
    assert not report.refused
    (example,) = dataset.examples
    assert (example.boxes.tolist(), example.labels.tolist()) == ([[3, 4, 9, 24]], [1])
    assert example.path.parent == tmp_path / images


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["result.json", "any.json"])
def test_folder_is_recognised_by_a_file_as_windows_writes_it(tmp_path: Path, name: str, encoding: str) -> None:
    write(tmp_path / name, tmp_path)
    (tmp_path / name).write_text((tmp_path / name).read_text(), encoding=encoding)
    assert len(load_dataset(str(tmp_path))) == 1


def test_image_that_was_converted_since_is_found_and_reported(tmp_path: Path) -> None:
    write(tmp_path / "a.json", tmp_path, "a.jpg")
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png")
    assert read_dataset(f"{tmp_path}/a.json")[0].examples[0].path.name == "a.jpg"
    (tmp_path / "a.jpg").unlink()
    dataset, report = read_dataset(f"{tmp_path}/a.json")
    assert dataset.examples[0].path.name == "a.png"
    assert report.counts()["image-path-differs"] == 1
    Image.open(tmp_path / "a.png").save(tmp_path / "a.bmp")
    assert "missing-image" in read_dataset(f"{tmp_path}/a.json")[1].counts()  # which of the two is not known


@pytest.fixture
def roboflow(tmp_path: Path) -> Path:
    for split in ("test", "train", "valid"):
        write(tmp_path / split / "_annotations.coco.json", tmp_path / split, f"{split}_jpg.rf.0f3.jpg")
    (tmp_path / "README.roboflow.txt").write_text("cells - v1")
    return tmp_path


def test_split_of_a_root_is_chosen_by_its_name(roboflow: Path) -> None:
    for split in ("train", "valid", "test"):
        assert load_dataset(f"{roboflow}@{split}").examples[0].path.parent == roboflow / split
    assert load_dataset(f"{roboflow}@val").examples[0].path.parent == roboflow / "valid"
    assert len(load_dataset(f"{roboflow}@train+{roboflow}@valid")) == 2
    assert len(load_dataset(f"coco:{roboflow}@train+coco:{roboflow / 'valid'}")) == 2


def test_root_with_several_splits_lists_what_to_type(roboflow: Path) -> None:
    with pytest.raises(InputError) as error:
        load_dataset(str(roboflow))
    choices = " or ".join(f"{roboflow}@{split}" for split in ("train", "valid", "test"))
    assert f"expected one split, found the folder {roboflow} with 3 (coco); did you mean {choices}?" in str(error.value)
    with pytest.raises(InputError, match=r"one of the splits train, valid, test in .*, found 'dev' after the @"):
        load_dataset(f"{roboflow}@dev")


def test_one_split_alone_needs_no_name(roboflow: Path) -> None:
    shutil.rmtree(roboflow / "valid")
    shutil.rmtree(roboflow / "test")
    assert len(load_dataset(str(roboflow))) == len(load_dataset(f"{roboflow}@train")) == 1
    with pytest.raises(InputError, match=r"expected no split, since there is one data set in .*, found 'train'"):
        load_dataset(f"{roboflow}/train@train")


def test_file_of_objects_is_preferred_to_captions_and_keypoints(tmp_path: Path) -> None:
    write(tmp_path / "annotations/instances_val2017.json", tmp_path / "val2017")
    for kind in ("captions", "person_keypoints"):
        (tmp_path / f"annotations/{kind}_val2017.json").write_text('{"images": [], "annotations": []}')
    assert len(load_dataset(str(tmp_path))) == 1


@pytest.mark.parametrize("text", ['[{"id": 1, "annotations": []}]', '{"categories": []}', "", "\x00"])
def test_json_of_another_program_is_not_taken_for_coco(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(InputError, match=r"folder .* with 1 x .json; did you mean .*/result.json?"):
        load_dataset(str(tmp_path))


def test_json_files_of_any_name_that_are_no_data_set_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text('{"options": {"images": null, "annotations": 3}}')
    with pytest.raises(InputError, match=r"did you mean .*/training.json\?"):
        load_dataset(str(tmp_path))
    write(tmp_path / "cells.json", tmp_path)
    assert len(load_dataset(str(tmp_path))) == 1
    for i in range(18):  # one per image, of a program that nobody knows
        (tmp_path / f"{i}.json").write_text('{"objects": []}')
    assert len(load_dataset(str(tmp_path))) == 1
    (tmp_path / "18.json").write_text('{"objects": []}')
    with pytest.raises(InputError, match=r"with 21 x \.json"):
        load_dataset(str(tmp_path))


def test_damaged_file_of_a_folder_is_a_fault_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train/_annotations.coco.json").write_text('{"images": [}')
    (fault,) = read_dataset(f"{tmp_path}/train")[1].faults
    assert (fault.kind, fault.field) == ("syntax-error", "line 1, column 13")


@pytest.mark.parametrize("json_folder", ["", "annotations"])
@pytest.mark.parametrize("folder", ["{}", "images/{}"])
def test_the_folder_of_the_split_comes_before_those_of_all_images(
    tmp_path: Path, json_folder: str, folder: str
) -> None:
    file = tmp_path / json_folder / "val.json"
    for place in ("images", folder.format("val"), folder.format("train")):
        write(file, tmp_path / place)
    assert load_dataset(str(file)).examples[0].path == tmp_path / folder.format("val") / "a.jpg"


def test_a_file_of_any_name_is_a_split_also_when_it_is_alone(tmp_path: Path) -> None:
    write(tmp_path / "train.json", tmp_path / "images")
    for data in (f"{tmp_path}", f"{tmp_path}@train", f"{tmp_path}/train.json"):
        assert len(load_dataset(data)) == 1


def test_a_file_of_any_name_does_not_make_a_folder_of_another_format_ambiguous(tmp_path: Path) -> None:
    write(tmp_path / "converted.json", tmp_path / "images")
    write_yolo(tmp_path)
    assert [category.name for category in load_dataset(str(tmp_path)).categories] == ["cell"]
    assert [category.name for category in load_dataset(f"coco:{tmp_path}").categories] == ["cat", "dog"]


def test_a_damaged_data_yaml_does_not_hide_a_split_that_coco_has(tmp_path: Path) -> None:
    write(tmp_path / "annotations/instances_train.json", tmp_path / "images")
    (tmp_path / "data.yaml").write_text("names: [")
    assert len(load_dataset(f"{tmp_path}@train")) == 1


def write_yolo(root: Path) -> None:
    """A YOLO project whose one image is that of `write`."""
    (root / "labels").mkdir()
    (root / "labels/a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "data.yaml").write_text("names: [cell]\ntrain: images\n")
