"""Names Parquet files that cannot be read: for damaged ones pyarrow raises errors of many kinds, of several lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfrcnn.errors import InputError, reason_of


@contextmanager
def named(path: Path, fault: str, advice: str = "") -> Iterator[None]:
    """Turn errors of a damaged Parquet file into one that names it; faults of the disk stay as they are.

    Args:
        path: the file that the block reads.
        fault: what is wrong, for example "cannot be read".
        advice: what to do, with the sign in front.

    Raises:
        InputError: the file is damaged.
    """
    import pyarrow

    try:
        yield
    except InputError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(f"{path}: {fault}: {reason_of(error)}{advice}") from error
