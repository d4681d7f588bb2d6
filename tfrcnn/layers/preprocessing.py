"""Preprocessing: from images of any size to the network's input."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrcnn import images as image_ops
from tfrcnn.config import ImageConfig
from tfrcnn.layers.base import GeometryLayer, KernelLayer, register, spec


@register
class Preprocessor(GeometryLayer[ImageConfig]):
    """Resize and pad a batch of images of one size to the network's frame (see `ImageConfig`).

    Attributes:
        config: the size rule and the padding.

    Example:
        prepared = Preprocessor(ImageConfig(min_size=600, max_size=1000))(images)
        prepared["images"].shape  # [1, 608, 800, 3] for images [1, 480, 640, 3]: 600 x 800, in multiples of 32
    """

    config_class = ImageConfig

    def call(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """
        Args:
            images: [B, H, W, 3] RGB 0..255.

        Returns:
            A dict:
                images: [B, N_h, N_w, 3] float32 0..255.
                image_sizes: [B, 2] float32, (h, w) inside the padding.
                original_sizes: [B, 2] float32, (H, W).
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

    def compute_output_spec(self, images: Any) -> dict[str, Any]:
        batch = images.shape[0]
        padded = spec(batch, *(self.config.static_size or (None, None)), 3)
        return {"images": padded, "image_sizes": spec(batch, 2), "original_sizes": spec(batch, 2)}


@register
class Normalizer(KernelLayer[ImageConfig], GeometryLayer[ImageConfig]):
    """(pixel - mean) / std inside the images, zero in their padding.

    Attributes:
        config: mean and standard deviation of RGB 0..255.
        kernels: a set of operators or its name, see `tfrcnn.kernels`.

    Example:
        pixels = Normalizer(ImageConfig())(prepared["images"], prepared["image_sizes"])
    """

    config_class = ImageConfig

    def call(self, images: tf.Tensor, image_sizes: tf.Tensor) -> tf.Tensor:
        """
        Args:
            images: [B, N_h, N_w, 3] float32 RGB 0..255.
            image_sizes: [B, 2] float32, (h, w) inside the padding.

        Returns:
            [B, N_h, N_w, 3] float32.
        """
        return self.kernels.normalize(images, image_sizes, self.config)

    def compute_output_spec(self, images: Any, image_sizes: Any) -> Any:
        return spec(*images.shape)
