"""Better detections from the same detector: several views of each picture, merged. NumPy only.

A view is a part of the picture, at a scale, mirrored or not. `Views` says which views to look at, `ViewPredictor` lets
any predictor look at them, and `merge` makes one list of what it sees.
"""

from __future__ import annotations

from tfrcnn.views.merge import merge
from tfrcnn.views.plan import View, Views
from tfrcnn.views.predictor import ViewPredictor
from tfrcnn.views.region import Region, read_region

__all__ = ["Region", "View", "ViewPredictor", "Views", "merge", "read_region"]
