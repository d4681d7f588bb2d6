"""A server of an ONNX file in a process, and a browser."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import NamedTuple

import keras
import pytest
import requests

from tfrcnn.config import Category, DetectionConfig
from tfrcnn.export.onnx import to_onnx
from tfrcnn.models import build_detector, preset

NAMES = ("<img src=x onerror=alert('x')>", "\"double\" & 'single'\n\u202egnp", "🦊 fox", "{{plain}}")


class Served(NamedTuple):
    """A server that runs."""

    url: str
    pid: int

    def post(self, route, body):
        return requests.post(f"{self.url}/{route}", data=json.dumps(body), timeout=60)


@pytest.fixture(scope="module")
def onnx_path(tmp_path_factory):
    """A tiny detector with ten detections in every picture, and names that a page must not run."""
    keras.utils.set_random_seed(0)
    config = preset("tiny_fpn", tuple(Category(10 * i, name) for i, name in enumerate(NAMES, start=1))).detector
    detector = build_detector(config.replace(detections=DetectionConfig(score_threshold=0.0, max_detections=10)))
    return to_onnx(detector, tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture(scope="module")
def served(onnx_path):
    """`tfrcnn serve` of that detector, with two workers."""
    with serving(onnx_path, "--workers", "2", "--threads", "1", "--score-threshold", "0.2") as server:
        yield server


@contextmanager
def serving(model, *options):
    """Run `tfrcnn serve` until the end of the block."""
    command = [sys.executable, "-m", "tfrcnn.cli.main", "serve", "--model", model, "--port", "0", *options]
    words = [str(word) for word in command]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment)
    line = next(line for line in process.stderr if line.startswith(("serving", "error")))
    url = f"http://{line.split()[-1]}"
    try:
        for _ in range(1200):
            assert process.poll() is None, "the server ended"
            if requests.get(f"{url}/health", timeout=10).ok:
                break
            time.sleep(0.1)
        yield Served(url, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.stderr.close()
