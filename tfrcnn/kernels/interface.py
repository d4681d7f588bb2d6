"""The contract of each kernel, and the table that holds one kernel per operator.

Legend: S sets of boxes (images, or images x classes), P boxes per set, K kept per set; R boxes of a batch,
L levels, p pool_size, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from tfrcnn.config import HeadConfig, ImageConfig

# The score of a box that is not there. Scores are probabilities, so every real one is above it, and -1 is exact in
# every precision. 0 would not do: a softmax or sigmoid rounds to it.
ABSENT = -1.0


class Kept(NamedTuple):
    """The boxes that NMS keeps, best first.

    Attributes:
        indices: [S, K] int32 into P; 0 in empty slots.
        scores: [S, K] float32, descending; `ABSENT` in empty slots. A soft NMS may lower them.
        counts: [S] int32, how many slots are filled.
    """

    indices: tf.Tensor
    scores: tf.Tensor
    counts: tf.Tensor


class Crops(NamedTuple):
    """The regions that `RoIAlign` crops from the feature maps.

    Attributes:
        boxes: [R, 4] yxyx pixels of the network input; `tfrcnn.boxes.roi_samples` says where they are sampled.
        images: [R] int32, the image of each box.
        levels: [R] int32, the feature map of each box.
    """

    boxes: tf.Tensor
    images: tf.Tensor
    levels: tf.Tensor


class Bins(NamedTuple):
    """The cells that `RoIPool` takes the maximum of.

    Attributes:
        boxes: [R, 4] yxyx pixels of the network input.
        images: [R] int32, the image of each box.
        first: [R, p, 2] int32 (row, column), the first cell of each bin.
        end: [R, p, 2] int32, one past the last cell; a bin with end <= first is empty.
    """

    boxes: tf.Tensor
    images: tf.Tensor
    first: tf.Tensor
    end: tf.Tensor


NMS = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, int, float], Kept]
RoIAlignKernel = Callable[[list[tf.Tensor], Crops, tuple[int, ...], HeadConfig], tf.Tensor]
RoIPoolKernel = Callable[[tf.Tensor, Bins, int, HeadConfig], tf.Tensor]
Normalize = Callable[[tf.Tensor, tf.Tensor, ImageConfig], tf.Tensor]
Upsample = Callable[[tf.Tensor, int, tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class Kernels:
    """One implementation of each operator that runtimes do not share.

    The layers of a detector say what is computed, and call these to compute it. The sets of tfrcnn give the same
    numbers, up to the order of float32 sums.

    Exports use the sets of their formats. A set with other numbers, for example of a soft NMS, therefore fails the
    verification of an export. A `.keras` file of such a detector has only the set's name: build the detector with the
    set, and call its `load_weights(file)`.

    Attributes:
        name: what `get_config` stores; `find_kernels` knows the names of tfrcnn's sets.
        nms: (boxes [S, P, 4] yxyx, scores [S, P] descending, valid [S, P] bool, K, IoU threshold) -> `Kept`. Drops a
            box if its IoU with a better kept one of its set is above the threshold. A box that is not valid takes no
            part.
        roi_align: (features, per level [B, H, W, C] float32; `Crops`; strides; `HeadConfig`) -> [R, p, p, C] float32.
        roi_pool: (feature [B, H, W, C] float32; `Bins`; stride; `HeadConfig`) -> [R, p, p, C] float32.
        normalize: (images [B, N_h, N_w, 3], image_sizes [B, 2], `ImageConfig`) -> [B, N_h, N_w, 3], as
            `tfrcnn.images.normalize`.
        upsample: (x [B, h, w, C], factor, like [B, H, W, C]) -> [B, H, W, C], nearest neighbour.
        compiles: True if the set is made for graphs that are compiled before they run (XLA, TFLite, ONNX). The layers
            then keep the size of every tensor independent of its values.

    Example:
        from dataclasses import replace

        kernels = replace(tfrcnn.kernels.TENSORFLOW, name="mine", nms=my_nms)
        detector = tfrcnn.build_detector(config, kernels=kernels)
    """

    name: str
    nms: NMS
    roi_align: RoIAlignKernel
    roi_pool: RoIPoolKernel
    normalize: Normalize
    upsample: Upsample
    compiles: bool
