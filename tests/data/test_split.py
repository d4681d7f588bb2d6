"""split.py: splits by hand, then as properties of any data set, and the file that records them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrcnn.config import Category
from tfrcnn.data.example import Dataset, Example
from tfrcnn.data.split import SPLIT, as_fraction, record_split, recorded_split, split_dataset, stratify
from tfrcnn.errors import InputError


def present(*rows: str) -> np.ndarray:
    """A row of 0 and 1 per image."""
    return np.array([[character == "1" for character in row] for row in rows], bool)


def split(matrix: np.ndarray, fraction: float, seed: int = 0, groups: np.ndarray | None = None) -> np.ndarray:
    return stratify(matrix, np.arange(len(matrix)) if groups is None else groups, fraction, seed)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Ten images with one object each: eight of category 0, two of category 1; the files differ."""
    examples = []
    for i in range(10):
        (tmp_path / f"{i}.jpg").write_bytes(bytes([i]) * 9)
        labels = np.array([i >= 8], np.int32)
        flags, boxes = np.zeros(1, bool), np.array([[0, 0, 4, 4]], np.float32)
        path = tmp_path / f"{i}.jpg"
        examples.append(Example(f"{i}", path, 8, 8, boxes, labels, flags, flags, np.ones(1), 1, np.array([i])))
    return Dataset("all.json", (Category(1, "common"), Category(2, "rare")), tuple(examples))


def ids(dataset: Dataset) -> list[int | str]:
    return [example.image_id for example in dataset.examples]


@pytest.mark.parametrize(
    ("val", "fraction"), [(0.2, 0.2), ("0.2", 0.2), (".5", 0.5), ("a.json", None), ("./0.2", None), (None, None)]
)
def test_a_number_is_a_fraction_and_any_other_text_is_data(val: float | str | None, fraction: float | None) -> None:
    assert as_fraction(val) == fraction


@pytest.mark.parametrize("val", [0, 1, "1.0", "-0.2", "20", "nan", "inf"])
def test_a_fraction_out_of_range_is_one_clear_line(val: float | str) -> None:
    with pytest.raises(InputError, match=r"val: expected DATA or a fraction between 0 and 1, for example 0.2, found"):
        as_fraction(val)


def test_counts_of_every_category_are_split_by_the_fraction_by_hand() -> None:
    """Ten images of category 0 and five of category 1: a fifth of each is two and one."""
    matrix = present(*["10"] * 10, *["01"] * 5)
    for seed in range(5):
        assert matrix[split(matrix, 0.2, seed)].sum(axis=0).tolist() == [2, 1]


def test_a_category_on_two_images_is_on_both_sides_and_one_on_a_single_image_is_for_training() -> None:
    matrix = present("110", "110", "101", *["100"] * 20)
    for seed in range(10):
        assert matrix[split(matrix, 0.1, seed)].sum(axis=0).tolist() == [2, 1, 0]


def test_images_that_share_categories_are_dealt_out_by_hand() -> None:
    """Category 1 is rarest: one of its two images is for validation. Category 0 then has its share too, 1 of 4."""
    matrix = present("11", "11", "10", "10")
    val = split(matrix, 0.25)
    assert val.sum() == 1
    assert matrix[val].tolist() == [[True, True]]


def test_a_category_left_on_one_side_by_its_rarer_neighbours_is_moved() -> None:
    """Category 2 is on the images of 0 and 1 alone; both sides get it wherever they are."""
    matrix = present("101", "101", "011", "011")
    for seed in range(10):
        counts = matrix[split(matrix, 0.5, seed)].sum(axis=0)
        assert counts[0] == counts[1] == 1


def test_images_without_objects_are_split_too() -> None:
    assert split(np.zeros([10, 0], bool), 0.3).sum() == 3
    assert split(np.zeros([2, 3], bool), 0.01).sum() == 1
    assert split(present("10", "01"), 0.2).sum() == 1


def test_copies_stay_on_one_side() -> None:
    groups = np.arange(20) // 2
    val = split(np.ones([20, 1], bool), 0.3, groups=groups)
    assert val.sum() == 6
    np.testing.assert_array_equal(val[::2], val[1::2])


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(st.sets(st.integers(0, 7), max_size=3), min_size=20, max_size=60),
    fraction=st.floats(0.1, 0.5),
    seed=st.integers(0, 5),
)
def test_shares_are_near_the_fraction_and_depend_on_the_seed_alone(
    rows: list[set[int]], fraction: float, seed: int
) -> None:
    matrix = np.array([[category in row for category in range(8)] for row in rows])
    val = split(matrix, fraction, seed)
    np.testing.assert_array_equal(split(matrix, fraction, seed), val)
    assert 0 < val.sum() < len(rows)
    totals, counts = matrix.sum(axis=0), matrix[val].sum(axis=0)
    alone = matrix.sum(axis=1) == 1  # such an image can be on either side, whatever the other categories need
    free = (matrix & alone[:, None]).sum(axis=0) >= 2
    assert (counts[free] > 0).all()
    assert (counts[free] < totals[free]).all()


