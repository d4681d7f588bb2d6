"""The metrics of COCO and Pascal VOC, recall of proposals, and their tables; `tfrcnn.drawing` has the figures."""
