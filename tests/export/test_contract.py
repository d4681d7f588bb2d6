"""The copy of a detector that becomes a file."""

import keras
import numpy as np

import tfrcnn
from tfrcnn.export.contract import prepare


def test_the_copy_normalises_with_the_statistics_of_the_detector():
    """Keras' Normalization computes with copies of its weights, made when it is."""
    preset = tfrcnn.preset("mobilenet_v2_fpn", (tfrcnn.Category(1, "cell"),)).detector
    detector = tfrcnn.build_detector(
        preset.replace(
            backbone=preset.backbone.replace(name="EfficientNetB0"),
            image=preset.image.replace(min_size=64, max_size=96),
            detections=preset.detections.replace(score_threshold=0.0),
        )
    )
    (layer,) = (layer for layer in detector.backbone.layers if isinstance(layer, keras.layers.Normalization))
    layer.adapt_mean.assign([0.4, 0.5, 0.6])
    layer.adapt_variance.assign([0.05, 0.06, 0.07])
    layer.finalize_state()
    copy = prepare(detector)
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 80, 3)).astype(np.float32)
    for expected, outputs in zip(detector.backbone(image), copy.backbone(image)):
        np.testing.assert_array_equal(outputs, expected)
    assert np.any(detector.backbone(image)[0])
