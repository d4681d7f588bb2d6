"""Four-step alternating training (paper section 3.2): the detector that each step starts from.

    1  the RPN, from the initial weights (ImageNet)                        unshared network
    2  Fast R-CNN on the proposals of step 1, from the initial weights     the same network, its other half
    3  the RPN again, on the features of step 2, which are fixed           shared network
    4  Fast R-CNN's layers on the proposals of step 3; all else fixed      shared network

Until step 3 the two networks share nothing. So steps 1 and 2 train one detector whose RPN has separate features
(`unshare`), and step 2 does not touch what step 1 trained. Steps 3 and 4 train the ordinary detector. As in
py-faster-rcnn, the RPN's layers start step 3 from their initial values, and the box head keeps its values of step 2
until step 4.

The paper writes the proposals of all images to a file between steps. Here the fixed RPN proposes at each training step:
from the image as it was augmented, with no file of 2000 boxes per image, and nothing goes stale on resuming. Step 4
pays nothing for that, since the box head needs the features anyway. Step 2 pays one forward pass of the other backbone.

Each step hands its newest detector (averaged weights, if averages are kept) to the next in a folder of the run. An
uninterrupted run reads the folder too, so a run that was killed in or between steps is the same run.

    initial/                        the detector before training
    1-rpn/, 2-fast-rcnn/, 3-rpn/    the newest of each step: ordinary detectors
"""

from __future__ import annotations

from pathlib import Path

from tfrcnn.models import FasterRCNN, load_detector, save_detector
from tfrcnn.models.build import CONFIG, restore_detector
from tfrcnn.models.transfer import copy_part, unshare
from tfrcnn.training.schemes import Phase

INITIAL = "initial"


def start_of(phase: Phase, phases: tuple[Phase, ...], detector: FasterRCNN, out: Path) -> FasterRCNN:
    """Return the network of a phase, with the weights that the phase starts from.

    Args:
        phase: what is about to be trained.
        phases: all phases of the scheme.
        detector: the run's detector; it is returned if it has as many networks as the phase.
        out: the run folder, with the detectors of earlier phases.

    Raises:
        InputError: the folder of an earlier phase is missing or damaged.
    """
    before = phases[phase.number - 2] if phase.number > 1 else None
    needs_unsharing = detector.config.shared_features and not phase.shared
    if before is None:
        if len({each.shared for each in phases}) > 1:
            _keep_initial(detector, out / INITIAL)
        return unshare(detector) if needs_unsharing else detector
    if needs_unsharing:
        return load_detector(
            out / before.name, detector.dtype_policy.name, detector.kernels, backbone=detector.backbone_spec
        )
    if before.shared == phase.shared:
        restore_detector(detector, out / before.name)
    else:
        restore_detector(detector, out / INITIAL)
        _take_head_and_features(load_detector(out / before.name, backbone=detector.backbone_spec), detector)
    return detector


def _keep_initial(detector: FasterRCNN, folder: Path) -> None:
    """Save the initial detector; restore it if the run was killed before its first epoch was complete."""
    if (folder / CONFIG).is_file():
        restore_detector(detector, folder)
    else:
        save_detector(detector, folder)


def _take_head_and_features(unshared: FasterRCNN, detector: FasterRCNN) -> None:
    """Copy the Fast R-CNN half of an unshared detector: its features become the shared ones."""
    for name in ("backbone", "fpn", "roi_pooling", "box_head", "cascade"):
        copy_part(unshared, name, detector, name)
