"""Detectors are built from other libraries' checkpoints, and every key and weight is used."""

import json
import math
import re

import numpy as np
import pytest

from tfrcnn.boxes import base_anchors
from tfrcnn.config import CascadeConfig, Category, HeadConfig
from tfrcnn.errors import InputError
from tfrcnn.layers import CascadeHeads
from tfrcnn.models import build_blank_detector, build_detector, load_detector, preset, save_detector
from tfrcnn.weights import detectron2
from tfrcnn.weights.coco_names import coco_categories
from tfrcnn.weights.importing import SOURCES, import_weights, read_categories
from tfrcnn.weights.torch_layout import conv_kernel, dense_kernel

MOBILENET = "fasterrcnn_mobilenet_v3_large_320_fpn"
TWO = (Category(1, "cat"), Category(2, "dog"))


def torch_shape(assignment):
    """Return torch's shape of a weight from its shape in Keras."""
    shape = tuple(assignment.variable.shape)
    return {4: lambda: (shape[3], shape[2], *shape[:2]), 2: lambda: shape[::-1]}.get(len(shape), lambda: shape)()


def state_of(detector, source, seed=0):
    """Return a state dict of random numbers that fits a detector."""
    rng = np.random.default_rng(seed)
    state = {}
    for each in SOURCES[source].assignments(detector):
        shape = torch_shape(each)
        if "depthwise" in each.convert.__name__:
            shape = (each.variable.shape[2], 1, *each.variable.shape[:2])
        if "bbox_pred" in each.key and "roi_heads" in each.key and source == "torchvision":
            shape = (shape[0] + 4, *shape[1:])
        state[each.key] = rng.normal(size=shape).astype(np.float32)
    return state


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    """Return a detector of two classes, its state dict in torchvision's format, and the file with that state dict."""
    detector = build_detector(preset(MOBILENET, TWO).detector)
    state = state_of(detector, "torchvision")
    path = tmp_path_factory.mktemp("checkpoint") / "mobilenet.npz"
    np.savez(path, **state)
    return detector, state, path


