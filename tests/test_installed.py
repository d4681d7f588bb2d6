"""Imports and evaluations without the searches of Python's garbage collector."""

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tfrcnn.installed import collector_paused


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    yield
    gc.enable()


def test_nothing_is_collected_while_the_collector_is_paused() -> None:
    before = [generation["collections"] for generation in gc.get_stats()]
    with collector_paused():
        kept = [[] for _ in range(10 * gc.get_threshold()[0])]  # a search would start after a tenth of them
        assert [generation["collections"] for generation in gc.get_stats()] == before
    kept += [[] for _ in range(10 * gc.get_threshold()[0])]
    assert gc.get_stats()[0]["collections"] > before[0]


def test_collector_works_again_after_an_import_that_fails() -> None:
    with pytest.raises(ImportError), collector_paused():
        raise ImportError
    assert gc.isenabled()


def test_collector_that_the_program_turned_off_stays_off() -> None:
    gc.disable()
    with collector_paused():
        pass
    assert not gc.isenabled()


@pytest.mark.slow
def test_library_imports_tensorflow_without_searches() -> None:
    """The searches while TensorFlow and Keras are imported, about a thousand, are left out."""
    code = "import gc, tfrcnn.models; print(gc.isenabled(), sum(one['collections'] for one in gc.get_stats()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    enabled, searches = done.stdout.split()
    assert enabled == "True"
    assert int(searches) < 100
