"""Write SavedModels for TensorFlow Serving and TensorFlow.

    PATH/saved_model.pb, variables/                    the graph of two signatures and their weights
    PATH/assets/tfrcnn.json                            the description (`contract.describe`)
    PATH/assets/labels.txt                             the id and name of each category, one per line
    PATH/assets.extra/tf_serving_warmup_requests       requests that TensorFlow Serving runs when it loads the model

Signatures, both with the outputs of `contract`:

    serving_default    images          uint8 [B, H, W, 3]
    encoded            encoded_images  string [B], whole JPEG, PNG, BMP or GIF files of any sizes; boxes are relative to
                                       the upright image (a JPEG file's EXIF orientation is applied)
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ... import images as image_ops
from ...compat import tensorflow_variable
from ...config import Category, ImageConfig
from ...data.graph_decode import decode_image
from ...data.orientation import jpeg_orientation
from ...files import atomic_folder, to_json
from ...models import FasterRCNN
from ..artefact import DESCRIPTION, LABELS
from ..contract import Limits, category_ids, describe, prepare, to_contract
from ..integrity import SHA256, sha256
from ..stages import run_stages
from ..text import label_lines
from .warmup import write_warmup


def write(detector: FasterRCNN, path: Path, limits: Limits) -> None:
    """Write the file, see `to_saved_model`."""
    category_ids(detector.config)  # refuses an id before any work
    # Sizes are dynamic here: crop_and_resize is several times as fast as the gathers, and TensorFlow has its kernel.
    prepared = prepare(detector, *limits, kernels="tensorflow")
    with atomic_folder(path) as folder, tempfile.TemporaryDirectory() as assets_folder:
        config = prepared.config
        description = describe(config, "saved_model", "float32")
        assets = {DESCRIPTION: "", LABELS: _labels(config.categories)}
        for name, text in assets.items():
            Path(assets_folder, name).write_text(text, encoding="utf-8")
        served = Served(prepared, [Path(assets_folder, name) for name in assets])
        signatures = {"serving_default": served.detect, "encoded": served.detect_encoded}
        tf.saved_model.save(served, folder, signatures=signatures)
        description[SHA256] = sha256((folder / "saved_model.pb").read_bytes())
        text = to_json(description, indent=2)
        (folder / "assets" / DESCRIPTION).write_text(f"{text}\n", encoding="utf-8")
        write_warmup(folder, config.image)


def stage_outputs(detector: FasterRCNN, picture: np.ndarray) -> dict[str, np.ndarray]:
    """Compute `run_stages` in a SavedModel, see `Target.stage_outputs`."""
    copy = prepare(detector, kernels="tensorflow")

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        prepared = copy.get_layer("preprocessor")(tf.cast(images, tf.float32))
        return run_stages(copy, prepared["images"], prepared["image_sizes"])

    module = tf.Module()
    module.weights = [tensorflow_variable(variable) for variable in copy.weights]
    module.serve = tf.function(serve, [tf.TensorSpec([None, None, None, 3], tf.uint8)], autograph=False)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder)
        loaded = tf.saved_model.load(folder)  # keep a reference: it owns the variables
        outputs = loaded.serve(tf.constant(picture[None]))
    return {name: value.numpy() for name, value in outputs.items()}


class Served(tf.Module):
    """The content of a SavedModel: the two functions, their variables and the assets.

    It keeps the variables in a list, because the Keras model would bring its whole tree of layers into the file.
    """

    def __init__(self, detector: FasterRCNN, assets: list[Path]) -> None:
        super().__init__(name="tfrcnn")
        config = detector.config
        classes = category_ids(config)
        self.weights = [tensorflow_variable(variable) for variable in detector.weights]
        self.assets = [tf.saved_model.Asset(str(path)) for path in assets]

        def detect(images: tf.Tensor) -> dict[str, tf.Tensor]:
            shape = tf.shape(images)
            message = "images: expected [B, H, W, 3] of one image and one pixel at least, found"
            with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(shape > 0), [message, shape])]):
                detections = detector(tf.cast(images, tf.float32), training=False)
            return to_contract(detections, tf.tile(tf.cast(shape[1:3], tf.float32)[None], [shape[0], 1]), classes)

        def detect_encoded(encoded_images: tf.Tensor) -> dict[str, tf.Tensor]:
            images, sizes, original_sizes = decode_batch(encoded_images, config.image)
            detections = detect_each(detector, images, sizes)
            return to_contract(detector.rescaler(detections, sizes, original_sizes), original_sizes, classes)

        pixels = tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")
        files = tf.TensorSpec([None], tf.string, name="encoded_images")
        self.detect = tf.function(detect, input_signature=[pixels], autograph=False)
        self.detect_encoded = tf.function(detect_encoded, input_signature=[files], autograph=False)


def decode_batch(encoded: tf.Tensor, config: ImageConfig) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decode image files of any sizes into one batch for `FasterRCNN.network`.

    A decoder's error does not name the file. So a tf.data pipeline decodes the files and drops those that fail, and the
    missing index is the file's position. The pipeline also decodes in parallel and pads to a common frame. An extra
    last element keeps the batch from being empty.

    Args:
        encoded: [B] string.
        config: The detector's image sizes.

    Returns:
        images: [B, N_h, N_w, 3] float32 0..255, padded to a common frame.
        image_sizes: [B, 2] float32 (h, w) inside the padding.
        original_sizes: [B, 2] float32 (H, W) of the upright images.

    Raises:
        tf.errors.InvalidArgumentError: A file is not an image; the message has its position.
    """

    def read(index: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, ...]:
        image = decode_image(data, jpeg_orientation(data))
        resized = image_ops.resize(image, config)
        size = tf.shape(resized)[:2]
        sizes = tf.cast(tf.stack([size, tf.shape(image)[:2]]), tf.float32)
        return index, image_ops.pad(resized, image_ops.padded_size(size, config)), sizes

    count = tf.size(encoded)
    frame = config.static_size or (None, None)
    nothing = (tf.constant(-1), tf.zeros([config.divisor, config.divisor, 3]), tf.ones([2, 2]))
    files = tf.data.Dataset.from_tensor_slices((tf.range(count), encoded))
    images = files.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).ignore_errors()
    every = images.concatenate(tf.data.Dataset.from_tensors(nothing))
    shapes: Any = ([], [*frame, 3], [2, 2])
    indices, batch, sizes = every.padded_batch(tf.cast(count, tf.int64) + 1, shapes).get_single_element()

    read_all = tf.equal(tf.size(indices), count + 1)
    # the first index that differs from its position
    failed = tf.argmax(tf.not_equal(indices, tf.range(tf.size(indices))), output_type=tf.int32)
    message = "encoded_images: expected whole JPEG, PNG, BMP or GIF images, cannot decode the one at position"
    some = tf.debugging.Assert(count > 0, ["encoded_images: expected one image at least, found none"])
    with tf.control_dependencies([some, tf.debugging.Assert(read_all, [message, failed])]):
        return batch[:-1], sizes[:-1, 0], sizes[:-1, 1]


