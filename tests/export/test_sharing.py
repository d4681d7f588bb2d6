"""Locks of runtimes, and processes that are forked while threads detect."""

import os
import threading

from tfrcnn.export.sharing import make_lock

THREADS, FORKS = 6, 25


def test_threads_that_fork_at_the_same_time_leave_all_locks_free():
    locks = [make_lock() for _ in range(3)]

    def fork():
        for _ in range(FORKS):
            child = os.fork()
            if not child:
                os._exit(0)
            os.waitpid(child, 0)

    threads = [threading.Thread(target=fork, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a fork waits for a lock"

    free = []
    other = threading.Thread(target=lambda: free.extend(lock.acquire(timeout=5) for lock in [*locks, make_lock()]))
    other.start()
    other.join(30)
    assert free == [True] * 4
