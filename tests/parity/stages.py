"""Compare torchvision's four detectors stage by stage. Each stage gets torchvision's output of the previous stage.

    TFRCNN_TEST_DATA=DATA python tests/parity/stages.py > docs/parity.md

Each difference is listed next to torchvision's own error: its float32 against its float64. This is the error of one
order of summation. Another order has another error, so the two may differ by about as much. End to end these errors add
up, and boxes of nearly equal scores change places. So the detections are compared as sets.
torchvision's float32 and float64 share 99 of v2's 100 detections.
"""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.models import FasterRCNN, build_detector, preset
from tfrcnn.weights.importing import SOURCES, import_weights

NAMES = tuple(SOURCES["torchvision"].presets)


class Golden:
    """A file of reference tensors, converted from torch's layout (NCHW, xyxy) to this project's (NHWC, yxyx)."""

    def __init__(self, folder: Path, file: str) -> None:
        self.arrays = np.load(folder / f"{file}.npz")

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def nhwc(self, name: str) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(self.arrays[name], 1, -1))

    def yxyx(self, name: str) -> np.ndarray:
        return swap(self.arrays[name])

    def levels(self, name: str) -> list[str]:
        """Return the names of a tensor at all levels: finest first, pooled last."""
        return [f"{name}_{i}" for i in (*range(8), "pool") if f"{name}_{i}" in self.arrays.files]

    def rpn_logits(self) -> list[np.ndarray]:
        return [self.nhwc(name).reshape(1, -1) for name in self.levels("rpn_objectness")]

    def rpn_deltas(self) -> list[np.ndarray]:
        return [swap(self.nhwc(name).reshape(1, -1, 4)) for name in self.levels("rpn_deltas")]

    def image_sizes(self) -> np.ndarray:
        return self["image_size"][None].astype(np.float32)

    def head_outputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return class logits [1, P, 91], background last, and deltas [1, P, 90, 4]."""
        logits = np.roll(self["class_logits"], -1, axis=-1)[None]
        return logits, swap(self["box_regression"].reshape(1, -1, 91, 4))[:, :, 1:]


def swap(boxes: np.ndarray) -> np.ndarray:
    """Convert xyxy <-> yxyx, and (dx, dy, dw, dh) <-> (dy, dx, dh, dw)."""
    return np.ascontiguousarray(boxes[..., [1, 0, 3, 2]])


@dataclass(frozen=True)
class Stage:
    """A stage compared with torchvision.

    Attributes:
        name: the stage.
        difference: the largest difference from torchvision.
        reference_error: torchvision's own float32 error, None if not recorded.
    """

    name: str
    difference: float
    reference_error: float | None


def reference_weights(golden_root: Path) -> ModuleType:
    """Load the module that regenerates the weights from their names."""
    spec = importlib.util.spec_from_file_location("reference_weights", golden_root / "reference_weights.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_checkpoint(golden_root: Path, name: str, path: Path) -> None:
    """Write the state dict of a network, by torchvision's keys, to an .npz file."""
    folder = golden_root / name
    shapes = json.loads((folder / "state_dict_shapes.json").read_text())
    np.savez(path, **reference_weights(golden_root).det_state(shapes, dict(np.load(folder / "calib.npz"))))


