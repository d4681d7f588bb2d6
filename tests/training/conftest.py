"""Fixture of the tests of runs."""

import pytest

from tfrcnn.training.run import train


@pytest.fixture
def set_up_only(monkeypatch):
    """`train` claims its folder and stops before it trains."""

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("tfrcnn.training.run.start_of", stop)

    def set_up(detector, *arguments, **options):
        with pytest.raises(KeyboardInterrupt):
            train(detector, *arguments, **options)

    return set_up
