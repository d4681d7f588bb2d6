"""The training schemes of the paper (section 3.2): which losses are minimised when, and what is fixed meanwhile.

| scheme | step | losses | features | start of the features | box head sees |
|---|---|---|---|---|---|
| joint | 1 | RPN, head | shared | ImageNet | proposals of the RPN in training |
| rpn-only | 1 | RPN | shared | ImageNet | |
| fast-rcnn-only | 1 | head | the head's | ImageNet | proposals of another RPN, fixed |
| unshared | 1 | RPN | the RPN's | ImageNet | |
| | 2 | head | the head's | ImageNet | proposals of step 1, fixed |
| alternating | 1, 2 | as unshared | | | |
| | 3 | RPN, which starts again | shared, fixed | the head's of step 2 | |
| | 4 | head, which continues from step 2 | shared, fixed | the same | proposals of step 3, fixed |

"ImageNet" stands for the detector's weights before training. Features are the backbone and the feature pyramid, if
there is one. Fixed weights are not variables of the optimizer, and fixed batch norms use their statistics without
updating them: fixed parts keep every bit.

`TrainingConfig.epochs` = E is the budget of each of the two tasks: over a whole scheme the RPN's losses see the data E
times, and so do the head's. Schemes of the same E have the same budget. If a task has two steps, each gets E / 2,
rounded up. Every step runs the whole schedule, warm-up and milestones, over its epochs. The paper's four steps on
VOC07 are 80k images for the RPN, twice, and 40k pairs of images for Fast R-CNN, twice. Each is 16 times the 5011
images, with a tenth of the rate after 3/4 of a step: E = 32, milestones (0.75,).

The paper's "step" is called `Phase` here, since a step is an update of the weights everywhere else.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection
from dataclasses import dataclass

import keras
import numpy as np

from tfrcnn.compat import path_of
from tfrcnn.config import TrainingConfig
from tfrcnn.errors import InputError
from tfrcnn.layers.residual import ResidualBlock
from tfrcnn.models.backbones.loading import all_layers
from tfrcnn.models.faster_rcnn import FasterRCNN

RPN, HEAD = "rpn", "head"
BOTH = (RPN, HEAD)
_MARK = "frozen_by_tfrcnn"  # attribute of the layers that `freeze` froze, which it may train again
LAST_STAGE = [2048] * 3  # channels of its blocks, in each ResNet
_INITIAL = {"bias": 0.0, "beta": 0.0, "moving_mean": 0.0, "gamma": 1.0, "moving_variance": 1.0}


@dataclass(frozen=True)
class Phase:
    """One step of a scheme.

    Attributes:
        number: position in the scheme, from 1.
        count: steps of the scheme.
        losses: RPN, HEAD or both.
        shared: whether RPN and box head share their features in this step's network.
        fixed: the features are not trained.
        share: of the budget of epochs.
    """

    number: int
    count: int
    losses: tuple[str, ...] = BOTH
    shared: bool = True
    fixed: bool = False
    share: float = 1.0

    @property
    def name(self) -> str:
        """Folder of the detector that a phase before the last leaves: "1-rpn", "2-fast-rcnn", ..."""
        return f"{self.number}-{'fast-rcnn' if self.losses == (HEAD,) else 'rpn'}"

    @property
    def starts_trained(self) -> bool:
        """Whether an earlier phase has trained all layers that this phase trains: step 4 goes on with step 2's head."""
        return self.fixed and self.losses == (HEAD,)

    @property
    def label(self) -> str:
        """Title for people; "" if there is only one phase."""
        if self.count == 1:
            return ""
        what = "Fast R-CNN" if self.losses == (HEAD,) else "RPN"
        return f"step {self.number} of {self.count}, {what}{', features fixed' if self.fixed else ''}"

    @property
    def is_last(self) -> bool:
        return self.number == self.count

    def training(self, training: TrainingConfig) -> TrainingConfig:
        """Return the run's configuration with the epochs of this phase."""
        return training.replace(epochs=math.ceil(training.epochs * self.share))


