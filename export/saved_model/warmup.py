"""Warm-up requests for TensorFlow Serving, which runs them when it loads a model, before it accepts clients.

They are `tensorflow.serving.PredictionLog` messages in a TFRecord file. Their Python classes are in
tensorflow-serving-api, which requires the package `tensorflow` by name and would install it over tensorflow-cpu. Every
field on the way to the tensor is length-delimited: tag, length, content. This module writes the bytes, and a test reads
them with the real classes.

https://github.com/tensorflow/serving/blob/master/tensorflow_serving/apis/prediction_log.proto
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from ...config import ImageConfig

WARMUP = "tf_serving_warmup_requests"  # the name TensorFlow Serving looks for in assets.extra


def write_warmup(folder: Path, config: ImageConfig) -> None:
    """Write one request per signature, with a black image of the network's size, into a SavedModel."""
    height, width = config.static_size or (config.min_size, config.min_size)
    # one value repeats for the whole tensor: a few bytes in the file
    pixels = tf.make_tensor_proto(0, tf.uint8, [1, height, width, 3])
    file = tf.io.encode_png(tf.zeros([height, width, 3], tf.uint8)).numpy()
    requests = (
        predict_log("serving_default", "images", pixels.SerializeToString()),
        predict_log("encoded", "encoded_images", tf.make_tensor_proto([file]).SerializeToString()),
    )
    (folder / "assets.extra").mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / WARMUP)) as writer:
        for request in requests:
            writer.write(request)


def predict_log(signature: str, name: str, tensor: bytes) -> bytes:
    """Serialise a PredictionLog.

    Args:
        signature: The model's signature.
        name: The signature's input.
        tensor: A serialised TensorProto.
    """
    model_spec = _field(3, signature.encode())  # ModelSpec.signature_name
    entry = _field(1, name.encode()) + _field(2, tensor)  # an entry of a map: key, value
    request = _field(1, model_spec) + _field(2, entry)  # PredictRequest.model_spec, .inputs
    return _field(6, _field(1, request))  # PredictionLog.predict_log, PredictLog.request


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Encode seven bits per byte, lowest first; the eighth bit says that another byte follows."""
    return bytes([value & 127 | 128]) + _varint(value >> 7) if value > 127 else bytes([value])
