"""The training schemes of the paper (section 3.2): which losses are minimised when, and what is fixed meanwhile.

| scheme | step | losses | features | start of the features | box head sees |
|---|---|---|---|---|---|
| joint | 1 | RPN, head | shared | ImageNet | proposals of the RPN in training |
| rpn-only | 1 | RPN | shared | ImageNet | |
| fast-rcnn-only | 1 | head | its own | ImageNet | proposals of a given RPN, fixed |
| unshared | 1 | RPN | the RPN's own | ImageNet | |
| | 2 | head | the head's own | ImageNet | proposals of step 1, fixed |
| alternating | 1, 2 | as unshared | | | |
| | 3 | RPN, which starts anew | shared, fixed | the head's of step 2 | |
| | 4 | head, which goes on from step 2 | shared, fixed | the same | proposals of step 3, fixed |

"ImageNet" is whatever the detector was given to start from. Features are the backbone and, where there is one, the
feature pyramid. What is fixed is no variable of the optimizer, and its batch norms use their statistics without
renewing them: it keeps every bit.

`TrainingConfig.epochs` = E is the budget of each of the two tasks: over a whole scheme the RPN's losses see the data E
times, and so do the head's; schemes of one E are at equal budget. Where a task has two steps each gets E / 2, rounded
up. Every step runs the whole schedule, warm-up and milestones, over its own epochs. The paper's four steps on VOC07 are
80k images for the RPN, twice, and 40k pairs of images for Fast R-CNN, twice, each 16 times the 5011 images, with a
tenth of the rate after 3/4 of a step: E = 32, milestones (0.75,).

"Step" is the paper's word for what is `Phase` here, since a step is an update of the weights everywhere else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras

from tfrcnn.config import TrainingConfig
from tfrcnn.errors import InputError
from tfrcnn.models.backbones.loading import all_layers
from tfrcnn.models.faster_rcnn import FasterRCNN

RPN, HEAD = "rpn", "head"
BOTH = (RPN, HEAD)


@dataclass(frozen=True)
class Phase:
    """One step of a scheme.

    Attributes:
        number: 1, 2, ... of `count`.
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
        """Of the folder for what a phase that is not the last leaves: "1-rpn", "2-fast-rcnn", ..."""
        return f"{self.number}-{'fast-rcnn' if self.losses == (HEAD,) else 'rpn'}"

    @property
    def label(self) -> str:
        """For people, "" where there is but one phase."""
        if self.count == 1:
            return ""
        what = "Fast R-CNN" if self.losses == (HEAD,) else "RPN"
        return f"step {self.number} of {self.count}, {what}{', features fixed' if self.fixed else ''}"

    @property
    def is_last(self) -> bool:
        return self.number == self.count

    def training(self, training: TrainingConfig) -> TrainingConfig:
        """The configuration of this phase: that of the run, with the epochs of this phase."""
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


def check_network(detector: FasterRCNN, scheme: str) -> None:
    """Check that a detector is of the form that a scheme trains.

    Raises:
        InputError: its RPN shares features where the scheme has two networks, or the other way round.
    """
    shared = detector.config.shared_features
    if scheme in ("fast-rcnn-only", "unshared") and shared:
        raise InputError(
            f"scheme {scheme!r} trains a detector whose RPN has features of its own, found one that shares them: "
            "make it with tfrcnn.unshare"
        )
    if scheme == "alternating" and not shared:
        raise InputError(
            "scheme 'alternating' trains a detector that shares its features, found one whose RPN has its own"
        )


def freeze(detector: FasterRCNN, training: TrainingConfig, phase: Phase = JOINT) -> None:
    """Set what is trained in a phase; whatever is not is trained by nothing and keeps every bit.

    The RPN's head and the box head are trained where their losses are minimised; features as the table above says; of
    a backbone that is trained, all but its first `training.frozen_stages` and, with `training.freeze_batch_norm`, its
    batch norms. A frozen batch norm uses its loaded statistics and trains nothing, also inside `fit`.

    Raises:
        InputError: more stages than the backbone has.
    """
    detector.rpn_head.trainable = RPN in phase.losses
    detector.box_head.trainable = HEAD in phase.losses
    users = BOTH if detector.config.shared_features else (HEAD,)
    networks = [(detector.backbone, detector.fpn, users)]
    if not detector.config.shared_features:
        networks.append((detector.rpn_backbone, detector.rpn_fpn, (RPN,)))
    for backbone, fpn, users in networks:
        is_trained = not phase.fixed and any(loss in users for loss in phase.losses)
        backbone.trainable = is_trained
        if fpn is not None:
            fpn.trainable = is_trained
        if is_trained:
            _freeze_stages(backbone, detector, training)


def _freeze_stages(backbone: keras.Model, detector: FasterRCNN, training: TrainingConfig) -> None:
    stages = detector.backbone_stages
    if training.frozen_stages > len(stages):
        raise InputError(
            f"TrainingConfig.frozen_stages must be at most {len(stages)} for {detector.config.backbone.name}, "
            f"found {training.frozen_stages}"
        )
    last_frozen = stages[training.frozen_stages - 1] if training.frozen_stages else None
    frozen = last_frozen is not None
    for layer in backbone.layers:
        layer.trainable = not frozen
        for part in all_layers(layer):
            if isinstance(part, keras.layers.BatchNormalization) and training.freeze_batch_norm:
                part.trainable = False
        if layer.name == last_frozen:
            frozen = False
