"""A double of `vllm serve`: its options are parsed as strictly; it answers /health, /version and /v1/models."""

from __future__ import annotations

import argparse
import http.server
import json
import os
import sys
from dataclasses import fields
from typing import Any

from vllm.engine.arg_utils import EngineArgs


def main() -> None:
    parser = argparse.ArgumentParser(prog="vllm", allow_abbrev=False)
    serve = parser.add_subparsers(required=True).add_parser("serve", allow_abbrev=False)
    serve.add_argument("model")
    serve.add_argument("--host")
    serve.add_argument("--port", type=int)
    for name in {field.name for field in fields(EngineArgs)} - {"model"}:
        option = f"--{name.replace('_', '-')}"
        is_flag = name.startswith("enable_") or name in {"enforce_eager", "async_scheduling", "trust_remote_code"}
        extra: dict[str, Any] = {"action": argparse.BooleanOptionalAction} if is_flag else {"type": plain}
        serve.add_argument(option, dest=name, default=None, **extra)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    host, port = given.pop("host"), given.pop("port")
    EngineArgs(**given).create_engine_config()
    if "VLLM_CACHE_ROOT" not in os.environ:
        sys.exit("double: VLLM_CACHE_ROOT is not set")
    sys.stdout.write("double of vllm serve\n")
    sys.stdout.flush()
    http.server.HTTPServer((host, port), handler(given["model"])).serve_forever()


def plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def handler(model: str) -> type[http.server.BaseHTTPRequestHandler]:
    answers = {"/health": {}, "/version": {"version": "0.26.0+double"}, "/v1/models": {"data": [{"id": model}]}}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200 if self.path in answers else 404, answers.get(self.path, {}))

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            is_right = self.path == "/v1/completions" and asked["model"] == model
            usage = {"prompt_tokens": len(asked["prompt"]), "completion_tokens": asked["max_tokens"]}
            self._answer(200 if is_right else 404, {"id": "double", "usage": usage})

        def _answer(self, status: int, answer: dict[str, Any]) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


if __name__ == "__main__":
    main()
