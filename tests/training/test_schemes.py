"""The schemes: the trained parts and the budget of each step, and whole runs of schemes of one or two steps."""

import hashlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.compat import path_of
from tfrcnn.config import TrainingConfig
from tfrcnn.errors import InputError
from tfrcnn.evaluation.proposals import evaluate_proposals
from tfrcnn.files import read_json
from tfrcnn.inference import Predictor
from tfrcnn.models import load_detector
from tfrcnn.models.transfer import unshare
from tfrcnn.training.folder import is_complete
from tfrcnn.training.joint import LOSSES, TrainingModel
from tfrcnn.training.measures import RecallMeasure, RPNLossMeasure
from tfrcnn.training.run import train
from tfrcnn.training.schemes import SCHEMES, freeze

from .test_joint import losses_of, make_batch
from .test_run import fresh_detector, make_dataset, settings

SHARED = {"backbone", "fpn", "rpn_head", "box_head"}
PARTS = SHARED | {"rpn_backbone", "rpn_fpn"}
RPN_OF_ITS_OWN = {"rpn_backbone", "rpn_fpn", "rpn_head"}
FAST_RCNN = {"backbone", "fpn", "box_head"}


@pytest.fixture(scope="module")
def shared():
    return fresh_detector()


@pytest.fixture(scope="module")
def unshared(shared):
    return unshare(shared)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return make_dataset(folder, 6, 0), make_dataset(folder, 3, 1)


def digest(detector, names):
    arrays = [w for name in sorted(names) for w in getattr(detector, name).get_weights()]
    return hashlib.sha256(b"".join(w.tobytes() for w in arrays)).hexdigest()


@pytest.mark.parametrize(
    ("scheme", "step", "expected"),
    [
        ("joint", 1, SHARED),
        ("rpn-only", 1, {"backbone", "fpn", "rpn_head"}),
        ("fast-rcnn-only", 1, FAST_RCNN),
        ("unshared", 1, RPN_OF_ITS_OWN),
        ("unshared", 2, FAST_RCNN),
        ("alternating", 1, RPN_OF_ITS_OWN),
        ("alternating", 2, FAST_RCNN),
        ("alternating", 3, {"rpn_head"}),
        ("alternating", 4, {"box_head"}),
    ],
)
def test_what_is_trained_in_a_step(scheme, step, expected, shared, unshared):
    phase = SCHEMES[scheme][step - 1]
    detector = shared if phase.shared else unshared
    freeze(detector, settings(), phase)
    parts = {name: getattr(detector, name) for name in PARTS if getattr(detector, name) is not None}
    assert {name for name, part in parts.items() if part.trainable_variables} == expected
    assert len(detector.trainable_variables) == sum(len(parts[name].trainable_variables) for name in expected)


@pytest.mark.parametrize(
    ("scheme", "step", "expected"), [("joint", 1, True), *(("alternating", n, False) for n in (3, 4))]
)
def test_fixed_features_are_those_of_detection_without_dropout(scheme, step, expected, shared, monkeypatch):
    phase, call, seen = SCHEMES[scheme][step - 1], shared.backbone.call, []
    freeze(shared, settings(), phase)
    monkeypatch.setattr(
        shared.backbone,
        "call",
        lambda *args, training=None, **options: seen.append(training) or call(*args, training=training, **options),
    )
    TrainingModel(shared, losses=phase.losses)(make_batch(64, 64), training=True)
    assert seen == [expected]


def test_frozen_stages_and_norms_are_so_in_both_networks(unshared):
    freeze(unshared, settings(frozen_stages=2, freeze_batch_norm=True))
    for backbone in (unshared.backbone, unshared.rpn_backbone):
        names = {path_of(variable).split("/")[-2] for variable in backbone.trainable_variables}
        assert names
        assert all(name.startswith("stage3") and name.endswith("_conv") for name in names)


