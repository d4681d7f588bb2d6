"""Several data sets as one."""

from pathlib import Path

import numpy as np
import pytest

from tfrcnn.data.join import parts_of
from tfrcnn.data.read import load_dataset, read_dataset
from tfrcnn.errors import InputError

from .test_voc import obj, write, xml


@pytest.fixture
def both(tmp_path: Path) -> tuple[str, str]:
    """Two VOC folders that have an image "b" each, and different pictures of it."""
    first = {"a": xml(obj("cat")), "b": xml(obj("cat"), obj("dog"))}
    second = {"b": xml(obj("dog", "1 1 5 5")), "c": xml()}
    return f"{write(tmp_path / '07', first)}@train", f"{write(tmp_path / '12', second)}@train"


def test_images_follow_each_other_and_ids_stay_apart(both: tuple[str, str]) -> None:
    first, second = both
    dataset, report = read_dataset(f"{first}+{second}")
    assert not report.refused
    assert [example.image_id for example in dataset.examples] == ["a", "b", f"{second}:b", "c"]
    assert [example.labels.tolist() for example in dataset.examples] == [[0], [0, 1], [1], []]
    assert [example.annotation_ids.tolist() for example in dataset.examples] == [[1], [2, 3], [4], []]
    assert [example.path.parts[-3] for example in dataset.examples] == ["07", "07", "12", "12"]
    np.testing.assert_array_equal(dataset.examples[2].boxes, [[0, 0, 5, 5]])
    assert (dataset.source, len(dataset)) == (f"{first}+{second}", 4)
    assert [report.summary[name] for name in ("images", "boxes", "categories", "images_without_boxes")] == [4, 4, 2, 1]


def test_labels_are_those_of_the_first_or_of_the_detector(both: tuple[str, str]) -> None:
    first, second = both
    # the second alone has but one category, whose label is then 0
    assert load_dataset(second).examples[0].labels.tolist() == [0]
    assert load_dataset(f"{first}+{second}").categories == load_dataset(first).categories
    categories = load_dataset(first).categories[::-1]
    joined = load_dataset(f"{first}+{second}", categories=categories)
    assert [example.labels.tolist() for example in joined.examples] == [[1], [1, 0], [0], []]


def test_a_category_that_the_first_has_not_is_refused(both: tuple[str, str]) -> None:
    first, second = both
    with pytest.raises(InputError, match="expected one of dog, found 'cat'"):
        load_dataset(f"{second}+{first}")


def test_an_image_that_is_in_two_of_them_is_refused(both: tuple[str, str]) -> None:
    with pytest.raises(InputError, match=r"a\.jpg: expected it in one of the data sets, found it in "):
        load_dataset(f"{both[0]}+{both[0].replace('07', '12/../07')}")


def test_a_data_set_that_is_named_twice_is_refused_and_ids_stay_apart(both: tuple[str, str]) -> None:
    dataset, report = read_dataset("+".join([both[0]] * 3))
    assert report.counts() == {"duplicate-image-id": 4}
    assert len({example.image_id for example in dataset.examples}) == len(dataset) == 6


def test_a_part_that_is_not_there_is_named(both: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="found nothing at nowhere"):
        load_dataset(f"{both[0]}+nowhere@train")


def test_a_folder_of_images_is_of_one_data_set(both: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="images: expected none with several data sets"):
        load_dataset("+".join(both), images=tmp_path)


def test_a_path_with_a_plus_is_one_data_set(tmp_path: Path) -> None:
    data = f"{write(tmp_path / 'c++', {'a': xml(obj())})}@train"
    assert parts_of(data) == [data]
    assert len(load_dataset(data)) == 1


def test_paths_with_a_plus_are_joined_by_one_too(tmp_path: Path) -> None:
    first = f"{write(tmp_path / 'c++' / '07', {'a': xml(obj())})}@train"
    second = f"{write(tmp_path / 'c++' / '12', {'b': xml(obj())}, {'a+b': 'b'})}@a+b"
    file = tmp_path / "a+b.json"
    file.touch()
    assert parts_of(f"{first}+{second}+{file}+{first}") == [first, second, str(file), first]
    assert len(load_dataset(f"{first}+{second}")) == 2
    with pytest.raises(InputError, match=r"found nothing at .*/c\+\+/nowhere$"):
        load_dataset(f"{first}+{tmp_path}/c++/nowhere@train+{second}")


def test_named_data_sets_are_joined_by_a_plus(tmp_path: Path) -> None:
    folder = tmp_path / "a+b" / "1.0.0"
    folder.mkdir(parents=True)
    parts = ["tfds:voc/2007@train", f"tfds:{folder}@train", "tfds:voc/2012@train"]
    assert parts_of("+".join(parts)) == parts
