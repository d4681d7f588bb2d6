"""Seeds of random streams, derived by name: adding a stream changes no other's draws."""

from __future__ import annotations

import hashlib
from typing import Any

from tfrcnn.config_base import check_whole_number


def check_seed(seed: Any) -> None:
    """Check a seed that a user passes: another type would be drawn from as well, and a text is no number to repeat.

    Raises:
        InputError: it is no whole number, or negative.
    """
    check_whole_number(seed, "seed", 0)


def stream_seed(seed: int, stream: str) -> int:
    """Derive the seed of one stream of random numbers.

    Args:
        seed: of the run.
        stream: the stream's name, for example "horizontal_flip".

    Returns:
        int in 0 .. 2**31 - 1; the same on every machine.
    """
    digest = hashlib.sha256(f"{stream}/{seed}".encode()).digest()
    return int.from_bytes(digest[:4], "little") % 2**31  # TensorFlow's stateless ops take int32