JOINT = Phase(1, 1)
SCHEMES: dict[str, tuple[Phase, ...]] = {
    "joint": (JOINT,),
    "rpn-only": (Phase(1, 1, (RPN,)),),
    "fast-rcnn-only": (Phase(1, 1, (HEAD,), shared=False),),
    "unshared": (Phase(1, 2, (RPN,), shared=False), Phase(2, 2, (HEAD,), shared=False)),
    "alternating": (
        Phase(1, 4, (RPN,), shared=False, share=0.5),
        Phase(2, 4, (HEAD,), shared=False, share=0.5),
        Phase(3, 4, (RPN,), fixed=True, share=0.5),
        Phase(4, 4, (HEAD,), fixed=True, share=0.5),
    ),
}


def epochs_of(training: TrainingConfig) -> str:
    """Say how many epochs there are, per step of the scheme if it has several."""
    scheme = "" if training.scheme == "joint" else f"{training.scheme}, "
    counts = [phase.training(training).epochs for phase in SCHEMES[training.scheme]]
    return f"{scheme}{' + '.join(map(str, counts))} {'epoch' if counts == [1] else 'epochs'}"


def check_network(detector: FasterRCNN, scheme: str) -> None:
    """Check that a detector has as many networks as a scheme trains.

    Raises:
        InputError: its RPN shares features but the scheme has two networks, or the other way round.
    """
    shared = detector.config.shared_features
    if scheme in ("fast-rcnn-only", "unshared") and shared:
        raise InputError(
            f"scheme {scheme!r} trains a detector whose RPN has separate features, found one that shares them: make it "
            "with tfrcnn.unshare"
        )
    if scheme == "alternating" and not shared:
        raise InputError(
            "scheme 'alternating' trains a detector that shares its features, found one whose RPN has separate features"
        )


def freeze(detector: FasterRCNN, training: TrainingConfig, phase: Phase = JOINT) -> None:
    """Set which layers of a detector are trained; the others keep every bit.

    The RPN's head, the RoI pooling and the box heads are trained if their losses are minimised. Features are trained as
    the table at the head of the file says, except the backbone's first `training.frozen_stages` and, with
    `training.freeze_batch_norm`, its batch norms, also in the head of a C4 detector, which is the backbone's last
    stage. A frozen batch norm uses its loaded statistics and trains nothing, also inside `fit`.

    Layers that you froze (`layer.trainable = False`, also in a backbone of your own) stay frozen.

    Args:
        detector: its layers' `trainable` is set.
        training: `frozen_stages` and `freeze_batch_norm` are used.
        phase: of a scheme; the default trains everything jointly.

    Raises:
        InputError: `frozen_stages` is more than the backbone has, or no layer is left to train.

    Example:
        tfrcnn.freeze(detector, preset.training)
        model = tfrcnn.TrainingModel(detector)
        model.compile(optimizer=tfrcnn.make_optimizer(preset.training, steps_per_epoch))
    """
    _set_trained(detector.rpn_head, RPN in phase.losses)
    for layer in (detector.roi_pooling, detector.box_head, detector.cascade):
        if layer is not None:
            norms = _norms_of_last_stage(layer, detector) if training.freeze_batch_norm else ()
            _set_trained(layer, HEAD in phase.losses, norms)
    users = BOTH if detector.config.shared_features else (HEAD,)
    networks = [(detector.backbone, detector.fpn, users)]
    if not detector.config.shared_features:
        networks.append((detector.rpn_backbone, detector.rpn_fpn, (RPN,)))
    for backbone, fpn, users in networks:
        is_trained = not phase.fixed and any(loss in users for loss in phase.losses)
        _set_trained(backbone, is_trained, _frozen_parts(backbone, detector, training))
        if fpn is not None:
            _set_trained(fpn, is_trained)
    if not detector.trainable_variables:
        raise InputError(
            "no layer of the detector is left to train: set detector.trainable = True, or freeze fewer layers"
        )


