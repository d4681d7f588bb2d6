"""Run exported detectors: ONNX, TFLite and OpenVINO files need neither TensorFlow nor Keras.

    import tfrcnn.runtime

    detector = tfrcnn.runtime.load("cells.onnx")
    detections = detector.detect("picture.jpg")
    detections.boxes  # [N, 4] yxyx pixels of the upright picture

`load` imports numpy, Pillow and the runtime of the file. It is `tfrcnn.export.load`. Run folders and SavedModels run in
TensorFlow, which they import.
"""

from tfrcnn.export.runtimes import ArtefactPredictor, load
from tfrcnn.installed import check_distribution

__all__ = ["ArtefactPredictor", "load"]

check_distribution()
