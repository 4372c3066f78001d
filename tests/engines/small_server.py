"""A small HTTP server that behaves as its arguments say: the child of tests of server control.

Usage: small_server.py PORT [--ready-after S] [--die-after S] [--ignore-signals] [--children N] [--flood BYTES]
       [--no-health] [--say TEXT] [--pids FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ANSWERS = {
    "/version": {"version": "9.8.7"},
    "/v1/models": {"object": "list", "data": [{"id": "small", "object": "model"}]},
    "/server_info": {"max_num_tokens": 8192, "api_key": "sk-not-to-be-seen", "nested": [{"hf_token": "hf_hidden"}]},
}


def main() -> None:
    wish = arguments()
    begin = time.monotonic()
    if wish.ignore_signals:
        for sign in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sign, signal.SIG_IGN)
    pids = [os.getpid(), *(grandchild(detached=bool(number % 2)) for number in range(wish.children))]
    if wish.pids:
        Path(wish.pids).write_text(json.dumps(pids))
    say(f"starting with {wish.say}")
    for _ in range(wish.flood // 1000):
        sys.stdout.write("x" * 999 + "\n")
    say("the last line")
    if wish.die_after is not None:
        threading.Timer(wish.die_after, lambda: os._exit(3)).start()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", wish.port), handler(wish, begin))
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--ready-after", type=float, default=0.0)
    parser.add_argument("--die-after", type=float)
    parser.add_argument("--ignore-signals", action="store_true")
    parser.add_argument("--children", type=int, default=0)
    parser.add_argument("--flood", type=int, default=0)
    parser.add_argument("--no-health", action="store_true")
    parser.add_argument("--say", default="nothing")
    parser.add_argument("--api-key")
    parser.add_argument("--pids")
    return parser.parse_args()


def grandchild(*, detached: bool) -> int:
    """A process that outlives us and hears no polite signal; a detached one has a session of its own."""
    words = "import signal, time; [signal.signal(s, signal.SIG_IGN) for s in (2, 15)]; time.sleep(60)"
    return subprocess.Popen([sys.executable, "-c", words], start_new_session=detached).pid


def handler(wish: argparse.Namespace, begin: float) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_ready = time.monotonic() - begin >= wish.ready_after
            if self.path == "/health" and not wish.no_health:
                self.answer(200 if is_ready else 503, b"")
            elif self.path in ANSWERS:
                self.answer(200 if is_ready else 503, json.dumps(ANSWERS[self.path]).encode())
            else:
                self.answer(404, b"not here")

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


if __name__ == "__main__":
    main()
