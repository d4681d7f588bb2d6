"""Fixtures shared by all tests."""

import ctypes
import gc
import os
import shutil
import sys
import warnings
from collections import Counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path
from typing import Any

import pytest

# Folders whose files share a fixture of the session that takes long, and those whose tests run networks.
SHARED = ("tests/export/onnx/", "tests/export/saved_model/")
NETWORKS = ("tests/cli/", "tests/export/", "tests/models/", "tests/training/")

# `browser` starts the first of these that is on PATH.
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Return the folder of real test data, or skip the test if it is not set."""
    root = os.environ.get("TFRCNN_TEST_DATA")
    if not root:
        pytest.skip("TFRCNN_TEST_DATA is not set: this test needs the real data sets")
    return Path(root)


def scope_of(nodeid: str) -> str:
    """Return the file of a test, or the folder whose files share a costly fixture: one worker runs all of it."""
    path = nodeid.split("::")[0]
    return next((folder for folder in SHARED if path.startswith(folder)), path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For `--dist loadfile`: give whole scopes to the workers, in the order of `pytest_collection_modifyitems`."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scopes(LoadFileScheduling):
        _split_scope = staticmethod(scope_of)

    config.option.loadscopereorder = False
    return Scopes(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the scopes that have most slow tests, then those that run networks: no worker ends long after."""
    slow = Counter(scope_of(item.nodeid) for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (-slow[scope_of(item.nodeid)], not item.nodeid.startswith(NETWORKS)))


@pytest.fixture(scope="module", autouse=True)
def _memory_is_given_back():
    """Return memory to the system after each file: the converters take gigabytes, and one process runs many files.

    Objects that outlive a file stay to the end (modules, caches). They are frozen, so that no later collection
    visits millions of them again.
    """
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a library may leave files open; the next file's tests must not fail for it
        gc.collect()
    gc.freeze()
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
