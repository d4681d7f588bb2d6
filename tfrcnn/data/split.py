"""Split a data set into training and validation data, by image.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, On the Stratification of Multi-Label Data, ECML 2011): the
images of the rarest category are dealt out first, since later images can still balance the common ones.

Legend: n images, C categories, g groups of images with the same content, f fraction for validation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tfrcnn.config_base import Config, shown
from tfrcnn.data.example import Dataset, check_dataset
from tfrcnn.data.example_table import taken
from tfrcnn.data.faults import Fault, Report
from tfrcnn.data.overlap import content_groups
from tfrcnn.data.read import summary_of
from tfrcnn.data.sampler import present_labels
from tfrcnn.errors import InputError
from tfrcnn.files import read_json, write_json
from tfrcnn.run_description import SPLIT as SPLIT
from tfrcnn.seeds import check_seed, stream_seed


@dataclass(frozen=True)
class RecordedSplit(Config):
    """The content of `split.json`.

    Attributes:
        format: 1.
        fraction: share of the images for validation.
        seed: that the split was drawn with.
        train: ids of the training images, in the data set's order.
        val: ids of the validation images, in the data set's order.
    """

    format: int
    fraction: float
    seed: int
    train: tuple[int | str, ...]
    val: tuple[int | str, ...]

    def _check_ranges(self) -> None:
        self._require(0 < self.fraction < 1, "fraction", "in (0, 1)")


def as_fraction(val: float | str | None) -> float | None:
    """Return the fraction that a VAL argument names; None if it names data.

    Args:
        val: a number in (0, 1), also as text, or DATA. A file with such a name is "./0.2".

    Raises:
        InputError: it is a number out of range.
    """
    try:
        fraction = float(val) if val is not None else None
    except (TypeError, ValueError):  # a path, or text
        return None
    if fraction is None or 0 < fraction < 1:
        return fraction
    raise InputError(f"val: expected DATA or a fraction between 0 and 1, for example 0.2, found {shown(val)}")


def check_val_images(val: float | str | None, val_images: object) -> None:
    """Check that a folder of validation images comes with the data that it is for, since it would be ignored.

    Args:
        val: the validation data, a fraction of the training data, or None.
        val_images: the folder; None for none.

    Raises:
        InputError: there are no validation data, or they are split off the training data.
    """
    if val_images is not None and val is None:
        raise InputError(f"val_images {val_images} needs val, the validation data: found none")
    if val_images is not None and as_fraction(val) is not None:
        raise InputError(f"val {val} splits the training data: leave val_images out")


def split_dataset(dataset: Dataset, fraction: float, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Split a data set into training and validation data, by image.

    Each category that is on two images or more has an image on both sides, unless categories that share images make
    that impossible. A category on a single image is for training. Files of the same content stay on one side.

    Args:
        dataset: what to split.
        fraction: share of the images for validation, in (0, 1).
        seed: at least 0; another seed draws other images.

    Returns:
        train: the training data.
        val: the validation data; `source` is the fraction.

    Raises:
        InputError: there are fewer than two different images, or an argument cannot be used.

    Example:
        train, val = tfrcnn.split_dataset(tfrcnn.load_dataset("cells/all.json"), 0.2)
        run = tfrcnn.train(detector, train, val, "runs/cells", preset.training)
    """
    check_dataset(dataset)
    if as_fraction(fraction) is None:
        raise InputError(f"fraction: expected a number between 0 and 1, for example 0.2, found {shown(fraction)}")
    check_seed(seed)
    fraction = float(fraction)
    groups = content_groups(dataset)
    if len(np.unique(groups)) < 2:
        raise InputError(f"{dataset.source}: expected at least two different images to split, found {len(dataset)}")
    return _parts(dataset, stratify(present_labels(dataset), groups, fraction, seed), fraction)


def split_report(report: Report, train: Dataset, val: Dataset) -> tuple[Report, Report]:
    """Split the report on a data set: each side gets the faults of its images, and the training side all others.

    Args:
        report: of the whole data set.
        train: one side, see `split_dataset`.
        val: the other side.
    """
    in_val = {str(example.path) for example in val.examples}
    sides: tuple[list[Fault], list[Fault]] = ([], [])
    for fault in report.faults:
        sides[(fault.image or fault.file) in in_val].append(fault)
    of_train, of_val = (
        Report(part.source, tuple(faults), {**report.summary, **summary_of(part)})
        for part, faults in zip((train, val), sides)
    )
    return of_train, of_val