def c4_shapes(stages, classes=80):
    """Return the keys of Detectron2's faster_rcnn_R_*_C4 with their shapes: its GeneralizedRCNN with Res5ROIHeads."""
    shapes = {}

    def conv(name, channels, inputs, size):
        shapes[f"{name}.weight"] = (channels, inputs, size, size)
        for statistic in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.norm.{statistic}"] = (channels,)

    def stage(name, blocks, inputs, channels):
        for block in range(blocks):
            if block == 0:
                conv(f"{name}.0.shortcut", channels, inputs, 1)
            conv(f"{name}.{block}.conv1", channels // 4, inputs, 1)
            conv(f"{name}.{block}.conv2", channels // 4, channels // 4, 3)
            conv(f"{name}.{block}.conv3", channels, channels // 4, 1)
            inputs = channels

    def linear(name, outputs, inputs):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, *inputs), (outputs,)

    conv("backbone.stem.conv1", 64, 3, 7)
    for number, (blocks, inputs, channels) in enumerate(zip(stages, (64, 256, 512), (256, 512, 1024)), start=2):
        stage(f"backbone.res{number}", blocks, inputs, channels)
    stage("roi_heads.res5", 3, 1024, 2048)
    linear("proposal_generator.rpn_head.conv", 1024, (1024, 3, 3))
    linear("proposal_generator.rpn_head.objectness_logits", 15, (1024, 1, 1))
    linear("proposal_generator.rpn_head.anchor_deltas", 60, (1024, 1, 1))
    linear("roi_heads.box_predictor.cls_score", classes + 1, (2048,))
    linear("roi_heads.box_predictor.bbox_pred", 4 * classes, (2048,))
    return shapes


def changed(path, tmp_path, change):
    state = dict(np.load(path))
    change(state)
    np.savez(tmp_path / "changed.npz", **state)
    return tmp_path / "changed.npz"


@pytest.mark.slow
def test_background_moves_from_first_to_last_and_its_deltas_go(mobilenet):
    _, state, path = mobilenet
    head = import_weights(path, MOBILENET, categories=TWO).box_head
    logits = state["roi_heads.box_predictor.cls_score.bias"]
    np.testing.assert_array_equal(head.classifier.bias, logits[[1, 2, 0]])
    np.testing.assert_array_equal(
        head.classifier.kernel, dense_kernel(state["roi_heads.box_predictor.cls_score.weight"][[1, 2, 0]])
    )
    deltas = state["roi_heads.box_predictor.bbox_pred.bias"]  # dx, dy, dw, dh of the background, then of the classes
    np.testing.assert_array_equal(head.regressor.bias, deltas[[5, 4, 7, 6, 9, 8, 11, 10]])


@pytest.mark.slow
def test_deltas_of_the_rpn_swap_x_and_y_within_each_anchor(mobilenet):
    _, state, path = mobilenet
    deltas = import_weights(path, MOBILENET, categories=TWO).rpn_head.deltas
    kernel = state["rpn.head.bbox_pred.weight"].reshape(15, 4, 256, 1, 1)[:, [1, 0, 3, 2]].reshape(60, 256, 1, 1)
    np.testing.assert_array_equal(deltas.kernel, conv_kernel(kernel))


def test_the_first_dense_layer_sees_rows_and_columns_before_channels(mobilenet):
    _, state, path = mobilenet
    head = import_weights(path, MOBILENET, categories=TWO).box_head
    roi = np.random.default_rng(0).normal(size=(7, 7, 256)).astype(np.float32)
    expected = state["roi_heads.box_head.fc6.weight"] @ roi.transpose(2, 0, 1).ravel()
    outputs = roi.ravel() @ head.hidden[0].kernel.numpy()
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("rpn.head.cls_logits.bias"), "1 missing .rpn.head.cls_logits.bias., 0 not used"),
        (lambda s: s.update(extra=np.zeros(3)), "0 missing, 1 not used .extra."),
        (
            lambda s: s.update({"rpn.head.cls_logits.bias": np.zeros(3)}),
            r"rpn.head.cls_logits.bias of shape \(3,\) does not fit .* \(15,\)",
        ),
        (
            lambda s: s.update({"roi_heads.box_predictor.bbox_pred.bias": np.zeros(8)}),  # no background among them
            r"bbox_pred.bias of shape \(8,\) does not fit",
        ),
        (lambda s: s.pop("roi_heads.box_predictor.cls_score.bias"), "expected a detector with roi_heads.box_predictor"),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_imported(change, message, mobilenet, tmp_path):
    with pytest.raises(InputError, match=message):
        import_weights(changed(mobilenet[2], tmp_path, change), MOBILENET, categories=TWO)


def test_a_checkpoint_of_another_architecture_is_refused(mobilenet):
    with pytest.raises(InputError, match=r"does not hold torchvision's fasterrcnn_resnet50_fpn: .*\d+ missing"):
        import_weights(mobilenet[2], "fasterrcnn_resnet50_fpn", categories=TWO)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"categories": ()}, "has 2 classes without the background, which are not COCO's 90: give its categories"),
        ({"categories": TWO[:1]}, "has 2 classes without the background, but 1 categories were given"),
        ({"preset_name": "vgg16"}, "torchvision has no network of preset 'vgg16': expected one of fasterrcnn_resnet50"),
        ({"source": "mmdetection"}, "unknown source 'mmdetection': expected one of torchvision, detectron2"),
    ],
)
def test_wrong_arguments_are_one_clear_error(arguments, message, mobilenet):
    with pytest.raises(InputError, match=re.escape(message)):
        import_weights(mobilenet[2], **{"preset_name": MOBILENET, "categories": TWO, **arguments})