def load_reference(golden_root: Path, name: str, **changes: Any) -> FasterRCNN:
    """Import the reference's weights into a detector; `changes` replace fields of its configuration."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.npz"
        write_checkpoint(golden_root, name, path)
        imported = import_weights(path, name)
    if not changes:
        return imported
    detector = build_detector(imported.config.replace(**changes))
    detector.set_weights(imported.get_weights())
    return detector


def small(golden_root: Path, name: str) -> FasterRCNN:
    """Return a detector with the settings of the recorded tensors: 192 to 320 pixels, 100 proposals."""
    config = preset(name).detector
    return load_reference(
        golden_root,
        name,
        image=config.image.replace(min_size=192, max_size=320),
        test_proposals=config.test_proposals.replace(post_nms_top_n=100),
    )


def measure(detector: FasterRCNN, golden: Golden, errors: dict[str, float]) -> list[Stage]:
    """Compare every stage up to the detections. Each stage gets the reference's output of the previous stage."""
    sizes = golden.image_sizes()
    stages = []

    def compare(name: str, outputs: list[Any], expected: list[np.ndarray], recorded: list[str]) -> None:
        worst = max(float(np.abs(np.asarray(a) - b).max()) for a, b in zip(outputs, expected, strict=True))
        known = [errors[key] for key in recorded if key in errors]
        stages.append(Stage(name, worst, max(known) if known else None))

    prepared = detector.get_layer("preprocessor")(golden["image"][None].astype(np.float32))
    image = golden.nhwc("transformed")
    # torchvision normalises before it interpolates; its float64 error is recorded only for later stages
    compare("transform", [detector.normalizer(prepared["images"], prepared["image_sizes"])], [image], [])
    bodies = [golden.nhwc(name) for name in golden.levels("body")]
    compare("backbone", list(detector.backbone(image, training=False)), bodies, golden.levels("body"))
    features = [golden.nhwc(name) for name in golden.levels("feat")]
    compare("pyramid", list(detector.fpn(bodies, training=False)), features, golden.levels("feat"))  # type: ignore
    logits, deltas = detector.rpn_head(features)
    compare("RPN objectness", logits, golden.rpn_logits(), golden.levels("rpn_objectness"))
    compare("RPN deltas", deltas, golden.rpn_deltas(), golden.levels("rpn_deltas"))
    anchors = detector.anchor_generator(features, image)
    compare("anchors", [tf.concat(anchors, 0)], [golden.yxyx("anchors")], ["anchors"])
    decoded = box_ops.decode(tf.concat(golden.rpn_deltas(), 1)[0], tf.concat(anchors, 0))
    compare("decoded anchors, px", [decoded], [golden.yxyx("rpn_decoded")], ["rpn_decoded"])
    proposals = detector.proposal_layer(golden.rpn_logits(), golden.rpn_deltas(), anchors, sizes)
    compare("proposals, px", [proposals["boxes"][0]], [golden.yxyx("proposals")], [])
    boxes = golden.yxyx("proposals")[None]
    pooled = detector.roi_pooling(features[: len(detector.roi_pooling.strides)], boxes)
    compare("RoIAlign", [pooled[0]], [golden.nhwc("roi_features")], ["roi_features"])
    class_logits, box_deltas = detector.box_head(golden.nhwc("roi_features")[None], training=False)
    expected_logits, expected_deltas = golden.head_outputs()
    compare("class logits", [class_logits], [expected_logits], ["class_logits"])
    compare("box deltas", [box_deltas], [expected_deltas], ["box_regression"])
    valid = np.ones(boxes.shape[:2], bool)
    detections = detector.decoder(expected_logits, expected_deltas, boxes, valid, sizes)
    compare("scores", [detections["scores"][0]], [golden["scores"]], [])
    compare("detections, px", [detections["boxes"][0]], [golden.yxyx("boxes_resized_frame")], [])
    return stages


# The allowed difference of scores, end to end. ResNet-50 with random weights amplifies round-off. TensorFlow's two
# kinds of kernels (TF_ENABLE_ONEDNN_OPTS=0 and 1) give scores that are 1.1e-3 apart. A CPU without AVX-512 gives scores
# 1.8e-3 from torchvision's. torchvision's float32 has an error of 1.0e-3 in v2's logits.
SCORE_TOLERANCE = {name: 1e-3 if "mobilenet" in name else 2e-3 for name in NAMES}


def unmatched(detections: dict[str, np.ndarray], golden: Golden, score: float, box: float = 0.5) -> int:
    """Count the detections of both sides without a partner: same label, `box` and `score` as tolerances."""
    count = int(detections["num_detections"][0])
    boxes, scores, labels = (detections[key][0][:count] for key in ("boxes", "scores", "labels"))
    close = (
        (np.abs(boxes[:, None] - golden.yxyx("boxes")[None]).max(-1) <= box)
        & (np.abs(scores[:, None] - golden["scores"][None]) <= score)
        & (labels[:, None] == golden["labels"][None] - 1)
    )
    return int((~close.any(1)).sum() + (~close.any(0)).sum())


def main() -> None:
    root = Path(os.environ["TFRCNN_TEST_DATA"]).parent / "golden"
    print("# Parity with torchvision\n\n" + __doc__.split("\n\n    ")[0].replace("\n", " "))
    print("\n```sh\nTFRCNN_TEST_DATA=DATA python tests/parity/stages.py > docs/parity.md\n```\n")
    print(__doc__.split("\n\n")[2].replace("\n", " "))
    for name in NAMES:
        golden = Golden(root / name, "landscape")
        errors = json.loads((root / name / "meta.json").read_text())["landscape"]["fp32_vs_fp64_max_abs"]
        detector = small(root, name)
        print(f"\n## {name}\n\n| stage | largest difference | torchvision's float32 error |\n|---|---|---|")
        for stage in measure(detector, golden, errors):
            known = "" if stage.reference_error is None else f"{stage.reference_error:.1e}"
            print(f"| {stage.name} | {stage.difference:.1e} | {known} |")
        for case in ("landscape", "portrait_downscaled"):
            golden = Golden(root / name, case)
            image = golden["image"][None].astype(np.float32)
            detections = {key: value.numpy() for key, value in detector(image).items()}
            missing, score = unmatched(detections, golden, SCORE_TOLERANCE[name]), SCORE_TOLERANCE[name]
            print(f"\nEnd to end, {case.replace('_', ', ')}: {len(golden['scores'])} detections, {missing} of either")
            print(f"library without a partner in the other (same label, 0.5 px, score {score}).")


if __name__ == "__main__":
    main()
