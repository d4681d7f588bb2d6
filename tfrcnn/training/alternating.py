"""Four-step alternating training (paper section 3.2): what each step starts from.

    1  the RPN, from the weights that the run was given (ImageNet)          unshared network
    2  Fast R-CNN on the proposals of step 1, from those weights again      the same network, its other half
    3  the RPN anew, on the features of step 2, which are fixed             shared network
    4  Fast R-CNN's own layers on the proposals of step 3; all else fixed   shared network

Until step 3 the two networks share nothing, so steps 1 and 2 train one detector whose RPN has features of its own
(`unshare`), and step 2 does not touch what step 1 trained. From step 3 on it is the ordinary detector. As in
py-faster-rcnn, in step 3 the RPN's own layers have the values again that the run began with, and the box head waits
with those of step 2 for step 4.

The paper writes the proposals of all images to a file between steps. Here the fixed RPN proposes at each training step:
from the image as it was augmented, without a file of 2000 boxes an image, and with nothing to go stale on resuming. In
step 4 that costs nothing, since the features are there for the box head anyway; in step 2 it costs one pass of the
other backbone, forwards only.

Each step hands its newest detector (averaged weights, where averages are kept) to the next by a folder of the run,
which an uninterrupted run reads too: a run that was killed between two steps or in one is the same run.

    initial/                        the detector that the run was given
    1-rpn/, 2-fast-rcnn/, 3-rpn/    the newest of each step: ordinary detectors
"""

from __future__ import annotations

from pathlib import Path

from tfrcnn.models import FasterRCNN, load_detector, save_detector
from tfrcnn.models.build import CONFIG, restore_detector
from tfrcnn.models.transfer import copy_part, unshare
from tfrcnn.training.schemes import Phase

INITIAL = "initial"


def start_of(phase: Phase, phases: tuple[Phase, ...], given: FasterRCNN, out: Path) -> FasterRCNN:
    """The network of a phase with the weights that the phase starts from.

    Args:
        phases: those of the scheme.
        given: the detector that the run was given; it is trained in place where its form is that of the phase.
        out: the run folder, with what earlier phases left in it.

    Raises:
        InputError: a folder that an earlier phase wrote is not there or damaged.
    """
    before = phases[phase.number - 2] if phase.number > 1 else None
    needs_unsharing = given.config.shared_features and not phase.shared
    if before is None:
        if len({each.shared for each in phases}) > 1:
            _keep_initial(given, out / INITIAL)
        return unshare(given) if needs_unsharing else given
    if needs_unsharing:
        return load_detector(out / before.name, given.dtype_policy.name, given.kernels)
    if before.shared == phase.shared:
        restore_detector(given, out / before.name)
    else:
        restore_detector(given, out / INITIAL)
        _take_head_and_features(load_detector(out / before.name), given)
    return given


def _keep_initial(given: FasterRCNN, folder: Path) -> None:
    """Save what the run was given; in a run that was killed before its first epoch was complete, go back to it."""
    if (folder / CONFIG).is_file():
        restore_detector(given, folder)
    else:
        save_detector(given, folder)


def _take_head_and_features(unshared: FasterRCNN, detector: FasterRCNN) -> None:
    """Give a detector the Fast R-CNN half of an unshared one: the features become the shared ones."""
    for name in ("backbone", "fpn", "box_head"):
        copy_part(unshared, name, detector, name)
