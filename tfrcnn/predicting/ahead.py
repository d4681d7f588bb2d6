"""Runs tasks in threads, ahead of the loop that takes their results, and never more than a few."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")


def run_ahead(executor: Executor, tasks: Iterable[Callable[[], T]], depth: int) -> Generator[Future[T], None, None]:
    """Run tasks in an executor, at most `depth` before their results are taken.

    Args:
        executor: the threads.
        tasks: taken one by one, as there is room. If the iterable raises an error, the results of the tasks before are
            yielded first.
        depth: maximum number of tasks that run, wait, or have a result that is not taken yet.

    Yields:
        The futures, in the order of the tasks. A future that is yielded may still run.

    Example:
        with ThreadPoolExecutor(2) as executor:
            for image in run_ahead(executor, [partial(read_image, path) for path in paths], depth=4):
                print(image.result().shape)
    """
    ahead: deque[Future[T]] = deque()
    iterator = iter(tasks)
    try:
        while True:
            try:
                task = next(iterator)
            except StopIteration:
                break
            except BaseException:
                while ahead:
                    yield ahead.popleft()
                raise
            ahead.append(executor.submit(task))
            if len(ahead) >= depth:
                yield ahead.popleft()
        while ahead:
            yield ahead.popleft()
    finally:
        for future in ahead:
            future.cancel()
