"""Fixtures shared by all tests."""

import ctypes
import gc
import os
import sys
import warnings

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


@pytest.fixture(scope="module", autouse=True)
def _memory_is_given_back():
    """Return the memory of each file's tests to the system: converters take gigabytes."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # resources that a library left open are not the fault of the next file's tests
        gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
