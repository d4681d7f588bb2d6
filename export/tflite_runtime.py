"""Old name of `tfrcnn.export.tflite.runtime`; works until 0.3.0."""

from ..deprecation import warn_deprecated
from .tflite.runtime import TFLiteRuntime as TFLiteRuntime
from .tflite.runtime import letterbox as letterbox

warn_deprecated("tfrcnn.export.tflite_runtime", "tfrcnn.export.tflite.runtime")
