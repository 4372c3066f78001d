"""The bridge's server with its HTTP side as a thread of the engine's process: `bridge_cost.py` compares the two."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from pathlib import Path

from perfgate.engines import bridge_server
from perfgate.engines.bridge_front import limits_of, serve
from perfgate.engines.bridge_job import Job
from perfgate.record import decode


def start_thread(job_path: Path, line: socket.socket, listener: socket.socket) -> bridge_server.Ending:
    """Serve in a thread; returns how its end is awaited."""
    limits, own = limits_of(decode(job_path.read_bytes(), Job, job_path)), listener.dup()
    front = threading.Thread(target=lambda: asyncio.run(serve(limits, line, own)), daemon=True)
    front.start()
    return front.join


if __name__ == "__main__":
    sys.exit(bridge_server.main(sys.argv[1], start_thread))
