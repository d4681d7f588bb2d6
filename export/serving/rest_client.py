"""Detect over REST, with TensorFlow Serving or server.py.

    python rest_client.py picture.jpg other.png --url http://localhost:8501/v1/models/detector

Needs only requests.
"""

from __future__ import annotations

import argparse
import base64
from pathlib import Path
from typing import Any

import requests


def predict(url: str, files: list[bytes], timeout: float = 60.0) -> list[dict[str, Any]]:
    """Detect in image files.

    Args:
        url: The model, http://HOST:PORT/v1/models/NAME.
        files: The bytes of each file.
        timeout: Seconds to wait for an answer.

    Returns:
        A dict per file: detection_boxes [D][4], detection_classes [D], detection_scores [D], num_detections.

    Raises:
        requests.HTTPError: The server refused; the message has its reason.
    """
    body = request_body(files)
    answer = requests.post(f"{url}:predict", json=body, timeout=timeout)
    if not answer.ok:
        kind = answer.headers.get("Content-Type", "")
        reason = answer.json().get("error") if kind.startswith("application/json") else answer.text
        raise requests.HTTPError(f"{answer.status_code}: {reason}", response=answer)
    return list(answer.json()["predictions"])


def request_body(files: list[bytes]) -> dict[str, Any]:
    """Build the JSON of a request; bytes travel as {"b64": ...}."""
    return {
        "signature_name": "encoded",
        "instances": [{"b64": base64.b64encode(data).decode("ascii")} for data in files],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--url", default="http://localhost:8501/v1/models/detector")
    parser.add_argument("--score", type=float, default=0.5, help="print scores above this (default: %(default)s)")
    options = parser.parse_args()
    predictions = predict(options.url, [path.read_bytes() for path in options.images])
    for path, image in zip(options.images, predictions):
        for i in range(round(image["num_detections"])):
            if image["detection_scores"][i] > options.score:
                box = " ".join(f"{side:.4f}" for side in image["detection_boxes"][i])
                print(
                    f"{path}: category {image['detection_classes'][i]:.0f}, {image['detection_scores'][i]:.3f}, {box}"
                )


if __name__ == "__main__":
    main()