def detect_each(detector: FasterRCNN, images: tf.Tensor, sizes: tf.Tensor) -> dict[str, tf.Tensor]:
    """Detect in each image of a batch, independently of the others.

    Unless the size is static, images run one by one, each cut to the frame it needs. In one batch, a larger
    neighbour would add padding, and the activations of padding are not zero after the first layer: a trained detector
    then returns other boxes near the border.

    Args:
        detector: The detector.
        images: [B, N_h, N_w, 3], see `decode_batch`.
        sizes: [B, 2] (h, w) inside the padding.

    Returns:
        The outputs of `FasterRCNN.network`, in pixels of its input.
    """
    config = detector.config
    if config.image.static_size is not None:
        return dict(detector.network([images, sizes], training=False))

    def detect(args: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        image, size = args
        height, width = tf.unstack(image_ops.padded_size(tf.cast(size, tf.int32), config.image))
        detections = detector.network([image[None, :height, :width], size[None]], training=False)
        return {name: value[0] for name, value in detections.items()}

    limit = config.detections.max_detections
    signature = {
        "boxes": tf.TensorSpec([limit, 4], tf.float32),
        "scores": tf.TensorSpec([limit], tf.float32),
        "labels": tf.TensorSpec([limit], tf.int32),
        "num_detections": tf.TensorSpec([], tf.int32),
    }
    # one at a time: the network uses every core anyway, and this takes the memory of one image
    return dict(tf.map_fn(detect, (images, sizes), fn_output_signature=signature, parallel_iterations=1))


def _labels(categories: tuple[Category, ...]) -> str:
    return "".join(f"{category.id} {line}\n" for category, line in zip(categories, label_lines(categories)))
