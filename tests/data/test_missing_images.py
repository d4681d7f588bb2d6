"""Images that are not there: one message for all, with the first names, the folders, and the option that helps."""

import re
from pathlib import Path

import pytest

from tfrcnn.data.read import read_dataset

from . import test_csv as csv
from . import test_yolo as yolo
from .test_uploads import coco


def message(data: Path | str, images: Path | None = None) -> str:
    return read_dataset(str(data), images)[1].render()


def test_all_missing_images_of_a_coco_file_are_one_line(tmp_path: Path) -> None:
    export = coco(tmp_path / "export", *(f"images/{letter}.jpg" for letter in "abcdefgh"))
    (line,) = [line for line in message(export).splitlines() if "a.jpg" in line]
    folders = f"{export / 'images'}, {export / 'images/images'}"
    names = "a.jpg, b.jpg, c.jpg, d.jpg, e.jpg and 3 more"
    assert line.strip() == f"{export / 'result.json'}: expected images, found none of {names} in {folders}"


def test_missing_images_name_the_options_that_say_where_they_are(tmp_path: Path) -> None:
    text = message(coco(tmp_path / "export", "a.jpg"))
    assert "REFUSED  1 x missing-image" in text
    assert re.search(r"pass the folder of the images: --images DIR \(--val-images DIR for --val", text)
    assert f"expected an image file, found none at {tmp_path}/export/a.jpg" in text


def test_the_folder_of_images_is_the_one_that_was_searched(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    text = message(coco(tmp_path / "export", "a.jpg", "b.jpg"), tmp_path / "photos")
    assert f"found none of a.jpg, b.jpg in {tmp_path / 'photos'}\n" in text


def test_missing_images_of_lists_and_tables_are_one_line_too(tmp_path: Path) -> None:
    files = {"data.yaml": "train: train.txt\nnames: [cat]\n", "train.txt": "images/a.jpg\nimages/b.jpg\n"}
    assert "found none of a.jpg, b.jpg in " in message(yolo.write(tmp_path / "yolo", files))
    rows = [f"{name}.jpg,40,30,dog,4,3,24,9" for name in "ab"]
    assert "found none of a.jpg, b.jpg in " in message(csv.write(tmp_path / "b.csv", csv.TUTORIAL, *rows, images=()))


def test_a_project_without_any_image_names_the_option(tmp_path: Path) -> None:
    files = {"classes.txt": "cat\ndog\n", "labels/a.txt": yolo.BOX}
    assert "set the folder of the images if they are elsewhere: --images DIR" in message(yolo.write(tmp_path, files))


@pytest.mark.parametrize("name", ["JPEGImages", "Annotations"])
def test_a_missing_folder_of_voc_names_the_option_if_it_is_the_images(tmp_path: Path, name: str) -> None:
    for folder in {"JPEGImages", "Annotations", "ImageSets/Main"} - {name}:
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\n")
    with pytest.raises(ValueError, match="which does not exist") as error:
        read_dataset(f"{tmp_path}@train")
    assert ("--images" in str(error.value)) == (name == "JPEGImages")


def test_names_that_the_locale_cannot_write_are_not_blamed_on_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = coco(tmp_path / "export", "그림.jpg")
    assert "LC_ALL" not in message(export)
    report = read_dataset(str(export))[1]
    monkeypatch.setattr("os.fsencode", lambda path: str(path).encode("ascii"))
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    assert "the locale has no way to write some of the names: set LC_ALL=C.UTF-8" in report.render()
