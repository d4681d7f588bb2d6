"""CSV files of boxes: the TF tutorial's, RetinaNet's and Open Images', and each of their faults."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfrcnn.config import Category
from tfrcnn.data.class_lists import read_label_map
from tfrcnn.data.csv_dialects import find_dialect
from tfrcnn.data.example import Dataset
from tfrcnn.data.read import load_dataset, read_dataset
from tfrcnn.errors import InputError

TUTORIAL = "filename,width,height,class,xmin,ymin,xmax,ymax"
OPEN_IMAGES = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
)


def write(path: Path, *lines: str, images: tuple[str, ...] = ("a.jpg", "b.jpg")) -> str:
    """A CSV, and 40 x 30 images next to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    for name in images:
        (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(path.parent / name)
    return str(path)


def boxes(dataset: Dataset) -> list[list[list[float]]]:
    return [example.boxes.tolist() for example in dataset.examples]


def faults(data: str) -> dict[str, str]:
    """The message of each fault by its place."""
    return {fault.field: fault.message for fault in read_dataset(data)[1].faults}


def test_the_tutorials_csv_has_a_box_per_row_in_pixels(tmp_path: Path) -> None:
    rows = ["a.jpg,40,30,dog,1,2,11,22", "b.jpg,40,30,cat,0,0,40,30", "a.jpg,40,30,cat,5.5,6,7,8"]
    dataset, report = read_dataset(write(tmp_path / "train_labels.csv", TUTORIAL, *rows))
    assert not report.faults
    assert boxes(dataset) == [[[2, 1, 22, 11], [6, 5.5, 8, 7]], [[0, 0, 30, 40]]]
    assert dataset.categories == (Category(1, "cat"), Category(2, "dog"))
    assert [example.labels.tolist() for example in dataset.examples] == [[1, 0], [0]]
    assert [(example.image_id, example.path.name) for example in dataset.examples] == [
        ("a.jpg", "a.jpg"),
        ("b.jpg", "b.jpg"),
    ]


def test_columns_are_found_by_name_in_any_order_and_with_any_separator(tmp_path: Path) -> None:
    header = "\ufeffclass;ymax;xmax;ymin;xmin;Image Path;note"
    dataset = load_dataset(write(tmp_path / "x.csv", header, "", 'dog;22;11;2;1;"a.jpg";hello'))
    assert boxes(dataset) == [[[2, 1, 22, 11]]]


def test_roboflows_folder_is_read_as_it_comes_and_its_label_map_gives_the_ids(tmp_path: Path) -> None:
    write(tmp_path / "train" / "_annotations.csv", TUTORIAL, "a.jpg,40,30,cat,1,2,11,22")
    label_map = "item {\n  id: 7\n  name: 'cat'\n}\n# no: item\nitem { name: \"dog\" id: 3 }\n"
    (tmp_path / "train" / "cells_label_map.pbtxt").write_text(label_map)
    write(tmp_path / "valid" / "_annotations.csv", TUTORIAL, "b.jpg,40,30,dog,1,2,11,22")
    for argument in (tmp_path / "train", f"{tmp_path}@train"):
        dataset = load_dataset(str(argument))
        assert dataset.categories == (Category(3, "dog"), Category(7, "cat"))
        assert dataset.examples[0].labels.tolist() == [1]
    assert load_dataset(f"{tmp_path}@valid").examples[0].image_id == "b.jpg"


def test_images_are_found_in_the_folders_of_the_tools(tmp_path: Path) -> None:
    rows = [TUTORIAL, "a.jpg,40,30,cat,1,2,11,22"]
    data = write(tmp_path / "data" / "train_labels.csv", *rows, images=("../images/train/a.jpg",))
    assert load_dataset(data).examples[0].path.samefile(tmp_path / "images" / "train" / "a.jpg")
    data = write(tmp_path / "other" / "x.csv", *rows, images=("images/a.jpg",))
    assert load_dataset(data).examples[0].path.samefile(tmp_path / "other" / "images" / "a.jpg")
    assert load_dataset(data, images=tmp_path / "images" / "train").examples[0].path.parent.name == "train"
    windows = write(tmp_path / "w.csv", TUTORIAL, r"C:\pictures\a.jpg,40,30,cat,1,2,11,22")
    assert [fault.kind for fault in read_dataset(windows)[1].faults] == ["image-path-differs"]


def test_retinanets_empty_fields_are_an_image_without_boxes(tmp_path: Path) -> None:
    rows = ["img/a.jpg,1,2,11,22,dog", "b.jpg,,,,,", "img/a.jpg,3,4,5,6,cat"]
    dataset, report = read_dataset(write(tmp_path / "x.csv", *rows, images=("img/a.jpg", "b.jpg")))
    assert not report.faults
    assert boxes(dataset) == [[[2, 1, 22, 11], [4, 3, 6, 5]], []]
    assert [category.name for category in dataset.categories] == ["cat", "dog"]
    assert report.summary["images_without_boxes"] == 1


def test_retinanets_classes_give_ids_from_0_and_other_names_are_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "x.csv", "b.jpg,,,,,", "a.jpg,1,2,11,22,dog", "a.jpg,1,2,11,9,cow")
    (tmp_path / "classes.csv").write_text("dog,0\ncat,1\n")
    dataset, report = read_dataset(data)
    assert dataset.categories == (Category(0, "dog"), Category(1, "cat"))
    assert [(f.kind, f.field) for f in report.faults if f.action == "refused"] == [
        ("unknown-category", "line 3, class")
    ]
    (tmp_path / "classes.csv").write_text("dog,0\ncat,0\n,3\ncow,x\n")
    assert {fault.field for fault in read_dataset(data)[1].faults if fault.file.endswith("classes.csv")} == {
        "line 2", "line 3, name", "line 4, id",
    }  # fmt: skip
    (tmp_path / "classes.csv").write_text("dog,0\ncow,1\n" + "x" * 200_000)
    assert {fault.kind for fault in read_dataset(data)[1].faults if fault.field == "line 3"} == {"syntax-error"}


