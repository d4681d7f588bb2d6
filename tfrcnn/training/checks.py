"""Check the arguments of a run against each other, before anything is written."""

from __future__ import annotations

import tensorflow as tf

from tfrcnn.config import TrainingConfig
from tfrcnn.data.example import Dataset, check_dataset
from tfrcnn.data.example_table import column_of, objects_of
from tfrcnn.data.sampler import repeat_factors, steps_per_epoch
from tfrcnn.errors import InputError, check_type
from tfrcnn.models import FasterRCNN
from tfrcnn.training.class_weights import class_weights
from tfrcnn.training.losses import check_losses
from tfrcnn.training.optimizer_names import check_optimizer
from tfrcnn.training.run_optimizer import check_accumulation
from tfrcnn.training.schemes import SCHEMES, check_network, freeze


def check_arguments(
    detector: FasterRCNN,
    train_data: Dataset,
    validation: Dataset | None,
    training: TrainingConfig,
    has_measure: bool = False,
) -> None:
    """Check that a detector, data sets and a training suit each other.

    Raises:
        InputError: categories differ; no box can be learned from; the detector does not suit the scheme, the precision
            or the frozen stages, or names an unknown loss or class; the optimizer is unknown, or one of its options;
            the batch size does not suit the devices; gradients are accumulated over replicas, or over more steps than
            there are; there is no score for `patience`.
    """
    check_type(detector, FasterRCNN, "detector", "tfrcnn.build_detector(preset.detector)")
    check_type(training, TrainingConfig, "training", "preset.training")
    check_dataset(train_data, "train_data")
    if validation is not None:
        check_dataset(validation, "validation")
    if not objects_of(train_data.examples).any():
        raise InputError(
            f"{train_data.source}: expected a box to learn from, found {_count_of_boxes(train_data)}: add boxes, or "
            "set iscrowd or difficult to 0"
        )
    if training.patience is not None and validation is None and not has_measure:
        raise InputError("TrainingConfig.patience needs validation data, whose score it watches: pass them, or None")
    for name, dataset in (("training", train_data), ("validation", validation)):
        if dataset is not None and dataset.categories != detector.config.categories:
            raise InputError(f"the categories of the {name} data {dataset.source} are not the detector's")
    check_network(detector, training.scheme)
    check_accumulation(training)
    check_optimizer(training)
    _check_updates(train_data, training)
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if training.batch_size % replicas:
        raise InputError(
            f"TrainingConfig.batch_size must be a multiple of the {replicas} replicas of the strategy, "
            f"found {training.batch_size}: choose another, or train on fewer devices"
        )
    if detector.dtype_policy.name != training.precision:
        raise InputError(
            f"the detector was built with precision {detector.dtype_policy.name!r}, but TrainingConfig.precision is "
            f"{training.precision!r}: pass the same to build_detector"
        )
    check_losses(detector.config)
    class_weights(training, train_data)
    freeze(detector, training)


def _check_updates(dataset: Dataset, training: TrainingConfig) -> None:
    """Check that each phase of a run updates the weights.

    Raises:
        InputError: one has fewer steps than make an update.
    """
    images = repeat_factors(dataset, training.repeat_factor_threshold).sum()
    epochs = min(phase.training(training).epochs for phase in SCHEMES[training.scheme])
    steps = epochs * steps_per_epoch(images, training.batch_size)
    if training.accumulation_steps > steps:
        raise InputError(
            f"TrainingConfig.accumulation_steps must be at most {steps}, the steps of {epochs} epochs of "
            f"{dataset.source}, found {training.accumulation_steps}: no update would be made"
        )


def _count_of_boxes(dataset: Dataset) -> str:
    crowds = column_of(dataset.examples, "crowd")
    crowd, boxes = int(crowds.sum()), len(crowds)
    return f"{boxes - crowd} difficult boxes and {crowd} crowds" if boxes else "no box"
