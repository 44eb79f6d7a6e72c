"""How a rival talks to the benchmark (bench/worker.ts): a JSON request a line on stdin, a JSON answer a line on stdout.

A request is `{"do": name, ...}`, an answer `{"ok": value}` or `{"error": text}`.
"""

import json
import os
import sys
import time


def serve(handlers):
    """Answers requests until stdin ends. `handlers`: by name, a function of the request."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": handlers[request["do"]](request)}
        except Exception as error:  # the benchmark says what failed and goes on with the other rivals
            answer = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def milliseconds(run, repeat=1):
    """Milliseconds of one of `repeat` runs in a row."""
    start = time.perf_counter()
    for _ in range(repeat):
        run()
    return (time.perf_counter() - start) * 1e3 / repeat