def test_open_images_columns_are_xmin_xmax_ymin_ymax_as_shares_of_the_image(tmp_path: Path) -> None:
    rows = ["a,xclick,/m/1,1,0.1,0.5,0.2,0.4,0,0,0,0,0", "b,xclick,/m/2,1,0,1,0,1,0,0,1,0,0"]
    data = write(tmp_path / "validation-annotations-bbox.csv", OPEN_IMAGES, *rows, images=("validation/a.jpg", "b.png"))
    dataset, report = read_dataset(data)
    assert not report.faults
    np.testing.assert_allclose(dataset.examples[0].boxes, [[6, 4, 12, 20]], rtol=1e-6)
    assert dataset.examples[1].boxes.tolist() == [[0, 0, 30, 40]]
    assert [example.crowd.tolist() for example in dataset.examples] == [[False], [True]]
    assert [category.name for category in dataset.categories] == ["/m/1", "/m/2"]
    (tmp_path / "class-descriptions-boxable.csv").write_text('/m/1,Tortoise\n/m/2,"Container, small"\n/m/3,Tick\n')
    assert [category.name for category in load_dataset(data).categories] == ["Container, small", "Tortoise"]


def test_fiftyones_folder_of_open_images_is_read_as_it_comes(tmp_path: Path) -> None:
    row = "a,xclick,/m/1,1,0.1,0.5,0.2,0.4,0,0,0,0,0"
    write(tmp_path / "labels" / "detections.csv", OPEN_IMAGES, row, images=("../data/a.jpg",))
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "classes.csv").write_text("/m/1,Tortoise\n")
    dataset, report = read_dataset(str(tmp_path))
    assert not report.faults
    assert dataset.categories == (Category(1, "Tortoise"),)


def test_shares_are_of_the_upright_image(tmp_path: Path) -> None:
    data = write(tmp_path / "x.csv", OPEN_IMAGES, "a,x,/m/1,1,0.5,1,0,0.5,0,0,0,0,0")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    example = load_dataset(data).examples[0]
    assert (example.height, example.width, example.boxes.tolist()) == (40, 30, [[0, 15, 20, 30]])


def test_shares_in_a_file_of_pixels_and_pixels_in_a_file_of_shares_are_noticed(tmp_path: Path) -> None:
    dataset, report = read_dataset(write(tmp_path / "x.csv", TUTORIAL, "a.jpg,40,30,cat,0.25,0.5,0.5,1"))
    assert boxes(dataset) == [[[15, 10, 30, 20]]]
    assert [(fault.kind, fault.action) for fault in report.faults] == [("unusual-value", "kept")]
    pixels = write(tmp_path / "y.csv", OPEN_IMAGES, "a,x,/m/1,1,1,11,2,22,0,0,0,0,0")
    assert "expected shares of the image from 0 to 1, found ymin 2, xmin 1" in faults(pixels)["line 2"]


