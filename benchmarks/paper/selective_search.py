"""Region proposals by Selective Search, to compare with the RPN in notebook 0.

    pip install --target contrib --no-deps opencv-contrib-python-headless
    PYTHONPATH=contrib python benchmarks/paper/selective_search.py --out notebooks/measured/selective_search.json

Selective Search (Uijlings et al., IJCV 2013) is the "fast" mode of OpenCV, as in R-CNN and Fast R-CNN. OpenCV's
contributed modules are a package that replaces `opencv-python-headless`, so it is no requirement of the course.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from sklearn.datasets import load_sample_image

from tfrcnn.data.decode import read_image
from tfrcnn.demo import digit_datasets
from tfrcnn.errors import InputError
from tfrcnn.files import atomic


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", default="notebooks/runs/digits", metavar="DIR", help="see `tfrcnn.demo`")
    parser.add_argument("--scenes", type=int, default=20, metavar="N", help="the first N test scenes")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="JSON file of the results")
    options = parser.parse_args(arguments)
    if not hasattr(cv2, "ximgproc"):
        raise InputError(f"OpenCV {cv2.__version__} has no contributed modules: see the first lines of this program")
    cv2.setNumThreads(1)  # so that the CPU time is the time of one core
    scenes = digit_datasets(options.digits)["test"].examples[: options.scenes]
    results = {
        "opencv": cv2.__version__,
        "machine": platform.machine(),
        "scenes": [{"image_id": example.image_id, **search(read_image(example.path), 10**6)} for example in scenes],
        "photograph": search(load_sample_image("china.jpg"), 40),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with atomic(options.out) as temporary:
        temporary.write_text(json.dumps(results, separators=(",", ":")) + "\n", encoding="utf-8")


def search(image: np.ndarray, limit: int) -> dict[str, Any]:
    """Return the number of boxes of an image, the best `limit` of them, and the CPU time in seconds."""
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(image[..., ::-1]))  # BGR
    search.switchToSelectiveSearchFast()
    cv2.setRNGSeed(0)
    began = time.process_time()
    boxes = search.process()  # [N, 4] of x, y, width, height
    seconds = time.process_time() - began
    corners = [[int(y), int(x), int(y + height), int(x + width)] for x, y, width, height in boxes[:limit]]
    return {"count": len(boxes), "seconds": round(seconds, 3), "boxes": corners}


if __name__ == "__main__":
    main()
