"""A server that generates at a steady pace: the child of tests of serving workloads.

Usage: serving_server.py PORT [--step-ms MS] [--first-ms MS] [--fail-every N] [--die-after N] [--repeat 1] [--empty 1]
[--pid FILE]
"""

from __future__ import annotations

import argparse
import http.server
import itertools
import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--step-ms", type=float, default=2.0)
    parser.add_argument("--first-ms", type=float, default=5.0)
    parser.add_argument("--fail-every", type=int, default=0)
    parser.add_argument("--die-after", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=0)
    parser.add_argument("--empty", type=int, default=0)
    parser.add_argument("--pid")
    wish = parser.parse_args()
    if wish.pid:
        Path(wish.pid).write_text(str(os.getpid()))
    sys.stderr.write("the server says hello\n")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", wish.port), handler(wish))
    server.daemon_threads = True
    server.serve_forever()


def handler(wish: argparse.Namespace) -> type[http.server.BaseHTTPRequestHandler]:
    answers = {"/health": {}, "/version": {"version": "1.2.3"}, "/v1/models": {"data": [{"id": "tiny"}]}}
    numbers = itertools.count(1)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.whole(200 if self.path in answers else 404, answers.get(self.path, {}))

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            number = next(numbers)
            if wish.die_after and number >= wish.die_after:
                os._exit(7)
            if wish.fail_every and number % wish.fail_every == 0:
                self.whole(500, {"error": "told to fail"})
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.stream(asked, asked["max_tokens"])

        def stream(self, asked: dict[str, object], tokens: int) -> None:
            begin = time.monotonic() + wish.first_ms / 1e3
            for number in range(tokens):
                time.sleep(max(0.0, begin + number * wish.step_ms / 1e3 - time.monotonic()))
                finish = "length" if number == tokens - 1 else None
                usage = {"prompt_tokens": len(list(asked["prompt"])), "completion_tokens": number + 1}  # type: ignore[call-overload]
                text = "!" if wish.repeat else "" if wish.empty else "x" * (number % 7 + 1)
                self.chunk({"choices": [{"index": 0, "text": text, "finish_reason": finish}], "usage": usage})
            self.wfile.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

        def chunk(self, event: object) -> None:
            data = f"data: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

        def whole(self, status: int, plain: object) -> None:
            body = json.dumps(plain).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


if __name__ == "__main__":
    main()