@pytest.mark.parametrize(
    ("scheme", "budget", "epochs"),
    [
        ("joint", 3, [3]),
        ("rpn-only", 3, [3]),
        ("fast-rcnn-only", 3, [3]),
        ("unshared", 3, [3, 3]),
        ("alternating", 32, [16, 16, 16, 16]),  # the paper's
        ("alternating", 3, [2, 2, 2, 2]),
        ("alternating", 1, [1, 1, 1, 1]),
    ],
)
def test_the_epochs_of_the_steps(scheme, budget, epochs):
    assert [phase.training(TrainingConfig(epochs=budget)).epochs for phase in SCHEMES[scheme]] == epochs


def test_an_unknown_scheme_is_told_those_there_are():
    with pytest.raises(InputError, match=r"scheme must be one of joint, alternating, .*, found 'end2end'"):
        TrainingConfig(scheme="end2end")


@pytest.mark.parametrize(
    ("scheme", "is_shared", "message"),
    [
        ("unshared", True, "'unshared' trains a detector whose RPN has separate features, found one that shares"),
        ("fast-rcnn-only", True, r"found one that shares them: make it with tfrcnn\.unshare"),
        ("alternating", False, "'alternating' trains a detector that shares its features, found one whose RPN has"),
    ],
)
def test_a_network_of_the_wrong_form_is_refused(scheme, is_shared, message, shared, unshared, data, tmp_path):
    with pytest.raises(InputError, match=message):
        train(shared if is_shared else unshared, *data, tmp_path / "run", settings(scheme=scheme))
    assert not (tmp_path / "run").exists()


def test_the_losses_of_a_step_are_those_of_joint_training(shared):
    batch = make_batch(64, 64)
    together = losses_of(TrainingModel(shared), batch)
    apart = [losses_of(TrainingModel(shared, losses=[stage]), batch) for stage in ("rpn", "head")]
    assert [tuple(losses) for losses in apart] == [LOSSES[:2], LOSSES[2:]]
    assert {**apart[0], **apart[1]} == together


@pytest.mark.parametrize("is_shared", [True, False])
def test_no_gradient_of_the_head_s_losses_goes_through_the_proposals(is_shared, shared, unshared):
    detector, batch = shared if is_shared else unshared, make_batch(64, 64)
    freeze(detector, settings())
    model = TrainingModel(detector)
    with tf.GradientTape() as tape:
        losses = model.losses_of(batch, model(batch, training=True))
        total = losses["classifier_loss"] + losses["box_loss"]
    parts = {name: getattr(detector, name) for name in PARTS if getattr(detector, name) is not None}
    gradients = tape.gradient(total, {name: part.trainable_variables for name, part in parts.items()})
    reached = {name for name, values in gradients.items() if any(gradient is not None for gradient in values)}
    assert reached == FAST_RCNN


def test_a_training_model_saved_by_keras_keeps_its_losses(shared):
    model = TrainingModel(shared, 3, ["rpn"])
    copy = TrainingModel.from_config(model.get_config())
    assert (copy.seed, copy.active) == (3, ("rpn",))


