"""Compare a training step with the input pipeline: images per second, traces, and memory over a long run.

    TF_CPP_MIN_LOG_LEVEL=2 python benchmarks/train_step.py --train DATA [--mixed-sizes] [--steps 500]

Every 25 steps of one `model.fit`, 10 batches of a second, equal pipeline are timed. So a machine that slows down
affects both figures. --mixed-sizes gives nearly every batch another shape. The benchmark takes about 10 minutes on
2 CPU cores.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import keras
import tensorflow as tf
from common import parse, prepare, resident_mb, timed

import tfrcnn

EVERY, BATCHES, WARM_UP = 25, 10, 50


class Watch(keras.callbacks.Callback):
    """Records the seconds of each step, the seconds per batch of the pipeline, shapes, traces and memory."""

    def __init__(self, data: Any) -> None:
        super().__init__()
        self.other = iter(data.batches())
        self.steps: list[float] = []
        self.pipeline: list[float] = []
        self.memory: list[float] = []
        self.traces: list[int] = []
        self.shapes: set[tuple[int, ...]] = set()
        self.count = 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps.append(time.perf_counter() - self.started)
        self.memory.append(resident_mb())
        self.traces.append(self.count)
        if batch % EVERY == EVERY - 1:
            seconds, shapes = timed(self.other, BATCHES)
            self.pipeline.append(seconds)
            self.shapes |= shapes


def main() -> None:
    options = parse(__doc__ or "", steps=500)
    dataset, detector_config, training = prepare(options)
    detector = tfrcnn.build_detector(detector_config)
    tfrcnn.freeze(detector, training)
    data = tfrcnn.training_data(dataset, detector_config.image, training)
    model = tfrcnn.TrainingModel(detector)
    model.compile(optimizer=tfrcnn.make_optimizer(training, data.steps_per_epoch), jit_compile=False)
    watch = Watch(data)
    original = model.compute_loss

    def counted(*args: Any, **kwargs: Any) -> tf.Tensor:
        watch.count += 1  # Python runs this once per trace
        return original(*args, **kwargs)

    model.compute_loss = counted
    model.fit(data.batches(), steps_per_epoch=options.steps, shuffle=False, verbose=0, callbacks=[watch])

    step, batch = statistics.median(watch.steps[WARM_UP:]), statistics.median(watch.pipeline)
    size, later = options.batch_size, watch.memory[WARM_UP:]
    print(f"{options.model}, {options.image_size} px, batch {size}, {options.steps} steps, {len(watch.shapes)} shapes")
    print(f"first step: {watch.steps[0]:.1f} s, with {watch.traces[0]} trace")
    print(f"step:     {step * 1000:7.0f} ms  {size / step:7.1f} images/s (median after {WARM_UP} steps)")
    print(f"pipeline: {batch * 1000:7.0f} ms  {size / batch:7.1f} images/s (median)")
    print(f"the pipeline is {step / batch:.1f} x as fast as the training step")
    print(f"traces after the first step: {watch.traces[-1] - watch.traces[0]}")
    series = " ".join(f"{value:.0f}" for value in watch.memory[WARM_UP - 1 :: WARM_UP])
    print(f"resident memory every {WARM_UP} steps, MB: {series}")
    print(
        f"resident memory: {later[0]:.0f} MB after {WARM_UP} steps, {later[-1]:.0f} MB at the end "
        f"({100 * (later[-1] / later[0] - 1):+.1f} %), highest {max(later):.0f} MB"
    )


if __name__ == "__main__":
    main()
