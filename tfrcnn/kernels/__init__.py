"""The operators that runtimes do not share, as interchangeable sets: NMS, RoI pooling, normalising, upsampling.

`Kernels` is the contract of a set. These sets come with tfrcnn:

    "tensorflow"       crop_and_resize and combined NMS: fastest in TensorFlow on CPU and GPU
    "portable"         RoIAlign by gathers and NMS V4: static shapes, for XLA and TFLite
    "portable_matmul"  the same with RoIAlign by matrix products: faster where feature maps are small

`tfrcnn.export` has two more, for ONNX and LiteRT.
"""

from __future__ import annotations

from dataclasses import replace

from tfrcnn import images
from tfrcnn.deprecation import warn_deprecated
from tfrcnn.errors import InputError
from tfrcnn.kernels import nms, roi_align, roi_pool, upsample
from tfrcnn.kernels.interface import ABSENT, Bins, Crops, Kept, Kernels

__all__ = ["ABSENT", "PORTABLE", "PORTABLE_MATMUL", "TENSORFLOW", "Bins", "Crops", "Kept", "Kernels", "find_kernels"]

TENSORFLOW = Kernels(
    name="tensorflow",
    nms=nms.combined,
    roi_align=roi_align.crop_and_resize,
    roi_pool=roi_pool.tables,
    normalize=images.normalize,
    upsample=upsample.repeat,
    compiles=False,
)
PORTABLE = replace(TENSORFLOW, name="portable", nms=nms.padded, roi_align=roi_align.gather, compiles=True)
PORTABLE_MATMUL = replace(PORTABLE, name="portable_matmul", roi_align=roi_align.matmul)
_BY_NAME = {kernels.name: kernels for kernels in (TENSORFLOW, PORTABLE, PORTABLE_MATMUL)}

# The names of tfrcnn 0.1: of RoIAlign's implementations, which named a whole set, and of NMS's.
RENAMED = {
    "crop_and_resize": "tensorflow",
    "gather": "portable",
    "matmul": "portable_matmul",
    "combined": "tensorflow",
    "padded": "portable",
}


def find_kernels(kernels: Kernels | str, stacklevel: int = 4) -> Kernels:
    """Return a set of kernels by its name; a `Kernels` is returned unchanged.

    Args:
        kernels: "tensorflow", "portable", "portable_matmul", or a set.
        stacklevel: frames to the caller's code, for the warning about an old name; 4 is the caller of the function
            that calls this one.

    Raises:
        InputError: no set has this name.

    Example:
        find_kernels("portable").compiles  # True
    """
    if isinstance(kernels, Kernels):
        return kernels
    if kernels in RENAMED:
        warn_deprecated(f"the implementation {kernels!r}", f"kernels={RENAMED[kernels]!r}", stacklevel)
    name = RENAMED.get(kernels, kernels)
    if name not in _BY_NAME:
        expected = ", ".join(_BY_NAME)
        raise InputError(
            f"kernels must be one of {expected} or a tfrcnn.kernels.Kernels, found {name!r}; for a .keras file of a "
            "detector with kernels of your own, call build_detector(config, kernels=...) and its load_weights(file)"
        )
    return _BY_NAME[name]