@pytest.mark.slow
def test_the_rpn_s_losses_on_a_data_set_are_the_means_over_its_images_and_do_not_depend_on_the_step(
    shared, data, monkeypatch
):
    model = TrainingModel(shared, losses=("rpn",))
    model.compile(optimizer=keras.optimizers.SGD(), jit_compile=False)
    measure = RPNLossMeasure(data[1], settings())
    first = measure(model)
    assert first.lower_is_better
    assert list(first.scores) == ["rpn_loss", "rpn_objectness_loss", "rpn_box_loss"]
    np.testing.assert_allclose(first.scores["rpn_loss"], sum(list(first.scores.values())[1:]), rtol=1e-6)
    # one image at a time through the model; float32 sums in a different order
    pixels = [tf.io.decode_png(tf.io.read_file(str(example.path))).numpy() for example in data[1].examples]
    per_image = []
    for image, example in zip(pixels, data[1].examples):
        boxes = example.boxes if len(example.boxes) else np.zeros((1, 4), np.float32)
        batch = {
            "images": image[None].astype(np.float32),
            "image_sizes": np.full((1, 2), 64, np.float32),
            "boxes": boxes[None],
            "labels": example.labels[None] if len(example.boxes) else np.full((1, 1), -1, np.int32),
        }
        per_image.append(model.losses_of(batch, model(batch, training=False), training=False))
    for name in LOSSES[:2]:
        np.testing.assert_allclose(first.scores[name], np.mean([losses[name] for losses in per_image]), rtol=1e-5)
    model.optimizer.iterations.assign(7)
    assert measure(model) == first
    # several workers compute the losses of a part each
    monkeypatch.setattr("tfrcnn.training.measures.divide", lambda work, items: [*work(items[:1]), *work(items[1:])])
    assert measure(model).scores == pytest.approx(first.scores, rel=1e-6)


@pytest.mark.slow
def test_the_recall_of_proposals_is_that_of_their_evaluation(shared, data):
    judgement = RecallMeasure(data[1], 50)(TrainingModel(shared, losses=("rpn",)))
    evaluation = evaluate_proposals(data[1], Predictor(shared).propose_dataset(data[1], 50), [50])
    assert judgement == ({"AR50": evaluation.average_recall["AR@50"]}, False, evaluation.to_dict())


@pytest.fixture(scope="module")
def proposing(data, tmp_path_factory):
    """Return a run that trains the RPN alone."""
    return train(fresh_detector(), *data, tmp_path_factory.mktemp("runs") / "rpn", settings(scheme="rpn-only"))


@pytest.mark.slow
def test_an_rpn_alone_is_chosen_by_its_validation_loss_and_leaves_the_box_head(proposing):
    losses = [row["val_rpn_loss"] for row in proposing.history]
    assert read_json(proposing.folder / "config.json")["extra"]["validation"]["rpn_loss"] == min(losses)
    assert digest(proposing.detector, {"box_head"}) == digest(fresh_detector(), {"box_head"})
    assert not (proposing.folder / "predictions.png").exists()
    assert is_complete(proposing.folder)


@pytest.mark.soak
def test_a_detector_learns_from_given_proposals_and_keeps_the_network_that_gives_them(proposing, data, tmp_path):
    network = unshare(fresh_detector(), proposing.detector)
    run = train(network, *data, tmp_path / "run", settings(scheme="fast-rcnn-only").replace(epochs=1))
    for name in ("backbone", "fpn"):
        assert digest(run.detector, {f"rpn_{name}"}) == digest(proposing.detector, {name})
        assert digest(run.detector, {name}) != digest(fresh_detector(), {name})
    assert digest(run.detector, {"rpn_head"}) == digest(proposing.detector, {"rpn_head"})
    assert {"classifier_loss", "box_loss"} < set(run.history[0])
    assert "rpn_box_loss" not in run.history[0]
    assert read_json(run.folder / "config.json")["detector"]["shared_features"] is False


@pytest.mark.slow
def test_unshared_networks_are_trained_one_after_the_other(data, tmp_path):
    network = unshare(fresh_detector())
    run = train(network, *data, tmp_path / "run", settings(scheme="unshared").replace(epochs=1))
    first = load_detector(tmp_path / "run/1-rpn")
    assert digest(first, FAST_RCNN) == digest(fresh_detector(), FAST_RCNN)
    for detector in (load_detector(tmp_path / "run/last"), run.detector):
        assert digest(detector, RPN_OF_ITS_OWN) == digest(first, RPN_OF_ITS_OWN)
        assert digest(detector, FAST_RCNN) != digest(first, FAST_RCNN)
    assert [(row["phase"], row["epoch"], row["step"]) for row in run.history] == [(1, 1, 3), (2, 1, 6)]
