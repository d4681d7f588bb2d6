"""Counts the training steps in a row whose samples have no foreground. Reading the counts is the only cost."""

from __future__ import annotations

import tensorflow as tf

STAGES = ("rpn", "head")


class ForegroundCounts:
    """The steps in a row without a positive anchor ("rpn") or without a proposal on an object ("head").

    The counts are no weights of the model that updates them: they are not saved, and a resumed run counts from 0.

    Example:
        counts = ForegroundCounts()
        counts.update("rpn", samples.positive)
        counts.steps_without("rpn")
    """

    def __init__(self) -> None:
        first = tf.VariableAggregation.ONLY_FIRST_REPLICA
        self._counts = {
            # int64, since a GPU keeps int32 variables on the host, which XLA does not reach
            stage: tf.Variable(0, trainable=False, dtype=tf.int64, aggregation=first, name=f"{stage}_steps_without")
            for stage in STAGES
        }

    @property
    def variables(self) -> list[tf.Variable]:
        """The variables of all stages."""
        return list(self._counts.values())

    def update(self, stage: str, positive: tf.Tensor) -> None:
        """Count a step.

        Args:
            stage: "rpn" or "head".
            positive: bool of any shape, which samples are foreground.
        """
        count = self._counts[stage]
        count.assign(tf.where(tf.reduce_any(positive), tf.constant(0, tf.int64), count + 1))

    def steps_without(self, stage: str) -> int:
        """Return the count of a stage."""
        return int(self._counts[stage].numpy())
