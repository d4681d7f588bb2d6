"""The data set of the demonstration: exact boxes, disjoint digits, the same pixels every time."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sklearn", reason="the digits are scikit-learn's")

from tfrcnn.data.digits import MIN_CONTRAST, NAMES, Scene, make_digit_scenes, make_scene
from tfrcnn.errors import InputError


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(folder, {split: its json}) of a small version of the sets."""
    folder = tmp_path_factory.mktemp("digits")
    paths = make_digit_scenes(folder, train=60, val=20, test=30)
    return folder, {split: json.loads(path.read_text()) for split, path in paths.items()}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return [
        make_scene(np.random.default_rng(seed), data.images / 16, data.target, np.arange(1797)) for seed in range(60)
    ]


def test_boxes_are_tight_to_the_ink_that_is_visible(scenes):
    for scene in scenes:
        change = np.abs(scene.image.astype(int) - scene.background).max(axis=2)
        boxed = np.zeros(change.shape, bool)
        for y1, x1, y2, x2 in scene.boxes:
            inside = change[y1:y2, x1:x2]
            # a quarter of the contrast or more, but for what noise behind the edge takes away
            assert min(edge.max() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1])) > 15
            boxed[y1:y2, x1:x2] = True
        assert not change[~boxed].any()


def test_box_is_the_extent_of_its_digit_alone(scenes):
    alone = [scene for scene in scenes if len(scene.boxes) == 1]
    assert len(alone) > 3
    for scene in alone:
        rows, columns = np.nonzero((scene.image != scene.background).any(axis=2))
        assert scene.boxes[0].tolist() == [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]


def test_digits_stand_out_from_what_is_behind_them(scenes):
    weights = np.array([0.299, 0.587, 0.114])
    for scene in scenes:
        change = np.abs(scene.image @ weights - scene.background @ weights)
        for y1, x1, y2, x2 in scene.boxes:
            assert np.percentile(change[y1:y2, x1:x2], 95) > MIN_CONTRAST / 2


def test_scenes_are_varied(scenes):
    counts = [len(scene.boxes) for scene in scenes]
    shapes = {scene.image.shape[:2] for scene in scenes}
    boxes = np.concatenate([scene.boxes for scene in scenes])
    heights = boxes[:, 2] - boxes[:, 0]
    assert min(counts) == 0
    assert max(counts) == 6
    assert any(h > w for h, w in shapes)
    assert any(h < w for h, w in shapes)
    assert 12 <= heights.min() < 20
    assert 48 < heights.max() <= 57
    assert set(np.concatenate([scene.labels for scene in scenes])) == set(range(10))


def test_boxes_overlap_little(scenes):
    for boxes in (scene.boxes for scene in scenes):
        sides = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        shared = np.prod(sides.clip(0), axis=-1)
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)
        shared[np.diag_indices_from(shared)] = 0
        assert (shared <= 0.15 * np.minimum(areas[:, None], areas[None, :])).all()


def test_no_digit_is_in_two_sets(written):
    sources = {split: {a["source"] for a in content["annotations"]} for split, content in written[1].items()}
    assert not sources["train"] & sources["val"]
    assert not sources["train"] & sources["test"]
    assert not sources["val"] & sources["test"]


def test_annotations_agree_with_the_digits_and_with_the_pictures(written):
    from sklearn.datasets import load_digits

    target = load_digits().target
    folder, contents = written
    for content in contents.values():
        names = {category["id"]: category["name"] for category in content["categories"]}
        assert list(names) == list(range(10, 101, 10))
        sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
        for image in content["images"]:
            with Image.open(folder / "images" / image["file_name"]) as picture:
                assert (picture.size, picture.mode) == (sizes[image["id"]], "RGB")
        for annotation in content["annotations"]:
            x, y, width, height = annotation["bbox"]
            limits = sizes[annotation["image_id"]]
            assert names[annotation["category_id"]] == NAMES[target[annotation["source"]]]
            assert 0 <= x < x + width <= limits[0]
            assert 0 <= y < y + height <= limits[1]
            assert annotation["area"] == width * height
        ids = [annotation["id"] for annotation in content["annotations"]]
        assert len(set(ids)) == len(ids)


def test_sets_share_neither_image_ids_nor_files(written):
    images = [image for content in written[1].values() for image in content["images"]]
    assert len({image["id"] for image in images}) == len({image["file_name"] for image in images}) == 110
    assert len(list((written[0] / "images").iterdir())) == 110


def test_same_seed_gives_the_same_pixels_and_another_seed_others(written, tmp_path):
    again = make_digit_scenes(tmp_path / "again", train=5, val=1, test=1)
    other = make_digit_scenes(tmp_path / "other", train=5, val=1, test=1, seed=1)
    images = json.loads(again["train"].read_text())["images"]
    assert images == written[1]["train"]["images"][:5]

    def pixels(folder, image):
        with Image.open(folder / "images" / image["file_name"]) as picture:
            return np.asarray(picture)

    for image in images:
        np.testing.assert_array_equal(pixels(tmp_path / "again", image), pixels(written[0], image))
    different = json.loads(other["train"].read_text())["images"]
    assert any(
        a["width"] != b["width"] or (pixels(tmp_path / "other", a) != pixels(written[0], b)).any()
        for a, b in zip(different, images)
    )


def test_missing_scikit_learn_names_the_extra_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InputError, match=r'pip install "tfrcnn\[demo\]"'):
        make_digit_scenes(tmp_path)


def test_set_without_scenes_is_refused(tmp_path):
    with pytest.raises(InputError, match="val must be at least 1 scene, found 0"):
        make_digit_scenes(tmp_path, val=0)


def test_digits_have_the_height_and_the_aspect_of_the_call():
    from sklearn.datasets import load_digits

    data = load_digits()
    for seed in range(10):
        rng = np.random.default_rng(seed)
        scene = make_scene(rng, data.images / 16, data.target, np.arange(1797), heights=(9, 12), aspect=8)
        height, width = (scene.boxes[:, 2:] - scene.boxes[:, :2]).T
        assert np.all((height >= 7) & (height <= 12))  # faint ink at the border is cropped
        assert np.all((width / height > 5.5) & (width / height < 9.5))
