"""The tfrcnn side of vs_torchvision.py. It answers the same commands as torchvision_worker.py."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

import tfrcnn
from tfrcnn.models.stages import RPNOutputs
from tfrcnn.weights.importing import import_weights


class TensorFlowSide:
    """Runs one detector in one mode."""

    def load(
        self, name: str, weights: str, threads: int, image: str, train: bool, size: int, classes: int
    ) -> dict[str, Any]:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        # run one operator at a time on all threads, as torch does; TensorFlow's default, as many operators as threads,
        # is 1 to 2 % faster and takes up to 12 % more memory
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self.detector = import_weights(weights, name)
        pixels = np.load(image).astype(np.float32)
        self.train = train
        if train:
            self._prepare_training(name, pixels, size)
        else:
            self.image = tf.constant(pixels[None])
            spec = tf.TensorSpec([1, None, None, 3], tf.float32)
            self.detect = tf.function(lambda x: self.detector(x, training=False), input_signature=[spec])
        return {"versions": f"tfrcnn {tfrcnn.__version__}, tensorflow {tf.__version__}"}

    def _prepare_training(self, name: str, pixels: np.ndarray, size: int) -> None:
        preset = tfrcnn.preset(name).training.replace(batch_size=2, learning_rate=8e-5)
        tfrcnn.freeze(self.detector, preset)
        self.model = tfrcnn.TrainingModel(self.detector)
        self.model.compile(optimizer=tfrcnn.make_optimizer(preset, 1000), jit_compile=False)
        image = tf.image.resize(pixels, [size, size], "nearest")
        boxes = [[i * size / 8, i * size / 8, (i + 2) * size / 8, (i + 3) * size / 8] for i in range(5)]
        batch = {
            "images": tf.stack([image, image[:, ::-1]]),
            "image_sizes": tf.fill([2, 2], float(size)),
            "boxes": tf.constant([boxes, boxes]),
            "labels": tf.tile(tf.range(5)[None], [2, 1]),
        }
        self.batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
        self.model.make_train_function()

    def run(self) -> dict[str, Any]:
        started = time.perf_counter()
        if self.train:
            float(self.model.train_function(self.batches)["loss"])
        else:
            self.detect(self.image)["boxes"].numpy()
        return {"seconds": time.perf_counter() - started}

    def stages(self) -> dict[str, float]:
        """Return the milliseconds of one detection per stage.

        Each stage is a separate function on the real inputs; the cost of a call is subtracted. "all" is one function.
        """
        detector, stages, spent, call = self.detector, self.detector.stages, {}, 0.0

        def timed(name: str, function: Callable[..., Any], *inputs: Any) -> Any:
            compiled = tf.function(function, reduce_retracing=True)
            outputs = compiled(*inputs)
            seconds = []
            for _ in range(5):
                started = time.perf_counter()
                outputs = compiled(*inputs)  # it is done when it returns; .numpy() would copy up to 60 MB
                seconds.append(time.perf_counter() - started)
            spent[name] = 1000 * min(seconds) - call
            return outputs

        timed("call", tf.identity, self.image)
        call = spent.pop("call")
        prepared = timed("transform", detector.get_layer("preprocessor"), self.image)
        sizes = prepared["image_sizes"]
        normalized = timed("normalise", detector.normalizer, prepared["images"], sizes)
        spent["transform"] += spent.pop("normalise")
        maps = timed("backbone", lambda x: list(detector.backbone(x, training=False)), normalized)
        features = timed("pyramid", lambda x: list(detector.fpn(x, training=False)), maps)
        logits, deltas = timed("RPN head", lambda x: detector.rpn_head(x), features)

        def propose(logits: Any, deltas: Any, features: Any) -> Any:
            anchors = detector.anchor_generator(features, normalized)
            return stages.propose(RPNOutputs(logits, deltas, anchors), sizes)

        proposals = timed("proposals", propose, logits, deltas, features)
        pooled = timed("RoIAlign", stages.pool, features, proposals["boxes"])
        class_logits, box_deltas = timed("box head", lambda x: stages.classify(x, training=False), pooled)
        timed("detections", stages.decode, class_logits, box_deltas, proposals, sizes)
        spent["all"] = 1000 * min(self.run()["seconds"] for _ in range(5))
        return spent

    def memory(self) -> dict[str, float]:
        return {"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    side = TensorFlowSide()
    for line in sys.stdin:
        command = json.loads(line)
        answer = getattr(side, command.pop("do"))(**command)
        print("ANSWER " + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
