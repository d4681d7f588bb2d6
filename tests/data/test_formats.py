"""The parts of a DATA argument, and the choice of its format."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tfrcnn.config import Category
from tfrcnn.data.checks import Parsed
from tfrcnn.data.data_format import DataFormat, Parse
from tfrcnn.data.formats import FORMATS, absolute, choose, exists, looks_complete, place_of, validation_split
from tfrcnn.data.layouts import files_in
from tfrcnn.data.read import load_dataset, read_dataset
from tfrcnn.data.sources import subfolders
from tfrcnn.data.split import as_fraction
from tfrcnn.errors import InputError


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ("cells", ("", "cells", None)),
        ("cells@train", ("", "cells", "train")),
        ("cells@", ("", "cells", "")),
        ("yolo:cells/data.yaml@val", ("yolo", "cells/data.yaml", "val")),
        ("YOLO:cells", ("yolo", "cells", None)),
        ("c:/cells", ("", "c:/cells", None)),
        ("me@home/cells@train", ("", "me@home/cells", "train")),
    ],
)
def test_data_has_a_prefix_a_path_and_a_split(data: str, parts: tuple[str, str, str | None]) -> None:
    assert place_of(data) == parts


def test_path_that_exists_may_look_like_a_prefix_or_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("voc:cells", "cells@home"):
        Path(name).mkdir()
        assert place_of(name) == ("", name, None)
    assert place_of("cells@home@train") == ("", "cells@home", "train")


def test_paths_are_made_absolute_behind_the_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("yolo:cells@train") == f"yolo:{tmp_path}/cells@train"
    assert absolute("../cells/train.json") == f"{tmp_path.parent}/cells/train.json"


def test_names_of_data_sets_are_not_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    class Named(DataFormat):
        expected = "a name"
        is_path = False

        def find(self, path: str) -> dict[str, Parse]:
            return {"train": lambda images: Parsed(False, "", str)} if path == "cells/2007" else {}

    monkeypatch.setitem(FORMATS, "named", Named())
    assert absolute("named:cells/2007@train") == "named:cells/2007@train"
    assert exists("named:cells/2007@train")
    assert not exists("cells/2007@train")
    assert callable(choose("named:cells/2007@train"))


def test_data_exists_if_a_format_reads_it(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
    assert exists(str(tmp_path))
    assert exists(f"yolo:{tmp_path}")
    assert not exists(f"voc:{tmp_path}")
    assert not exists(f"{tmp_path}@train")


def test_data_that_looks_complete_ends_like_a_format() -> None:
    assert all(map(looks_complete, ("a.json", "a/data.YAML", "a@train")))
    assert not looks_complete("a")


def test_split_is_found_in_another_case_and_by_what_it_means(tmp_path: Path) -> None:
    for split in ("Train", "valid"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "_annotations.coco.json").write_text("{}")
    assert all(exists(f"{tmp_path}@{split}") for split in ("train", "Train", "training", "val", "Validation"))
    assert not exists(f"{tmp_path}@test")


@pytest.mark.parametrize(
    ("splits", "split", "expected"),
    [
        ("train valid test", "train", "valid"),
        ("Train Validation", "training", "Validation"),
        ("train2014 val2014 train2017 val2017", "train2017", "val2017"),
        ("train val2017", "train", None),
        ("train test", "train", None),
        ("trainval val", "trainval", None),
        ("train val", "val", None),
    ],
)
def test_validation_split_is_the_one_next_to_the_training_split(
    tmp_path: Path, splits: str, split: str, expected: str | None
) -> None:
    for name in splits.split():
        (tmp_path / name).mkdir()
        (tmp_path / name / "_annotations.coco.json").write_text("{}")
    assert validation_split(f"{tmp_path}@{split}") == (expected and f"{tmp_path}@{expected}")
    assert validation_split(f"coco:{tmp_path}@{split}") == (expected and f"coco:{tmp_path}@{expected}")


def test_data_without_splits_have_no_validation_split(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    assert validation_split(str(tmp_path / "a.json")) is None
    assert validation_split("s3://bucket/cells@train") is None


def test_lists_of_one_class_come_behind_the_splits_in_messages(tmp_path: Path) -> None:
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    for split in ("train", "val", *(f"{name}_train" for name in "abcdefghi")):
        (tmp_path / f"ImageSets/Main/{split}.txt").write_text("")
    with pytest.raises(InputError, match=rf"did you mean {tmp_path}@train or {tmp_path}@val or .* or one of 3 more\?"):
        choose(str(tmp_path))
    with pytest.raises(InputError, match=r"expected one of the splits train, val, a_train, .*, f_train, \.\.\. in "):
        choose(f"{tmp_path}@dev")


def test_lists_of_tagged_images_that_cvat_writes_come_behind_the_split_with_boxes(tmp_path: Path) -> None:
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    for split in ("default", "Blurred_default", "dark_default"):
        (tmp_path / f"ImageSets/Main/{split}.txt").write_text("")
    choices = " or ".join(f"{tmp_path}@{split}" for split in ("default", "Blurred_default", "dark_default"))
    with pytest.raises(InputError) as error:
        choose(str(tmp_path))
    assert f"did you mean {choices}?" in str(error.value)


def test_a_folder_of_images_alone_is_one_short_line(tmp_path: Path) -> None:
    (tmp_path / "day 2").mkdir()
    for name in ("a.jpg", "b.JPG", "day 2/c.png", "README.txt", ".DS_Store"):
        (tmp_path / name).touch()
    for data in (str(tmp_path), f"voc:{tmp_path}"):
        with pytest.raises(InputError) as error:
            choose(data)
        (line,) = str(error.value).splitlines()
        assert f"expected annotations, found 3 images and no other file in {tmp_path}: label them" in line
        assert f"--images {tmp_path}" in line
        assert len(line) - 2 * len(str(tmp_path)) < 170
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="Looked for"):
        choose(str(tmp_path))


def test_split_of_what_has_none_says_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(InputError, match=rf"found 'train'; type coco:{tmp_path}/a.json$"):
        choose(f"coco:{tmp_path}/a.json@train")


def test_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "export.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"found the file .*export.zip; unpack it, and type the folder\nLooked for:"):
        choose(str(tmp_path / "export.zip"))


def test_suggestions_name_whole_data_sets_and_no_files_of_single_images(tmp_path: Path) -> None:
    for name in ("export/train", "export/valid", "labelme"):
        (tmp_path / name).mkdir(parents=True)
    for split in ("train", "valid"):
        (tmp_path / "export" / split / "_annotations.coco.json").write_text("{}")
    for i in range(9):
        (tmp_path / f"labelme/{i}.json").write_text("{}")
    with pytest.raises(InputError) as error:
        choose(str(tmp_path))
    line = str(error.value).splitlines()[0]
    assert line == (
        f"data: expected a data set, found the folder {tmp_path} with export/, labelme/; "
        f"did you mean {tmp_path}/export@train or {tmp_path}/export@valid?"
    )


def test_suggestions_leave_out_files_that_hold_no_boxes(tmp_path: Path) -> None:
    folder = tmp_path / "annotations"  # as CVAT exports Open Images
    folder.mkdir()
    (folder / "bbox_labels_600_hierarchy.json").write_text('{"LabelName": "/m/0bl9f", "Subcategory": []}')
    (folder / "class-descriptions.csv").write_text("WBC,WBC\nRBC,RBC\n")
    (folder / "default-images-with-rotation.csv").write_text("ImageID,Subset,OriginalURL\n1,default,\n")
    (folder / "default-annotations-bbox.csv").write_text(
        "\ufeffImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\n1,,WBC,1,0.1,0.2,0.1,0.2\n", encoding="utf-8"
    )
    with pytest.raises(InputError) as error:
        choose(str(tmp_path))
    line = str(error.value).splitlines()[0]
    assert line.endswith(f"with annotations/; did you mean {folder}/default-annotations-bbox.csv?")


def test_nothing_at_a_path_is_one_short_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=rf"^data: expected a file or a folder of data, found nothing at {tmp_path}/a$"
    ):
        choose(f"{tmp_path}/a@train")
    with pytest.raises(InputError, match=rf"^data: expected a data.yaml, .*, found nothing at {tmp_path}/a$"):
        choose(f"yolo:{tmp_path}/a")


def test_links_that_lead_back_are_not_followed(tmp_path: Path) -> None:
    for name in ("train", "val", "test", "images", "labels", "annotations"):
        (tmp_path / name).symlink_to(".")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(InputError, match="expected a data set, found the folder"):
        choose(str(tmp_path))


def test_the_folder_of_a_prepared_data_set_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cells" / "1.0.0").mkdir(parents=True)
    assert absolute("tfds:cells/1.0.0@train") == f"tfds:{tmp_path}/cells/1.0.0@train"
    assert absolute("tfds:voc/2007@train") == "tfds:voc/2007@train"


def test_an_unknown_prefix_lists_the_prefixes() -> None:
    with pytest.raises(InputError, match=r"or one of coco:, .*tfds: before its path, found nothing at darknet:x$"):
        choose("darknet:x@train")


def test_a_folder_is_listed_without_a_call_per_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.JPG", "a.jpg", ".c.jpg", "d.txt"):
        (tmp_path / name).touch()
    (tmp_path / "e.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    with monkeypatch.context() as context:
        context.setattr(Path, "stat", None)
        listed = [files_in(tmp_path, [".jpg"]), subfolders(tmp_path)]
    assert [[path.name for path in paths] for paths in listed] == [["a.jpg", "b.JPG", "link.jpg"], ["e.jpg"]]
    assert files_in(tmp_path / "none", [".jpg"]) == []
    assert files_in(tmp_path / "\0", [".jpg"]) == []


@pytest.mark.parametrize("data", ["a" * 300, "yolo:" + "a" * 300, "a" * 300 + "@train"])
def test_a_name_that_is_too_long_is_one_clear_error(data: str) -> None:
    with pytest.raises(InputError, match=r"^data: (yolo:)?a{100,}.* cannot be read: File name too long$"):
        choose(data)


def test_a_path_object_is_data(tmp_path: Path) -> None:
    content = '{"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": [{"id": 1, "name": "c"}]}'
    (tmp_path / "a.json").write_text(content)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert load_dataset(tmp_path / "a.json").source == str(tmp_path / "a.json")
    assert load_dataset(tmp_path / "a.json", tmp_path, [{"id": 1, "name": "c"}]).categories == (Category(1, "c"),)
    assert as_fraction(tmp_path) is None


@pytest.mark.parametrize("data", ["", " ", "coco:", "yolo:", "@train", "nothing.json+"])
def test_an_empty_path_is_not_the_current_folder(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing.json").write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(InputError, match=r"data: expected a path, found '.*'; the current folder is '\.'"):
        read_dataset(data)


@pytest.mark.parametrize("data", [None, 5, b"cells", ["a.json", "b.json"], {}])
def test_data_of_another_type_are_named(data: Any) -> None:
    with pytest.raises(InputError, match=f"data: expected a path, for example .*, found {type(data).__name__}"):
        read_dataset(data)


def test_names_are_no_categories_and_a_number_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"each of categories must be a Category, for example tfrcnn\.Cat.*found str"):
        read_dataset(tmp_path, categories=["cell"])  # type: ignore[list-item]
    with pytest.raises(InputError, match="images: expected a folder, found int"):
        read_dataset(tmp_path, 5)  # type: ignore[arg-type]