def stratify(present: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Choose the images for validation.

    Args:
        present: [n, C] bool, whether an object of the category is in the image.
        groups: [n] int in 0..g-1; images of one group stay together. g is at least 2.
        fraction: f.
        seed: of the order in which images are dealt out.

    Returns:
        [n] bool, the images for validation; both sides have some.
    """
    merged = np.zeros([groups.max() + 1, present.shape[1]], bool)
    np.logical_or.at(merged, groups, present)
    order = np.random.default_rng(stream_seed(seed, "val_split")).permutation(len(merged))
    val = np.empty(len(merged), bool)
    val[order] = _balanced(merged[order], _deal(merged[order], fraction))
    chosen: np.ndarray = val[groups]
    return chosen


def _deal(present: np.ndarray, fraction: float) -> np.ndarray:
    """Deal out groups in order, rarest category first: [g, C] bool -> [g] bool, those for validation."""
    totals = present.sum(axis=0)
    desired = np.outer([1 - fraction, fraction], totals)  # [2, C]; row 1 is validation's
    desired[1] = np.where(totals > 1, np.clip(desired[1], 1, np.maximum(totals - 1, 1)), 0)
    desired[0] = totals - desired[1]
    for_val = float(np.clip(fraction * len(present), 1, len(present) - 1))
    room = np.array([len(present) - for_val, for_val])
    val, remaining, left = np.zeros(len(present), bool), np.ones(len(present), bool), totals.copy()
    while left.any():
        rarest = min(np.flatnonzero(left), key=lambda c: (left[c], totals[c]))
        for i in np.flatnonzero(remaining & present[:, rarest]):
            # a share of less than one image goes to the side with more room, so that the total stays near f
            side = max((0, 1), key=lambda s: (np.floor(desired[s, rarest] + 1e-9), room[s]))
            val[i], remaining[i] = side == 1, False
            desired[side, present[i]] -= 1
            room[side] -= 1
            left[present[i]] -= 1
    for i in np.flatnonzero(remaining):  # without objects
        side = int(room[1] > room[0])
        val[i] = side == 1
        room[side] -= 1
    return val


def _balanced(present: np.ndarray, val: np.ndarray) -> np.ndarray:
    """Move a group to a side that lacks a category, or all groups, where that takes no category from the other."""
    val, totals = val.copy(), present.sum(axis=0)
    for side in (True, False):
        # a category on one image is for training
        keeps = totals > 0 if side else totals > 1
        for category in np.flatnonzero(totals > 1):
            if not (present[:, category] & (val == side)).any():
                others = np.flatnonzero(val != side)
                spare = present[others].sum(axis=0) > 1
                movable = (spare | ~(present[others] & keeps)).all(axis=1) & present[others, category]
                val[others[movable][:1]] = side
    if val.all() or not val.any():
        val[-1] = not val[-1]
    return val


def record_split(folder: Path, train: Dataset, val: Dataset, seed: int) -> None:
    """Write the ids of the images on both sides to `split.json`, if `split_dataset` made them and it is not there."""
    fraction = as_fraction(val.source)
    if fraction is None or (folder / SPLIT).is_file():
        return
    train_ids, val_ids = (tuple(example.image_id for example in part.examples) for part in (train, val))
    recorded = RecordedSplit(1, fraction, seed, train_ids, val_ids)
    write_json(folder / SPLIT, recorded.to_dict())


def recorded_split(folder: Path, dataset: Dataset, fraction: float) -> tuple[Dataset, Dataset] | None:
    """Split a data set as `split.json` says; None if there is no such file.

    Args:
        folder: the run folder.
        dataset: what was split, perhaps at another place.
        fraction: of the run.

    Raises:
        InputError: the file is damaged, the fraction differs, or the data set has other images.
    """
    path = folder / SPLIT
    if not path.is_file():
        return None
    try:
        recorded = RecordedSplit.from_dict(read_json(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if recorded.fraction != fraction:
        raise InputError(
            f"cannot resume {folder} with val {fraction}: its data were split with {recorded.fraction} ({SPLIT})"
        )
    ids: list[int | str] = [example.image_id for example in dataset.examples]
    sides: dict[int | str, bool] = {**dict.fromkeys(recorded.train, False), **dict.fromkeys(recorded.val, True)}
    for portable in (_without_place, _name):  # the data may have moved
        if sides.keys() != set(ids):
            moved = [portable(image_id) for image_id in ids]
            recorded_sides = {portable(image_id): side for image_id, side in sides.items()}
            if len(recorded_sides) == len(sides) and len(set(moved)) == len(ids):  # else an id would mean two images
                ids, sides = moved, recorded_sides
    unmatched = set(ids) ^ sides.keys()
    if unmatched:
        raise InputError(
            f"{path} and {dataset.source}: expected the same images, found {shown(min(unmatched, key=str))} in only "
            "one of them: pass the data that the run started with"
        )
    return _parts(dataset, np.array([sides[image_id] for image_id in ids]), fraction)


def _without_place(image_id: int | str) -> int | str:
    """Return an id of joined data sets, "SOURCE:ID", without the folder of its source."""
    source, colon, rest = image_id.rpartition(":") if isinstance(image_id, str) else ("", "", "")
    return f"{_name(source)}:{rest}" if colon else image_id


def _name(image_id: int | str) -> int | str:
    """Return an id that is a path without its folder."""
    return image_id.replace("\\", "/").rpartition("/")[2] if isinstance(image_id, str) else image_id


def _parts(dataset: Dataset, val: np.ndarray, fraction: float) -> tuple[Dataset, Dataset]:
    sides = (taken(dataset.examples, np.flatnonzero(val == side)) for side in (False, True))
    train, held_out = (replace(dataset, examples=examples) for examples in sides)
    return train, replace(held_out, source=repr(float(fraction)))
