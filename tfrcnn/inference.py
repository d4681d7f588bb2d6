"""Run a Keras detector, or its first stage, on images and data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfrcnn.config_base import check_whole_number
from tfrcnn.data.decode import read_image
from tfrcnn.data.example import Dataset, Example, ImageDetections, ImageProposals, check_dataset
from tfrcnn.data.image_source import image_errors
from tfrcnn.data.inputs import read_input, source_of
from tfrcnn.data.pipeline import inference_data
from tfrcnn.files import digest_of
from tfrcnn.installed import collector_paused
from tfrcnn.layers import ProposalLayer
from tfrcnn.models.faster_rcnn import FasterRCNN
from tfrcnn.processes import check_not_forked


class KerasPredictor:
    """A Keras detector that is traced once for images of any size; `tfrcnn.Predictor` runs it.

    Attributes:
        detector: the detector.
        categories: its categories; the position is the label.
        detections: its score threshold and limits.
    """

    def __init__(self, detector: FasterRCNN) -> None:
        check_not_forked()
        self.detector = detector
        self.categories = detector.config.categories
        self.detections = detector.config.detections
        self._whole = tf.function(
            partial(_detect, detector),
            input_signature=[tf.TensorSpec([1, None, None, 3], tf.float32)],
            autograph=False,  # no Python branch is over a tensor, so nothing has to be converted
        )
        self._network = self._traced(lambda images, sizes: detector.network([images, sizes], training=False))
        self._cached_proposer = lru_cache(maxsize=4)(self._make_proposer)

    def __reduce__(self) -> tuple[type, tuple[FasterRCNN]]:
        return type(self), (self.detector,)

    @property
    def digest(self) -> str:
        """A checksum of configuration and weights: the same for detectors that detect the same."""
        parts = (np.ascontiguousarray(weight.numpy()).tobytes() for weight in self.detector.weights)
        return digest_of(self.detector.config.to_dict(), *parts)

    def detect(self, image: Any, image_id: int | str = "") -> ImageDetections:
        """Detect in one image, see `tfrcnn.Predictor.detect`."""
        check_not_forked()
        pixels, image_id = read_input(image, image_id)
        outputs = self._whole(tf.cast(pixels, tf.float32)[None])
        return self._unpack(_arrays(outputs), 0, image_id, (pixels.shape[0], pixels.shape[1]), source_of(image, pixels))

    def detect_dataset(self, dataset: Dataset, batch_size: int = 1, progress: bool = False) -> list[ImageDetections]:
        """Detect in a data set, see `tfrcnn.Predictor.detect_dataset`."""
        batches = self._outputs(self._network, dataset, batch_size, "detecting" if progress else None)
        return [
            self._unpack(outputs, i, e.image_id, (e.height, e.width), partial(read_image, e.path, e.orientation))
            for outputs, i, e in batches
        ]

    def propose(self, image: Any, count: int | None = None, image_id: int | str = "") -> ImageProposals:
        """Propose boxes for one image, see `tfrcnn.Predictor.propose`."""
        check_not_forked()
        pixels, image_id = read_input(image, image_id)
        proposer = self._proposer(count)
        prepared = self.detector.get_layer("preprocessor")(tf.cast(pixels, tf.float32)[None])
        outputs = proposer(prepared["images"], prepared["image_sizes"], prepared["original_sizes"])
        return _unpack_proposals(_arrays(outputs), 0, image_id)

    def propose_dataset(
        self, dataset: Dataset, count: int | None = None, batch_size: int = 1, progress: bool = False
    ) -> list[ImageProposals]:
        """Propose boxes for a data set, see `tfrcnn.Predictor.propose_dataset`."""
        batches = self._outputs(self._proposer(count), dataset, batch_size, "proposing" if progress else None)
        return [_unpack_proposals(outputs, i, example.image_id) for outputs, i, example in batches]

    def _proposer(self, count: int | None) -> Any:
        return self._cached_proposer(None if count is None else check_whole_number(count, "count"))

    def _make_proposer(self, count: int | None) -> Any:
        config = self.detector.config.test_proposals
        if count is not None:
            before = max(config.pre_nms_top_n, count)
            config = config.replace(pre_nms_top_n=before, post_nms_top_n=count, score_threshold=0.0)
        stages, layer = self.detector.stages, ProposalLayer(config, self.detector.kernels, name="proposals")
        return self._traced(lambda images, sizes: stages.first_stage(images, sizes, layer, training=False))

    def _traced(self, network: Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]) -> Any:
        """Trace a part of the detector for batches of all sizes, with boxes in pixels of the original images."""
        height, width = self.detector.config.image.static_size or (None, None)
        return tf.function(
            lambda images, sizes, original_sizes: self.detector.rescaler(network(images, sizes), sizes, original_sizes),
            input_signature=[
                tf.TensorSpec([None, height, width, 3], tf.float32),
                tf.TensorSpec([None, 2], tf.float32),
                tf.TensorSpec([None, 2], tf.float32),
            ],
            autograph=False,
        )

    def _outputs(
        self, function: Any, dataset: Dataset, batch_size: int, progress: str | None
    ) -> Iterator[tuple[dict[str, np.ndarray], int, Example]]:
        """Run `function` on all batches; yield for each image the batch's outputs, its index there and its example."""
        check_not_forked()
        check_dataset(dataset)
        batches = inference_data(dataset, self.detector.config.image, check_whole_number(batch_size, "batch_size"))
        disable = None if progress else True
        with image_errors(), tqdm(total=len(dataset), desc=progress, unit="image", disable=disable, leave=False) as bar:
            for batch in batches:
                outputs = _arrays(function(batch["images"], batch["image_sizes"], batch["original_sizes"]))
                for i, index in enumerate(batch["image_index"].numpy()):
                    yield outputs, i, dataset.examples[index]
                bar.update(len(outputs["boxes"]))

    def _unpack(
        self,
        outputs: dict[str, np.ndarray],
        i: int,
        image_id: int | str,
        size: tuple[int, int],
        pixels: np.ndarray | Callable[[], np.ndarray],
    ) -> ImageDetections:
        count = int(outputs["num_detections"][i])
        boxes, scores, labels = (outputs[name][i, :count] for name in ("boxes", "scores", "labels"))
        return ImageDetections(image_id, boxes, scores, labels, self.categories, size, pixels)


def _detect(detector: FasterRCNN, images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Build the graph of a detection; TensorFlow calls this once per predictor."""
    with collector_paused():
        outputs: dict[str, tf.Tensor] = detector(images, training=False)
    return outputs


def _arrays(outputs: dict[str, tf.Tensor]) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in outputs.items()}


def _unpack_proposals(outputs: dict[str, np.ndarray], i: int, image_id: int | str) -> ImageProposals:
    valid = outputs["valid"][i]
    return ImageProposals(image_id, outputs["boxes"][i][valid], outputs["scores"][i][valid])


Predictor = KerasPredictor  # the name that programs import from here; `tfrcnn.Predictor` takes paths too
