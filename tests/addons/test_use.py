"""What users do with tensorflow-addons: its optimizers and callbacks under `fit`, and its image operators."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfrcnn
from tfrcnn.cli.main import main
from tfrcnn.config import Category
from tfrcnn.models import build_detector, preset
from tfrcnn.training.joint import TrainingModel
from tfrcnn.training.run import load_run

CATEGORIES = (Category(1, "bright"), Category(2, "dark"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Write eight pictures with a bright and a dark rectangle, and return their COCO file."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    images, annotations = [], []
    for i in range(8):
        pixels = np.full((64, 64, 3), 128, np.uint8)
        for category, grey in ((1, 255), (2, 0)):
            x, y = rng.integers(0, 8, 2).tolist()
            x += 30 * (category - 1)
            pixels[y : y + 28, x : x + 24] = grey
            box = {"bbox": [x, y, 24, 28], "area": 672, "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "image_id": i, "category_id": category, **box})
        Image.fromarray(pixels).save(folder / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 64, "height": 64})
    categories = [{"id": c.id, "name": c.name} for c in CATEGORIES]
    file = folder / "instances.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file


def batches(data, augment=None):
    training = preset("tiny_fpn").training.replace(batch_size=2)
    dataset = tfrcnn.load_dataset(str(data))
    return tfrcnn.training_data(dataset, preset("tiny_fpn", image_size=64).detector.image, training, augment=augment)


def make_model():
    keras.utils.set_random_seed(0)
    return TrainingModel(build_detector(preset("tiny_fpn", CATEGORIES, 64).detector))


def test_image_operators_in_an_augmentation_of_your_own(tfa, data):
    def augment(image, boxes, labels, seed):
        sharp = tfa.image.sharpness(image, 2.0)
        return tfa.image.translate(sharp, [4.0, 2.0]), boxes + tf.constant([2.0, 4.0, 2.0, 4.0]), labels

    plain, augmented = (next(iter(batches(data, function).batches())) for function in (None, augment))
    for batch in (plain, augmented):
        assert batch["images"].shape == (2, 64, 64, 3)
    is_object = plain["labels"][..., None] >= 0
    moved = tf.reduce_max(tf.where(is_object, tf.abs(augmented["boxes"] - plain["boxes"]), 0.0))
    assert 2.0 < moved < 6.0


@pytest.mark.slow
def test_the_command_line_trains_evaluates_and_exports_with_an_optimizer_by_name(tfa, data, tmp_path):
    run, measured = tmp_path / "run", tmp_path / "measured.json"
    commands = [
        f"train --train {data} --val {data} --out {run} --model tiny_fpn --image-size 64 --epochs 2 --batch-size 2 "
        "--optimizer tfa:LAMB",
        f"evaluate --model {run} --data {data} --json {measured}",
        *(
            f"export --model {run} --format {name} --out {tmp_path / 'exported'}{suffix} --verify {data}"
            for name, suffix in (("saved_model", ""), ("tflite", ".tflite"), ("onnx", ".onnx"))
        ),
    ]
    assert [main(command.split()) for command in commands] == [0] * 5
    losses = [row["loss"] for row in load_run(run).history]
    assert losses[1] < losses[0]
    assert json.loads((run / "training.json").read_text())["training"]["optimizer"] == "tfa:LAMB"
    assert 0 <= json.loads(measured.read_text())["headline"]["AP50"] <= 1


@pytest.mark.slow
def test_lookahead_and_an_average_of_the_weights_under_fit(tfa, data, tmp_path):
    model, batch = make_model(), next(iter(batches(data).batches()))
    steps = tf.data.Dataset.from_tensors(batch).repeat(2)
    model.compile(
        optimizer=tfa.optimizers.Lookahead(keras.optimizers.legacy.SGD(0.01), sync_period=2), run_eagerly=True
    )
    losses = [model.fit(steps, verbose=0).history["loss"][0] for _ in range(3)]
    assert losses[-1] < losses[0]

    average = tfa.optimizers.MovingAverage(keras.optimizers.legacy.SGD(0.01), average_decay=0.5)
    model.compile(optimizer=average, run_eagerly=True)
    file = tmp_path / "average"
    checkpoint = tfa.callbacks.AverageModelCheckpoint(True, str(file), save_weights_only=True)
    model.fit(steps, verbose=0, callbacks=[checkpoint])
    averaged = [weight.numpy() for weight in model.detector.trainable_variables]
    assert file.with_suffix(".index").is_file()
    for variable, value in zip(model.detector.trainable_variables, averaged):
        np.testing.assert_array_equal(average.get_slot(variable, "average").numpy(), value)
