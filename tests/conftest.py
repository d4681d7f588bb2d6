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
    """Return the folder of real test data, or skip the test if it is not set."""
    root = os.environ.get("TFRCNN_TEST_DATA")
    if not root:
        pytest.skip("TFRCNN_TEST_DATA is not set: this test needs the real data sets")
    return Path(root)


@pytest.fixture(scope="module", autouse=True)
def _memory_is_given_back():
    """Return memory to the system after each file: the converters take gigabytes, and one process runs many files."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a library may leave files open; the next file's tests must not fail for it
        gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
