"""From images as they are to the network's input, and detections back: the edges of the graph."""

from __future__ import annotations

import tensorflow as tf

from tfrcnn import images as image_ops
from tfrcnn.config import ImageConfig
from tfrcnn.layers.base import GeometryLayer, register
from tfrcnn.layers.native import native


@register
class Preprocessor(GeometryLayer[ImageConfig]):
    """Resize and pad a batch of equally large images to the network's frame (see `ImageConfig`)."""

    config_class = ImageConfig

    def call(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """
        Args:
            images: [B, H, W, 3] RGB 0..255.

        Returns:
            images [B, N_h, N_w, 3] float32 0..255, image_sizes [B, 2] float32 (h, w) inside the padding, and
            original_sizes [B, 2] float32 (H, W).
        """
        shape = tf.shape(images)
        resized = image_ops.resize(images, self.config)
        size = tf.shape(resized)[1:3]
        padded = image_ops.pad(resized, image_ops.padded_size(size, self.config))
        padded.set_shape([images.shape[0], *(self.config.static_size or (None, None)), 3])
        per_image = (shape[0], 1)
        return {
            "images": padded,
            "image_sizes": tf.tile(tf.cast(size, tf.float32)[None], per_image),
            "original_sizes": tf.tile(tf.cast(shape[1:3], tf.float32)[None], per_image),
        }


@register
class Normalizer(GeometryLayer[ImageConfig]):
    """(pixel - mean) / std within the images, zero in their padding."""

    config_class = ImageConfig

    def call(self, images: tf.Tensor, image_sizes: tf.Tensor) -> tf.Tensor:
        """[B, N_h, N_w, 3] float32 0..255 and [B, 2] (h, w) -> [B, N_h, N_w, 3] float32."""
        return (native("normalize") or image_ops.normalize)(images, image_sizes, self.config)