def test_a_data_set_is_split_with_its_rare_category_in_both_parts(data: Dataset) -> None:
    train, val = split_dataset(data, 0.2)
    assert (len(train), len(val)) == (8, 2)
    assert sorted([*ids(train), *ids(val)]) == ids(data)
    assert len(set(ids(val)) & {"8", "9"}) == 1
    assert (train.source, val.source) == ("all.json", "0.2")
    assert ids(split_dataset(data, 0.2)[1]) == ids(val)
    assert len({tuple(ids(split_dataset(data, 0.2, seed)[1])) for seed in range(6)}) > 1


def test_copies_of_a_file_are_not_trained_on_and_judged_by(data: Dataset, tmp_path: Path) -> None:
    for i in range(0, 10, 2):
        (tmp_path / f"{i + 1}.jpg").write_bytes((tmp_path / f"{i}.jpg").read_bytes())
    val = {int(image_id) for image_id in ids(split_dataset(data, 0.4)[1])}
    assert val
    assert all((image_id ^ 1) in val for image_id in val)


def test_one_image_cannot_be_split(data: Dataset, tmp_path: Path) -> None:
    for i in range(1, 10):
        (tmp_path / f"{i}.jpg").write_bytes((tmp_path / "0.jpg").read_bytes())
    with pytest.raises(InputError, match=r"all.json: expected at least two different images to split, found 10"):
        split_dataset(data, 0.2)


def test_a_recorded_split_is_repeated_wherever_the_data_are(data: Dataset, tmp_path: Path) -> None:
    train, val = split_dataset(data, 0.2, seed=3)
    record_split(tmp_path, train, val, 3)
    recorded = recorded_split(tmp_path, data, 0.2)
    assert recorded is not None
    assert (ids(recorded[0]), ids(recorded[1])) == (ids(train), ids(val))
    content = json.loads((tmp_path / SPLIT).read_text())
    assert (content["fraction"], content["seed"], content["val"]) == (0.2, 3, ids(val))
    moved = tuple(replace(e, image_id=f"/new/VOC@train:/{e.image_id}") for e in data.examples)
    again = recorded_split(tmp_path, replace(data, examples=moved), 0.2)
    assert again is not None
    assert len(again[1]) == len(val)


def test_validation_data_of_their_own_are_not_recorded(data: Dataset, tmp_path: Path) -> None:
    record_split(tmp_path, data, data, 0)
    assert not (tmp_path / SPLIT).exists()
    assert recorded_split(tmp_path, data, 0.2) is None


def test_a_recorded_split_that_does_not_fit_is_refused(data: Dataset, tmp_path: Path) -> None:
    record_split(tmp_path, *split_dataset(data, 0.2), seed=0)
    with pytest.raises(InputError, match=r"cannot resume .* with val 0.3: its data were split with 0.2"):
        recorded_split(tmp_path, data, 0.3)
    with pytest.raises(InputError, match=r"split.json and all.json: expected the same images, found '9' in only one"):
        recorded_split(tmp_path, replace(data, examples=data.examples[:-1]), 0.2)
    for broken in ("[]", "{", '{"format": 1}', '{"format": 1, "fraction": 0.2, "seed": 0, "train": [{}], "val": []}'):
        (tmp_path / SPLIT).write_text(broken)
        with pytest.raises(InputError, match=r"split.json"):
            recorded_split(tmp_path, data, 0.2)


@pytest.mark.parametrize("prefixes", [("", "/new/B@train:"), ("/old/A:", "/new/B@train:")])
def test_joined_data_sets_that_moved_keep_their_split_though_images_have_the_same_names(
    data: Dataset, tmp_path: Path, prefixes: tuple[str, str]
) -> None:
    def joined(*prefixes: str) -> Dataset:
        names = (f"{prefix}images/{i}.jpg" for prefix in prefixes for i in range(5))
        return replace(data, examples=tuple(replace(e, image_id=name) for e, name in zip(data.examples, names)))

    before = joined(prefixes[0].replace("old", "older"), "/older/B@train:")
    _, val = split_dataset(before, 0.4)
    record_split(tmp_path, *split_dataset(before, 0.4), 0)
    again = recorded_split(tmp_path, joined(*prefixes), 0.4)
    assert again is not None
    assert [e.path for e in again[1].examples] == [e.path for e in val.examples]


def test_moved_data_whose_ids_could_mean_two_images_are_refused(data: Dataset, tmp_path: Path) -> None:
    ids = [f"/old/{'ab'[i % 2]}/{i // 2}.jpg" for i in range(10)]
    record_split(tmp_path, *split_dataset(replace(data, examples=named(data, ids)), 0.4), 0)
    with pytest.raises(InputError, match=r"expected the same images, found '/new/a/0.jpg' in only one"):
        recorded_split(tmp_path, replace(data, examples=named(data, [i.replace("old", "new") for i in ids])), 0.4)


def named(data: Dataset, ids: list[str]) -> tuple[Example, ...]:
    return tuple(replace(example, image_id=image_id) for example, image_id in zip(data.examples, ids))
