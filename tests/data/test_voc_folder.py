"""Pascal VOC's XML files in folders as labelImg, CVAT, Roboflow and scripts lay them out, without lists of splits."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from tfrcnn.data.read import load_dataset, read_dataset
from tfrcnn.data.voc_folder import VocFolder, voc_folders
from tfrcnn.errors import InputError

from .test_voc import obj, xml

LAYOUTS = {  # by tool: the XML, the image, <filename>, and what DATA adds to the folder
    "labelImg": ("a.xml", "a.jpg", "a.jpg", ""),
    "labelImg with a folder to save to": ("labels/a.xml", "pictures/a.png", "a.png", ""),
    "labelImg with folders of any names": ("Lukas/a.xml", "Mikroskop 3/a.jpg", "a.jpg", ""),
    "labelImg, its picture converted since": ("a.xml", "a.png", "a.jpg", ""),
    "labelImg, its picture in upper case": ("a.xml", "a.JPG", "a.jpg", ""),
    "Roboflow's split": ("train/a_jpg.rf.1.xml", "train/a_jpg.rf.1.jpg", "a_jpg.rf.1.jpg", "/train"),
    "Roboflow's root": ("valid/a_jpg.rf.1.xml", "valid/a_jpg.rf.1.jpg", "a_jpg.rf.1.jpg", "@valid"),
    "Label Studio": ("Annotations/3a-a.xml", "images/3a-a.jpg", "3a-a", ""),
    "VOC without ImageSets": ("Annotations/a.xml", "JPEGImages/a.jpg", "a.jpg", ""),
    "Kaggle": ("annotations/a.xml", "images/a.png", "a.png", ""),
    "labelImg, all in images/": ("images/a.xml", "images/a.jpg", "a.jpg", ""),
    "TF Object Detection's tutorial": ("images/train/a.xml", "images/train/a.jpg", "a.jpg", "@train"),
    "a script's splits": ("annotations/train/a.xml", "images/train/a.jpg", "a.jpg", "@train"),
    "a script's splits by image folder": ("train/Annotations/a.xml", "train/images/a.jpg", "a.jpg", "@train"),
}


def write(root: Path, annotation: str, image: str, *objects: str, filename: str = "a.jpg") -> None:
    """An XML and its image of 40 x 30."""
    for name in (annotation, image):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / annotation).write_text(
        xml(*objects, filename=filename).replace("<annotation>", '<annotation verified="yes">')
    )
    Image.new("RGB", (40, 30)).save(root / image)


@pytest.mark.parametrize("tool", LAYOUTS)
def test_folder_is_read_as_it_comes(tmp_path: Path, tool: str) -> None:
    annotation, image, filename, data = LAYOUTS[tool]
    write(tmp_path, annotation, image, obj("dog", "5 4 24 9"), filename=filename)
    (tmp_path / "README.roboflow.txt").write_text("cells - v1")
    dataset, report = read_dataset(f"{tmp_path}{data}")
    assert not report.refused
    (example,) = dataset.examples
    assert example.boxes.tolist() == [[3, 4, 9, 24]]  # the first pixel is 1, the last one is inside
    assert example.path == tmp_path / image


def test_zip_of_cvat_is_read_without_its_split_named(tmp_path: Path) -> None:
    write(tmp_path, "Annotations/a.xml", "JPEGImages/a.png", obj("dog"), filename="a.png")
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/default.txt").write_text("a\n")
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\ndog:128,0,0::\n")
    assert len(load_dataset(str(tmp_path))) == len(load_dataset(f"{tmp_path}@default")) == 1


def test_splits_of_a_root_have_the_same_labels(tmp_path: Path) -> None:
    write(tmp_path, "train/a.xml", "train/a.jpg", obj("zebra"))
    write(tmp_path, "valid/b.xml", "valid/b.jpg", obj("ant"), filename="b.jpg")
    train, valid = load_dataset(f"{tmp_path}@train"), load_dataset(f"voc:{tmp_path}@val")
    assert [category.name for category in train.categories] == ["ant", "zebra"]
    assert train.categories == valid.categories
    assert [e.labels.tolist() for e in (*train.examples, *valid.examples)] == [[1], [0]]
    with pytest.raises(InputError, match=r"found the folder .* with 2 \(voc\); did you mean .*@train or .*@valid\?"):
        load_dataset(str(tmp_path))


def test_image_without_xml_is_left_out_and_reported(tmp_path: Path) -> None:
    write(tmp_path, "a.xml", "a.jpg", obj())
    shutil.copy(tmp_path / "a.jpg", tmp_path / "b.jpg")
    dataset, report = read_dataset(str(tmp_path))
    assert len(dataset) == 1
    assert report.counts() == {"image-without-annotation": 1}
    assert report.faults[0].render() == f"{tmp_path}/b.jpg: expected b.xml, found none that is about this image"


def test_splits_that_share_a_folder_of_images_do_not_miss_each_other(tmp_path: Path) -> None:
    write(tmp_path, "annotations/train/a.xml", "images/a.jpg", obj())
    write(tmp_path, "annotations/test/b.xml", "images/b.jpg", obj(), filename="b.jpg")
    dataset, report = read_dataset(f"{tmp_path}@train")
    assert [example.path.name for example in dataset.examples] == ["a.jpg"]
    assert not report.faults


def test_damaged_xml_of_another_split_is_kept(tmp_path: Path) -> None:
    write(tmp_path, "train/a.xml", "train/a.jpg", obj())
    write(tmp_path, "test/b.xml", "test/b.jpg", obj(), filename="b.jpg")
    write(tmp_path, "test/c.xml", "test/c.jpg", filename="c.jpg")
    (tmp_path / "test/c.xml").write_text("<annotation>")
    dataset, report = read_dataset(f"{tmp_path}@train")
    assert len(dataset) == 1
    assert report.counts() == {"unread-annotation": 1}


@pytest.mark.parametrize("folder", [".", "annotations", "annotations/part"])
def test_voc_is_recognised_by_one_of_five_files(tmp_path: Path, folder: str) -> None:
    write(tmp_path, f"{folder}/e.xml", "images/e.jpg")
    for name in "abcd":
        (tmp_path / folder / f"{name}.xml").write_text("<other/>")
    top = tmp_path / folder.partition("/")[0]
    assert voc_folders(tmp_path) == {"": VocFolder(top, tmp_path / "images")}


def test_voc_is_not_recognised_by_a_sixth_file(tmp_path: Path) -> None:
    write(tmp_path, "f.xml", "images/f.jpg")
    for name in "abcde":
        (tmp_path / f"{name}.xml").write_text("<other/>")
    assert voc_folders(tmp_path) == {}


def test_folder_with_files_outside_its_splits_is_one_data_set(tmp_path: Path) -> None:
    write(tmp_path, "annotations/a.xml", "images/a.jpg")
    write(tmp_path, "annotations/train/b.xml", "images/b.jpg")
    assert voc_folders(tmp_path) == {"": VocFolder(tmp_path / "annotations", tmp_path / "images")}


def test_xml_without_an_image_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.xml", "a.jpg", obj())
    (tmp_path / "b.xml").write_text(xml(obj(), filename="b.jpg"))
    (fault,) = read_dataset(str(tmp_path))[1].faults
    assert (fault.kind, fault.file) == ("missing-image", str(tmp_path / "b.xml"))


def test_damaged_xml_is_a_fault_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, "a.xml", "a.jpg", obj())
    write(tmp_path, "b.xml", "b.jpg", obj(), filename="b.jpg")
    (tmp_path / "b.xml").write_text("<annotation>\n<object>\n")
    faults = [fault for fault in read_dataset(str(tmp_path))[1].faults if fault.kind == "syntax-error"]
    assert [(fault.file, fault.field) for fault in faults] == [(str(tmp_path / "b.xml"), "line 3, column 1")]


def test_other_xml_files_are_not_taken_for_voc(tmp_path: Path) -> None:
    write(tmp_path, "annotations.xml", "a.jpg")
    (tmp_path / "annotations.xml").write_text("<annotations><version>1.1</version></annotations>")
    with pytest.raises(InputError, match=r"expected a data set, found the folder .* with 1 x .jpg, 1 x .xml"):
        load_dataset(f"voc:{tmp_path}")


def test_suggestions_look_into_folders(tmp_path: Path) -> None:
    write(tmp_path, "export/VOC2007/a.xml", "export/VOC2007/a.jpg", obj())
    with pytest.raises(InputError, match=r"found the folder .* with export/; did you mean .*/export/VOC2007\?"):
        load_dataset(str(tmp_path))


def test_rotated_photo_is_read_with_the_size_that_labelimg_wrote(tmp_path: Path) -> None:
    """LabelImg shows a photo upright, and writes the upright size: the stored 40 x 30 pixels become 30 x 40."""
    write(tmp_path, "a.xml", "a.jpg")
    (tmp_path / "a.xml").write_text(xml(obj(box="1 2 30 40"), size="30 40"))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    (example,) = load_dataset(str(tmp_path)).examples
    assert (example.height, example.width, example.orientation) == (40, 30, 6)
    assert example.boxes.tolist() == [[1, 0, 40, 30]]