def test_all_faults_of_a_csv_are_reported_together_with_their_lines(tmp_path: Path) -> None:
    data = write(
        tmp_path / "x.csv",
        TUTORIAL,
        "a.jpg,40,30,cat,1,2,11,22",
        "a.jpg,40,30,cat,one,2,11,",
        "a.jpg,40,30,,1,2,11,22",
        "a.jpg,41,30,cat,1,2,11,21",
        "a.jpg,forty,30,cat,1,2,11,22",
        ",40,30,cat,1,2,11,22",
        "a.jpg,40,30,cat",
        "c.jpg,40,30,cat,1,2,11,22",
        "b.jpg,40,30,cat,nan,2,11,22",
        "b.jpg,40,30,cat,11,2,1,22",
        "b.jpg,40,30,cat,50,2,60,22",
    )
    messages = faults(data)
    assert set(messages) == {
        "line 3, xmin", "line 3, ymax", "line 4, class", "line 5, width", "line 6, width and height", "line 7, image",
        "line 8", "line 9, image", "line 10", "line 11", "line 12",
    }  # fmt: skip
    assert messages["line 3, xmin"] == "expected a number, found 'one'"
    assert messages["line 8"] == "expected 8 fields, found 4"
    with pytest.raises(InputError, match=r"x\.csv line 3, xmin: expected a number"):
        load_dataset(data)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected at least one row"),
        ("a,b,c\n1,2,3\n", "expected columns for image, class, xmin"),
        (TUTORIAL + "\n", "expected at least one box with a class"),
        (f'{TUTORIAL}\n"a.jpg,40,30,cat,1,2,11,22\n', "expected CSV, found: unexpected end of data"),
    ],
)
def test_a_csv_without_boxes_says_what_was_expected(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InputError, match=expected):
        load_dataset(str(tmp_path / "x.csv"))


def test_a_folder_suggests_its_csvs(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "a.jpg,1,2,11,22,dog")
    with pytest.raises(InputError, match=r"did you mean .*train\.csv\?"):
        load_dataset(str(tmp_path))


def test_dialects_are_known_by_the_first_row() -> None:
    for row in (TUTORIAL, OPEN_IMAGES, "x.jpg,1,2,3,4,dog", "x.jpg,,,,,", "image_path,x1,y1,x2,y2,class_name"):
        assert find_dialect(row) is not None, row
    for row in ("dog,0", "/m/1,Tortoise", "a,b,c,d,e,f", "ImageID,Source,LabelName,Confidence"):
        assert find_dialect(row) is None, row


@pytest.mark.parametrize("row", ["a.jpg,40,30,caf\u00e9,1,2,11,22", "a.jpg,40,30,dog,1,2,11,22\n" * 5000 + "\u00e9"])
def test_a_file_of_another_encoding_is_refused_and_no_class_is_renamed(tmp_path: Path, row: str) -> None:
    data = Path(write(tmp_path / "x.csv", TUTORIAL))
    data.write_bytes(f"{TUTORIAL}\n{row}".encode("cp1252"))
    (fault,) = (fault for fault in read_dataset(str(data))[1].faults if fault.action == "refused")
    assert fault.kind == "unreadable-file"
    assert fault.message.endswith("found the byte b'\\xe9'; save it as UTF-8")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_may_have_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    data = Path(write(tmp_path / "x.csv", TUTORIAL))
    data.write_text(f"{TUTORIAL}\r\na.jpg,40,30,caf\u00e9,1,2,11,22\r\n", encoding)
    assert load_dataset(str(data)).categories == (Category(1, "caf\u00e9"),)


def test_decimal_commas_are_read_between_semicolons(tmp_path: Path) -> None:
    data = write(tmp_path / "x.csv", TUTORIAL.replace(",", ";"), "a.jpg;40;30;dog;1,5;2;11,25;22")
    assert boxes(load_dataset(data)) == [[[2, 1.5, 22, 11.25]]]
    data = write(tmp_path / "y.csv", "a.jpg;1,5;2;11,25;22;dog")
    assert boxes(load_dataset(data)) == [[[2, 1.5, 22, 11.25]]]


def test_messages_in_an_item_of_a_label_map_do_not_end_it(tmp_path: Path) -> None:
    keypoints = 'keypoints { id: 3 label: "nose } {" }\n  keypoints: {\n id: 4 }\n'
    label_map = (
        f"item {{\n  id: 7  # the dog's\n  {keypoints}  name: 'a \\'dog\\' }}'\n}}\nitem: {{ name: 'cat' id: 2 }}\n"
    )
    (tmp_path / "label_map.pbtxt").write_text(label_map)
    classes = read_label_map(tmp_path / "label_map.pbtxt")
    assert classes.categories == (Category(2, "cat"), Category(7, "a 'dog' }"))
    assert not classes.faults


def test_a_column_that_is_there_twice_is_refused_unless_no_field_needs_it(tmp_path: Path) -> None:
    row = "a.jpg,40,30,cat,1,2,11,22"
    data = write(tmp_path / "a.csv", f"{TUTORIAL},Class,X_min", f"{row},dog,3")
    assert faults(data)["line 1"] == "expected each column once, found 'class', 'xmin' twice"
    assert not faults(write(tmp_path / "b.csv", f"note,{TUTORIAL},note,path", f"x,{row},y,z"))
