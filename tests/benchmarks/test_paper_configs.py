"""The paper's schedules as preset files for `tfrcnn train`, against iterations, rates and anchors by hand."""

from pathlib import Path

import pytest

from tfrcnn.data.sampler import steps_per_epoch
from tfrcnn.models import preset
from tfrcnn.training.recipe import Recipe
from tfrcnn.training.run_optimizer import make_optimizer
from tfrcnn.training.schemes import SCHEMES

CONFIGS = Path(__file__).resolve().parents[2] / "benchmarks" / "paper" / "configs"
VOC07, VOC12, COCO17 = 5011, 11540, 118287  # images of trainval, trainval, train


@pytest.mark.parametrize(
    ("name", "images", "steps", "rate", "updates", "drop"),
    [
        ("voc07_joint", VOC07, 1, 1e-3, 70_000, 50_000),
        ("voc07_alternating", VOC07, 4, 1e-3, 80_000, 60_000),
        ("voc0712_alternating", VOC07 + VOC12, 4, 1e-3, 80_000, 60_000),
        ("coco_alternating", COCO17, 4, 3e-3, 320_000, 240_000),
    ],
)
def test_iterations_and_rates_are_those_of_the_paper(name, images, steps, rate, updates, drop):
    training = preset(str(CONFIGS / f"{name}.json")).training
    phases = SCHEMES[training.scheme]
    assert len(phases) == steps
    for phase in phases:
        options = phase.training(training)
        per_epoch = steps_per_epoch(images, options.batch_size)
        # whole epochs: 16551 images are seen 5 times, 3.4 % more than 80,000 iterations
        assert options.epochs * per_epoch == pytest.approx(updates, rel=0.035)
        schedule = make_optimizer(options, per_epoch)._learning_rate
        at = {step: float(schedule(step)) for step in (1000, int(0.96 * drop), int(1.04 * drop), updates)}
        assert list(at.values()) == pytest.approx([rate, rate, rate / 10, rate / 10], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("voc07_alternating", (128, 256, 512)), ("coco_alternating", (64, 128, 256, 512))],
)
def test_all_else_is_the_paper_s_vgg16(name, sizes):
    config, vgg16 = preset(str(CONFIGS / f"{name}.json")).detector, preset("vgg16").detector
    assert config.anchors == vgg16.anchors.replace(sizes=(sizes,))
    assert config.replace(anchors=vgg16.anchors, preset="vgg16") == vgg16
    assert config.anchors.per_cell == 3 * len(sizes)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_each_is_taken_by_tfrcnn_train(path):
    recipe = Recipe("07@trainval+12@trainval", "07@test", model=str(path)).resolved()
    expected = preset(str(path))
    assert (recipe.training, recipe.detector) == (expected.training, expected.detector)
