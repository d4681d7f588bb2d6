"""Fixtures shared by all tests."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real test data; the test is skipped where there is none."""
    root = os.environ.get("TFRCNN_TEST_DATA")
    if not root:
        pytest.skip("TFRCNN_TEST_DATA is not set: this test needs the real data sets")
    return Path(root)
