"""tensorflow-addons, where it imports."""

import warnings

import pytest


@pytest.fixture(scope="session")
def tfa():
    """Return tensorflow-addons, or skip the test."""
    with warnings.catch_warnings(action="ignore"):  # that it has reached its end of life
        return pytest.importorskip(
            "tensorflow_addons",
            reason="tensorflow-addons imports next to TensorFlow 2.15 only: make test-lane TF=2.15",
            exc_type=ImportError,
        )
