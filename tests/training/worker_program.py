"""One of several workers, or a process that trains alone: python worker_program.py FOLDER MODE KIND.

The modes are "new", "resume", and "die": worker 1 ends with exit code 9 in the second epoch.
"""

import os
import sys
from pathlib import Path

from tfrcnn.training.strategy import make_strategy

STRATEGY = make_strategy("auto")  # before TensorFlow runs anything

import keras  # noqa: E402
from test_run import CATEGORIES, make_dataset, settings  # noqa: E402

from tfrcnn.errors import InputError  # noqa: E402
from tfrcnn.models import build_detector, preset  # noqa: E402
from tfrcnn.training.run import train  # noqa: E402
from tfrcnn.training.workers import gather, position  # noqa: E402

TRAINING = {
    "tiny_fpn": settings(),
    # a rate that hardly moves a network which makes a hundred times the round-off in a step of the usual rate
    "mobilenet_v2_fpn": settings(learning_rate=1e-5).replace(epochs=1),
    "alternating": settings(scheme="alternating", swa=0.5),
    # two epochs: in a third, 16-bit round-off moves the IoU of a proposal across 0.5, which changes its label
    "mixed_float16": settings(precision="mixed_float16").replace(epochs=2),
    "callbacks": settings(),
}

ALL = 1040  # more than the 1,023 anchors of an image and its objects


def network(kind):
    """Build a detector whose choices round-off cannot change: NMS is off, and the head learns from all anchors."""
    keras.utils.set_random_seed(3)
    name = kind if kind.endswith("fpn") else "tiny_fpn"
    config = preset(name, CATEGORIES, image_size=64).detector
    head = config.head.replace(match=config.head.match.replace(samples=ALL, positive_fraction=1.0))
    proposals = config.train_proposals.replace(pre_nms_top_n=ALL, post_nms_top_n=ALL, nms_iou=1.0)
    return build_detector(
        config.replace(head=head, train_proposals=proposals), "none", precision=TRAINING[kind].precision
    )


class Die(keras.callbacks.Callback):
    """Ends worker 1 in its second epoch, and leaves a file."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_train_batch_end(self, batch, logs=None):
        if position().worker == 1 and len(self.model.history.epoch) == 1 and batch == 1:
            (self.folder / "died").touch()
            os._exit(9)


def callbacks_of_keras(folder):
    """Make Keras' callbacks; their files are below the folder, which all workers share."""
    folder.mkdir(exist_ok=True)  # CSVLogger does not
    kinds = keras.callbacks
    return [
        kinds.CSVLogger(folder / "log.csv"),
        kinds.EarlyStopping("loss", mode="min", patience=5, restore_best_weights=True),
        kinds.LambdaCallback(on_epoch_end=lambda epoch, logs: None),
        kinds.LearningRateScheduler(lambda epoch, rate: 0.9 * rate),
        kinds.ModelCheckpoint(folder / "saved/{epoch}.keras"),
        kinds.ModelCheckpoint(folder / "saved/best.weights.h5", "loss", save_best_only=True, save_weights_only=True),
        kinds.ReduceLROnPlateau("loss", 0.5, patience=1, mode="min", min_delta=100.0),
        kinds.TensorBoard(folder / "logs", write_graph=False),
        kinds.TerminateOnNaN(),
    ]


def main(folder, mode, kind):
    """Train; only the chief knows the place of the run."""
    data = make_dataset(folder, 6, 0, noise=100), make_dataset(folder, 3, 1, noise=100)
    with STRATEGY.scope():
        if mode == "new":
            contents = gather(bytes(range(position().worker, 7)))
            assert contents == [bytes(range(i, 7)) for i in range(position().workers)], contents
        out = folder / ("run" if position().worker == 0 else "nowhere")
        callbacks = [Die(folder)] if mode == "die" else callbacks_of_keras(folder) if kind == "callbacks" else []
        try:
            run = train(network(kind), *data, out, TRAINING[kind], callbacks=callbacks, resume=mode == "resume")
        except InputError as error:
            sys.exit(f"error: {error}")
        print([row["loss"] for row in run.history])


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
