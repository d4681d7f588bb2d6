"""Locks of runtimes, and processes that are forked while threads detect."""

import subprocess
import sys

# In a process without TensorFlow: each fork copies the page tables, of gigabytes in the process of the tests.
SCRIPT = """
import os
import sys
import threading

from tfrcnn.export.sharing import make_lock

THREADS, FORKS = 6, 25
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
assert "tensorflow" not in sys.modules
"""


def test_threads_that_fork_at_the_same_time_leave_all_locks_free():
    process = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=120)
    assert process.returncode == 0, process.stderr
