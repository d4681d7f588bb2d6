"""Prepared data sets of TensorFlow Datasets."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tfrcnn.config import Category
from tfrcnn.data.decode import read_image
from tfrcnn.data.read import load_dataset
from tfrcnn.data.tfds import _features
from tfrcnn.errors import InputError


def test_without_the_library_there_is_one_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match=r'tfds:voc/2007 needs tensorflow-datasets, .*; pip install "tfrcnn\[tfds\]"'):
        load_dataset("tfds:voc/2007@train")
    with pytest.raises(InputError, match="found nothing at voc/2007"):
        load_dataset("voc/2007@train")


class FeaturesDict(dict):
    """Stands in for the library's classes, which few machines have."""


class ClassLabel:
    names = ("cat", "dog")


class Image:
    """As above."""


class BBoxFeature:
    """As above."""


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Features of a data set whose objects have a bbox and more."""
    classes = SimpleNamespace(Image=Image, FeaturesDict=FeaturesDict, BBoxFeature=BBoxFeature, ClassLabel=ClassLabel)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", SimpleNamespace(features=classes))

    def make(**objects: object) -> dict[str, object]:
        return {"image": Image(), "objects": SimpleNamespace(feature=FeaturesDict(bbox=BBoxFeature(), **objects))}

    return make


def test_objects_have_the_classes_of_their_label_or_are_of_one_class(features: Any) -> None:
    assert _features(features(label=ClassLabel(), pose=ClassLabel()), "x") == ("image", "objects", ["cat", "dog"])
    assert _features(features(blur=object()), "x") == ("image", "objects", [])


@pytest.mark.parametrize("objects", [{"type": ClassLabel()}, {"label": object()}])
def test_objects_whose_classes_are_unclear_are_refused(features: Any, objects: dict[str, object]) -> None:
    keys = ", ".join(["bbox", *objects])
    with pytest.raises(InputError, match=f"x: objects: expected a ClassLabel called label, found the features {keys}"):
        _features(features(**objects), "x")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set that the library prepared: i boxes in image i."""
    tfds = pytest.importorskip("tensorflow_datasets")
    objects = {
        "bbox": tfds.features.BBoxFeature(),
        "label": tfds.features.ClassLabel(names=["cat", "dog"]),
        "is_difficult": np.bool_,
    }
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="png"),
            "image/filename": tfds.features.Text(),
            "objects": tfds.features.Sequence(objects),
        }
    )

    class Cells(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, _):
            return {"train": self._generate_examples(3)}

        def _generate_examples(self, count):
            box = {"bbox": tfds.features.BBox(0.2, 0.1, 0.4, 0.5), "label": "dog", "is_difficult": False}
            for i in range(count):
                image = np.full((30, 40, 3), 50 * i, np.uint8)
                yield i, {"image": image, "image/filename": f"{i}.png", "objects": [box] * i}

    builder = Cells(data_dir=tmp_path_factory.mktemp("tfds"))
    builder.download_and_prepare()
    return Path(builder.data_dir)


@pytest.mark.slow
def test_a_prepared_data_set_is_read_where_it_is(folder: Path) -> None:
    dataset = load_dataset(f"tfds:{folder}@train")
    assert dataset.categories == (Category(1, "cat"), Category(2, "dog"))
    examples = {example.image_id: example for example in dataset.examples}
    assert sorted(examples) == ["0.png", "1.png", "2.png"]
    assert [len(examples[f"{i}.png"].boxes) for i in range(3)] == [0, 1, 2]
    assert examples["1.png"].boxes.tolist() == [[6, 4, 12, 20]]
    assert examples["1.png"].labels.tolist() == [1]
    assert (read_image(examples["2.png"].path) == 100).all()
    with pytest.raises(InputError, match="expected one of the splits train in"):
        load_dataset(f"tfds:{folder}@test")


@pytest.mark.slow
def test_a_name_that_does_not_exist_is_one_line(folder: Path) -> None:
    with pytest.raises(InputError, match=r"found tfds:no_such_set: .*no_such_set not found"):
        load_dataset("tfds:no_such_set@train")
