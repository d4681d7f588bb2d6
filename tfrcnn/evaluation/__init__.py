"""How good detections are: the metrics of COCO and Pascal VOC, and their tables and figures.

Names are imported from the modules (`from tfrcnn.evaluation.coco import evaluate_coco`), so that a metric does not
load matplotlib.
"""
