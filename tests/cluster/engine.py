"""An engine to put load on: answers two requests at a time, each after two seconds, and tells vLLM's gauges of them.

    python engine.py MODEL

It loads nothing, so that several fit on two cores. What vLLM calls its gauges is held by
tests/serving/kserve/test_backend.py.
"""

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOTS, SECONDS = 2, 2.0
TOLD = 'vllm:num_requests_{state}{{engine="0",model_name="{model}"}} {number}.0\n'


class Engine(BaseHTTPRequestHandler):
    """Every POST is a request to the model; every GET gets how many there are."""

    protocol_version = "HTTP/1.1"
    slots = threading.Semaphore(SLOTS)
    lock = threading.Lock()
    held = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._count(1)
        with self.slots:
            time.sleep(SECONDS)
        self._count(-1)
        self._answer("{}")

    def do_GET(self) -> None:
        numbers = {"running": min(self.held, SLOTS), "waiting": max(self.held - SLOTS, 0)}
        self._answer("".join(TOLD.format(state=s, model=sys.argv[1], number=n) for s, n in numbers.items()))

    def _count(self, change: int) -> None:
        with self.lock:
            Engine.held += change

    def _answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8080), Engine).serve_forever()
