"""Settings of the whole process: training changes them while it runs and restores them, also after an error."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import config  # TensorFlow has no public way to read this, or to turn it off again


@contextmanager
def repeatable_operators() -> Iterator[None]:
    """Let operators repeat to the bit on a CPU, without the caller's automatic clustering by XLA, while the block runs.

    A GPU keeps the caller's setting, since its repeatable operators are slower.
    """
    was_enabled = config.is_op_determinism_enabled()
    clusters = tf.config.optimizer.get_jit()
    if not tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()  # see RoIAlign
    if clusters:
        tf.config.optimizer.set_jit(False)
    try:
        yield
    finally:
        if not was_enabled:
            config.disable_op_determinism()
        if clusters:
            tf.config.optimizer.set_jit(clusters)


@contextmanager
def kept_generators() -> Iterator[None]:
    """Let the generators of Python and NumPy go on after the block as if it had not run.

    Keras takes the seeds of initial weights from Python's generator, so each layer that is made draws from it.
    """
    before = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators of Python and NumPy for the block, see `kept_generators`."""
    with kept_generators():
        random.seed(seed)
        np.random.seed(seed)
        yield
