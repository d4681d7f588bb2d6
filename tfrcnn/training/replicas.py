"""What the replicas of a `tf.distribute` strategy share, so that they compute what one device would.

A replica has B / R of a batch's images, its rows. Each function is of the replica that calls it. Without a strategy
there is one replica with all rows.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_PHILOX = 1  # TensorFlow's number of the algorithm
_PHILOX_BLOCK = 4  # numbers per value of Philox' counter


def replica_count() -> int:
    """Return R, the replicas that compute this together: 1 outside `strategy.run`, where no other waits."""
    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context else 1


def mean_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Return the mean of a tensor over the replicas, without a gradient."""
    if replica_count() == 1:
        return value
    context = tf.distribute.get_replica_context()
    return tf.stop_gradient(context.all_reduce(tf.distribute.ReduceOp.MEAN, value))


def uniform_rows(shape: Any, seed: Any) -> tf.Tensor:
    """Draw this replica's rows of the uniform numbers of a batch; together the replicas have the numbers of one device.

    The replicas must have as many rows each. Columns are aligned to the largest number of columns of a replica.

    Args:
        shape: (B / R, columns).
        seed: two numbers.

    Returns:
        [B / R, columns] float32 in [0, 1). Philox on every device; by default TensorFlow chooses a generator per
        device. XLA still draws other numbers.
    """
    if replica_count() == 1:
        return tf.random.stateless_uniform(shape, seed, alg="philox")
    context = tf.distribute.get_replica_context()
    rows, columns = tf.cast(shape[0], tf.int64), tf.cast(shape[1], tf.int64)
    width = tf.reduce_max(context.all_gather(columns[None], axis=0))
    start = tf.cast(context.replica_id_in_sync_group, tf.int64) * rows * width
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
    counter += tf.cast(tf.stack([start // _PHILOX_BLOCK, tf.zeros_like(start)]), tf.uint64)
    skipped = start % _PHILOX_BLOCK  # the first number is within a block
    numbers = tf.raw_ops.StatelessRandomUniformV2(
        shape=[skipped + rows * width], key=key, counter=counter, alg=_PHILOX, dtype=tf.float32
    )
    return tf.reshape(numbers[skipped:], [rows, width])[:, :columns]
