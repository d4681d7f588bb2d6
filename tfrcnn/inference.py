"""Detect in images and data sets with a Keras detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfrcnn.data.decode import read_image
from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.data.pipeline import inference_data
from tfrcnn.models.faster_rcnn import FasterRCNN


class Predictor:
    """A detector compiled once for images of any size, so that no size is traced anew.

    Attributes:
        categories: position = label.
    """

    def __init__(self, detector: FasterRCNN) -> None:
        height, width = detector.config.image.static_size or (None, None)
        self.detector = detector
        self.categories = detector.config.categories
        self._whole = tf.function(
            lambda images: detector(images, training=False),
            input_signature=[tf.TensorSpec([1, None, None, 3], tf.float32)],
        )
        self._network = tf.function(
            lambda images, sizes, original_sizes: detector.rescaler(
                detector.network([images, sizes], training=False), sizes, original_sizes
            ),
            input_signature=[
                tf.TensorSpec([None, height, width, 3], tf.float32),
                tf.TensorSpec([None, 2], tf.float32),
                tf.TensorSpec([None, 2], tf.float32),
            ],
        )

    def detect(self, image: str | Path | np.ndarray, image_id: int | str = "") -> ImageDetections:
        """Detect in one image.

        Args:
            image: a file, or [H, W, 3] RGB 0..255.

        Returns:
            boxes in pixels of the upright image, best first.

        Raises:
            InputError: the file is missing or no image.
        """
        if isinstance(image, (str, Path)):
            image_id = image_id or Path(image).stem
            image = read_image(Path(image))
        outputs = self._whole(tf.cast(image, tf.float32)[None])
        return _unpack({key: value.numpy() for key, value in outputs.items()}, 0, image_id)

    def detect_dataset(self, dataset: Dataset, batch_size: int = 1, progress: bool = False) -> list[ImageDetections]:
        """Detect in every image of a data set, in its order; one `ImageDetections` an image."""
        found: dict[int, ImageDetections] = {}
        batches = inference_data(dataset, self.detector.config.image, batch_size)
        with tqdm(
            total=len(dataset), desc="detecting", unit="image", disable=None if progress else True, leave=False
        ) as bar:
            for batch in batches:
                outputs = self._network(batch["images"], batch["image_sizes"], batch["original_sizes"])
                arrays = {key: value.numpy() for key, value in outputs.items()}
                for i, index in enumerate(batch["image_index"].numpy()):
                    found[int(index)] = _unpack(arrays, i, dataset.examples[index].image_id)
                bar.update(len(arrays["boxes"]))
        return [found[i] for i in range(len(dataset))]


def _unpack(outputs: dict[str, np.ndarray], i: int, image_id: int | str) -> ImageDetections:
    count = int(outputs["num_detections"][i])
    return ImageDetections(
        image_id, outputs["boxes"][i, :count], outputs["scores"][i, :count], outputs["labels"][i, :count]
    )
