"""What threads and forked processes do with one loaded detector."""

import os
import select
import signal
import threading

import numpy as np

from tfrcnn.errors import InputError

THREADS, ROUNDS = 8, 4


def picture(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


PICTURES = [picture((90, 120), 1), picture((90, 120), 2), picture((64, 150), 3), picture((1, 200), 4)]
BAD = [
    np.zeros((1, 90, 120, 3), np.uint8),
    np.zeros((3, 90, 120), np.uint8),
    PICTURES[0] / 255,
    np.full((90, 120, 3), np.nan),
    PICTURES[0].astype(np.uint16) * 257,
    np.zeros((0, 3), np.uint8),
    "nothing.jpg",
    b"nothing",
    None,
]


def assert_threads_can_share(call, pictures=PICTURES, fields=("boxes", "scores", "labels"), seconds=60):
    """Call from eight threads, with good and bad images mixed: right answers, one `InputError` per bad one, no hang."""
    expected = [call(image) for image in pictures]
    wrong = []

    def work(number):
        rng = np.random.default_rng(number)
        for _ in range(ROUNDS):
            try:
                call(BAD[rng.integers(len(BAD))])
                wrong.append("a bad image passed")
            except InputError:
                pass
            i = rng.integers(len(pictures))
            actual = call(pictures[i])
            for field in fields:
                np.testing.assert_allclose(getattr(actual, field), getattr(expected[i], field), atol=1e-3)

    def caught(number):
        try:
            work(number)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=caught, args=[number], daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    assert wrong == []


def in_forked_child(call, seconds=30):
    """Call in a forked child; return "done", the text of its error, or "hangs"."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            call()
            answer = "done"
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    ready, _, _ = select.select([reading], [], [], seconds)
    answer = os.read(reading, 10_000).decode() if ready else "hangs"
    os.close(reading)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return answer
