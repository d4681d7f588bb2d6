"""Fixtures shared by all tests."""

import ctypes
import gc
import os
import shutil
import sys
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path

import pytest

# `browser` starts the first of these that is on PATH.
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")


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


@pytest.fixture(scope="module")
def browser():
    """Return a headless Chromium of the system or of Playwright, or skip the test."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser, it is not installed")
    installed = next(filter(None, map(shutil.which, BROWSERS)), None)
    with playwright.sync_playwright() as driver:
        if installed is None and not Path(driver.chromium.executable_path).exists():
            pytest.skip(f"no Chromium is installed: found none of {', '.join(BROWSERS)} on PATH")
        with warnings.catch_warnings(action="ignore"):  # of the driver's event loop
            chromium = driver.chromium.launch(executable_path=installed, args=["--no-sandbox"])
            yield chromium
            chromium.close()
