"""A worker without a model, to test the server: the body {"sleep": S, "say": X} is answered by X after S seconds.

    python fake_worker.py SECONDS_TO_LOAD

{"die": true} ends it without an answer.
"""

import json
import os
import sys
import threading
import time

from tfrcnn.export.serving.protocol import ANSWER
from tfrcnn.export.serving.worker import Answers, _receive


class Requests:
    """Takes the place of the queue: each request runs in a thread."""

    def put(self, request):
        threading.Thread(target=answer, args=request, daemon=True).start()


def answer(number, deadline, body):
    content = json.loads(body)
    if content.get("die"):
        os._exit(9)
    time.sleep(content.get("sleep", 0))
    answers.send(number, 200, json.dumps({"predictions": [content.get("say")]}).encode())


answers = Answers(os.fdopen(os.dup(1), "wb"))
threading.Thread(target=_receive, args=(sys.stdin.buffer, Requests()), daemon=True).start()
time.sleep(float(sys.argv[1]))
answers.stream.write(ANSWER.pack(0, 200, 2) + b"{}")
answers.stream.flush()
threading.Event().wait()