@pytest.mark.slow
def test_names_of_old_versions_are_todays(mobilenet, tmp_path):
    _, state, path = mobilenet
    nested = re.compile(r"^(rpn\.head\.conv|backbone\.fpn\.\w+_blocks\.\d)(\.0)+\.")
    old = {nested.sub(r"\1.", key): array for key, array in state.items()}
    assert {"rpn.head.conv.weight", "backbone.fpn.inner_blocks.0.bias"} <= set(old)
    np.savez(tmp_path / "old.npz", **old)
    new = import_weights(path, MOBILENET, categories=TWO).get_weights()
    for one, other in zip(import_weights(tmp_path / "old.npz", MOBILENET, categories=TWO).get_weights(), new):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_an_imported_detector_is_saved_and_loaded_like_any_other(mobilenet, tmp_path):
    detector = import_weights(mobilenet[2], MOBILENET, categories=TWO)
    save_detector(detector, tmp_path / "run")
    for one, other in zip(load_detector(tmp_path / "run").get_weights(), detector.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_categories_are_read_in_the_order_of_the_file(tmp_path):
    path = tmp_path / "categories.json"
    path.write_text(json.dumps({"categories": [{"id": 7, "name": "b", "supercategory": "x"}, {"id": 2, "name": "a"}]}))
    assert read_categories(path) == (Category(7, "b"), Category(2, "a"))
    path.write_text('{"categories": [{"id": "7", "name": "b"}]}')
    with pytest.raises(InputError, match=r"Category\.id must be int"):
        read_categories(path)
    path.write_text("[]")
    with pytest.raises(InputError, match='expected an object with a list "categories"'):
        read_categories(path)


def test_cocos_categories():
    assert len(coco_categories()) == 80
    assert [c.id for c in coco_categories(all_ids=True)] == list(range(1, 91))
    assert {c.name for c in coco_categories()} >= {"person", "traffic light", "toothbrush"}


class TestNorms:
    """torchvision sets epsilon 0 for its published fasterrcnn_resnet50_fpn, whose norms do not count batches."""

    @pytest.mark.parametrize(("counted", "epsilon"), [(True, None), (False, 0.0)])
    def test_epsilon_is_that_of_the_checkpoint(self, counted, epsilon):
        state = {"backbone.body.bn1.num_batches_tracked": np.array(1)} if counted else {}
        config = preset("fasterrcnn_resnet50_fpn", TWO).detector
        assert SOURCES["torchvision"].adapt(config, state).backbone.norm_epsilon == epsilon
        mobile = preset(MOBILENET, TWO).detector
        assert SOURCES["torchvision"].adapt(mobile, {}) == mobile


class TestDetectron2:
    def test_keys_are_those_of_the_model_zoo(self):
        assert detectron2.body_module("conv1") == "backbone.bottom_up.stem.conv1"
        assert detectron2.body_module("bn1") == "backbone.bottom_up.stem.conv1.norm"
        assert detectron2.body_module("layer1_0_downsample_0") == "backbone.bottom_up.res2.0.shortcut"
        assert detectron2.body_module("layer1_0_downsample_1") == "backbone.bottom_up.res2.0.shortcut.norm"
        assert detectron2.body_module("layer3_22_bn2") == "backbone.bottom_up.res4.22.conv2.norm"

    def test_each_stage_of_a_cascade_has_a_number_and_its_masks_are_left_out(self):
        heads = CascadeHeads(HeadConfig(class_agnostic=True, cascade=CascadeConfig()), num_classes=80)
        heads.build((None, None, 7, 7, 8))
        assignments = detectron2.head_assignments(heads.heads[0], ".1")
        shapes = {each.key: torch_shape(each) for each in assignments}
        assert shapes["roi_heads.box_head.1.fc1.weight"] == (1024, 7 * 7 * 8)
        assert shapes["roi_heads.box_predictor.1.bbox_pred.weight"] == (4, 1024)
        state = {key: np.zeros(shape) for key, shape in shapes.items()}
        names = ("roi_heads.mask_head.predictor.bias", "roi_heads.box_predictor.0.cls_score.bias")
        kept = detectron2.boxes_alone({**state, **dict.fromkeys(names, np.zeros(81))})
        assert set(kept) == {*state, names[1]}
        assert detectron2.num_classes(kept) == 80

    @pytest.mark.parametrize("name", ["resnet50_c4", pytest.param("resnet101_c4", marks=pytest.mark.soak)])
    def test_a_c4_detector_has_the_keys_and_shapes_of_the_model_zoo(self, name):
        config = detectron2.adapted(preset(name, coco_categories()).detector)
        assert config.train_proposals == preset(name).detector.train_proposals
        assert config.head.aligned
        detector = build_blank_detector(config)
        shapes = {each.key: torch_shape(each) for each in detectron2.assignments(detector)}
        assert shapes == c4_shapes({"resnet50_c4": (3, 4, 6), "resnet101_c4": (3, 4, 23)}[name])
        assert len(shapes) == len(detector.weights)

    def test_a_c4_checkpoint_is_imported_with_its_blocks(self, tmp_path):
        rng = np.random.default_rng(0)
        shapes = c4_shapes((3, 4, 6), classes=2)
        state = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
        constants = {"proposal_generator.anchor_generator.cell_anchors.0": np.zeros((15, 4))}
        np.savez(tmp_path / "a.npz", **state, **constants, pixel_mean=np.zeros(3), pixel_std=np.ones(3))
        detector = import_weights(tmp_path / "a.npz", "resnet50_c4", "detectron2", TWO)
        block = detector.box_head.blocks[1]
        kernel = state["roi_heads.res5.1.conv2.weight"]  # [O, C, 3, 3]
        np.testing.assert_array_equal(block.convs[1].conv.kernel, kernel.transpose(2, 3, 1, 0))
        np.testing.assert_array_equal(
            block.convs[1].norm.moving_variance, state["roi_heads.res5.1.conv2.norm.running_var"]
        )
        # 1:1 of 32 pixels is anchor 5 here, behind 1:2 of all sizes, and anchor 1 there, behind 1:2 of 32 pixels
        logits = state["proposal_generator.rpn_head.objectness_logits.bias"]
        assert detector.rpn_head.objectness.bias.numpy()[5] == logits[1]
        deltas = state["proposal_generator.rpn_head.anchor_deltas.bias"]
        np.testing.assert_array_equal(detector.rpn_head.deltas.bias.numpy()[20:24], deltas[[5, 4, 7, 6]])

    def test_the_anchors_of_a_cell_are_found_among_detectron2s(self):
        config = detectron2.adapted(preset("resnet50_c4", TWO).detector).anchors
        zoo = []  # generate_cell_anchors, as y1, x1, y2, x2
        for size in (32, 64, 128, 256, 512):
            for ratio in (0.5, 1.0, 2.0):
                width = math.sqrt(size**2 / ratio)
                height = ratio * width
                zoo.append([-height / 2, -width / 2, height / 2, width / 2])
        np.testing.assert_allclose(base_anchors(config, 0), np.array(zoo)[detectron2.anchor_order(config)], rtol=1e-6)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["resnet50_fpn", pytest.param("resnet101_fpn", marks=pytest.mark.soak)])
    def test_a_checkpoint_is_imported_with_its_configuration(self, name, tmp_path):
        detector = build_detector(detectron2.adapted(preset(name, coco_categories()).detector))
        state = state_of(detector, "detectron2")
        constants = {f"proposal_generator.anchor_generator.cell_anchors.{i}": np.zeros((3, 4)) for i in range(5)}
        np.savez(tmp_path / "a.npz", **state, **constants, pixel_mean=np.zeros(3), pixel_std=np.ones(3))
        imported = import_weights(tmp_path / "a.npz", name, "detectron2")
        assert imported.config.image.channel_order == "BGR"
        assert imported.config.image.mean == (103.53, 116.28, 123.675)
        assert imported.config.head.aligned
        assert imported.config.anchors.nominal_strides
        assert imported.config.backbone.stride_in_1x1
        assert imported.config.num_classes == 80
        bias = state["roi_heads.box_predictor.bbox_pred.bias"].reshape(80, 4)[:, [1, 0, 3, 2]].ravel()
        np.testing.assert_array_equal(imported.box_head.regressor.bias, bias)
        np.testing.assert_array_equal(
            imported.box_head.classifier.bias, state["roi_heads.box_predictor.cls_score.bias"]
        )