def _set_trained(part: keras.layers.Layer, is_trained: bool, frozen: Collection[keras.layers.Layer] = ()) -> None:
    """Train a part of a detector except `frozen`, or nothing of it; layers that the user froze stay so."""
    layers = list(part._flatten_layers())  # parents first; a parent sets its children
    not_trained = {id(layer) for layer in frozen}
    by_user = {id(layer) for layer in layers if not layer.trainable and not getattr(layer, _MARK, False)}
    for layer in sorted(layers, key=lambda layer: not list(layer._flatten_layers(recursive=False, include_self=False))):
        layer.trainable = is_trained and id(layer) not in not_trained | by_user
        setattr(layer, _MARK, id(layer) not in by_user and not layer.trainable)


def warn_of_frozen_random_weights(detector: FasterRCNN, training: TrainingConfig) -> None:
    """Warn if `training` keeps a part of the backbone, or its last stage in the head, at values of before any training.

    Norms and biases show it: no training leaves all of them at their initial values.
    """
    advice = "set it to {} unless you mean it (tfrcnn.Recipe does that for random weights)"
    layers = detector.backbone.layers
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    of_head = _norms_of_last_stage(detector.box_head, detector)
    if training.freeze_batch_norm and (_is_untrained(norms) or _is_untrained(of_head)):
        message = "TrainingConfig.freeze_batch_norm freezes batch norms that were never trained: "
        warnings.warn(message + advice.format(False), stacklevel=3)
    if training.frozen_stages and _is_untrained(_frozen_layers(detector.backbone, detector, training)):
        message = f"TrainingConfig.frozen_stages={training.frozen_stages} freezes stages that were never trained: "
        warnings.warn(message + advice.format(0), stacklevel=3)


def _is_untrained(layers: list[keras.layers.Layer]) -> bool:
    named = [(path_of(weight).split("/")[-1], weight) for layer in layers for weight in layer.weights]
    weights = [(name, weight) for name, weight in named if name in _INITIAL]
    return bool(weights) and all(np.all(weight.numpy() == _INITIAL[name]) for name, weight in weights)


def _frozen_parts(backbone: keras.Model, detector: FasterRCNN, training: TrainingConfig) -> list[keras.layers.Layer]:
    """List the layers that `training` freezes, with the layers within them."""
    stages = [part for layer in _frozen_layers(backbone, detector, training) for part in layer._flatten_layers()]
    norms = [part for part in all_layers(backbone) if isinstance(part, keras.layers.BatchNormalization)]
    return stages + (norms if training.freeze_batch_norm else [])


def _norms_of_last_stage(head: keras.layers.Layer, detector: FasterRCNN) -> list[keras.layers.Layer]:
    """List the batch norms of a box head's residual blocks if these are the backbone's last stage, as in C4.

    Other blocks start from random weights, so their norms have to train.
    """
    blocks = [part for part in head._flatten_layers() if isinstance(part, ResidualBlock)]
    config = detector.config
    is_backbone = config.backbone.name.startswith("resnet") and config.fpn is None and not config.head.convs
    if not (is_backbone and [block.channels for block in blocks] == LAST_STAGE):
        return []
    parts = [part for block in blocks for part in block._flatten_layers()]
    return [part for part in parts if isinstance(part, keras.layers.BatchNormalization)]


def _frozen_layers(backbone: keras.Model, detector: FasterRCNN, training: TrainingConfig) -> list[keras.layers.Layer]:
    """List the layers of the frozen stages: the backbone's first."""
    stages, count = detector.backbone_stages, training.frozen_stages
    if count > len(stages):
        name = detector.config.backbone.name
        raise InputError(f"TrainingConfig.frozen_stages must be at most {len(stages)} for {name}, found {count}")
    if not count:
        return []
    names = [layer.name for layer in backbone.layers]
    last = stages[count - 1]
    return list(backbone.layers[: names.index(last) + 1 if last in names else len(names)])
