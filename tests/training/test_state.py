"""The state file holds everything needed to resume."""

import numpy as np
import pytest

from tfrcnn.config import BackboneConfig, Category, TrainingConfig
from tfrcnn.errors import InputError
from tfrcnn.models import build_detector, preset
from tfrcnn.models.backbones import BACKBONES
from tfrcnn.training.joint import TrainingModel
from tfrcnn.training.run_optimizer import make_optimizer
from tfrcnn.training.state import META, read_meta, restore_state, save_state


def efficientnet_in_training():
    config = preset("mobilenet_v2_fpn", (Category(1, "a"),), 64).detector
    image = config.image.replace(**BACKBONES["EfficientNetB0"].image)
    detector = build_detector(config.replace(backbone=BackboneConfig("EfficientNetB0"), image=image))
    model = TrainingModel(detector)
    model.compile(optimizer=make_optimizer(TrainingConfig(), 1), jit_compile=False)
    return model


@pytest.mark.slow
def test_a_network_that_normalizes_by_itself_is_restored_with_its_statistics(tmp_path):
    # EfficientNet's Normalization computes with copies of its weights; assigning the weights does not update them
    model = efficientnet_in_training()
    statistics = next(layer for layer in model.detector.backbone.layers if layer.name.startswith("normalization"))
    statistics.adapt_mean.assign([0.5, 0.25, 0.75])
    statistics.finalize_state()
    save_state(tmp_path / "state.npz", model, {"epoch": 3})
    images = np.random.default_rng(0).uniform(0, 1, (1, 64, 64, 3)).astype(np.float32)
    expected = model.detector.backbone(images)[0]
    other = efficientnet_in_training()
    restore_state(tmp_path / "state.npz", other)
    assert read_meta(tmp_path / "state.npz") == {"epoch": 3}
    np.testing.assert_array_equal(other.detector.backbone(images)[0], expected)


@pytest.mark.parametrize("damage", ["cut", "other", "array", "empty"])
def test_a_damaged_state_is_one_line_that_names_the_file_and_the_way_out(tmp_path, damage):
    path = tmp_path / "state.npz"
    np.savez(path, **{META: np.frombuffer(b'{"epoch": 3}', np.uint8)})
    data = path.read_bytes()
    with open(path, "wb") as file:
        if damage == "array":
            np.save(file, np.zeros(3))
        else:
            file.write({"cut": data[:-9], "other": data.replace(b"epoch", b"ep\0ch"), "empty": b""}[damage])
    with pytest.raises(
        InputError, match=r"state\.npz: expected the state of a run, found a damaged file.*init="
    ) as caught:
        read_meta(path)
    assert "\n" not in str(caught.value)
