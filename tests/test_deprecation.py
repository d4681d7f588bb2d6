"""Deprecated names warn at the caller's line."""

import pytest

from tfrcnn.deprecation import warn_deprecated


def test_the_warning_names_old_and_new_and_points_at_the_caller():
    def old_name():
        warn_deprecated("old_name()", "new_name()")

    with pytest.warns(DeprecationWarning, match=r"old_name\(\) is deprecated.*use new_name\(\) instead") as caught:
        old_name()
    assert caught[0].filename == __file__
