"""The connections of a run: opened before the clock starts, reused, replaced."""

from __future__ import annotations

import contextlib
import resource
import select
import time

from perfgate.errors import UsageError
from perfgate.load.connection import ANCILLARY_BYTES, READ_BYTES, Connection, Endpoint, State

_AT_ONCE = 64  # handshakes under way while opening: more overflow a listener's queue, and wait a second for it
_OTHER_DESCRIPTORS = 64
_MOST_DESCRIPTORS = 1 << 20


class Pool:
    """Connections by descriptor, and those among them that are idle. The loop reads `connections` and `epoll`."""

    def __init__(self, where: Endpoint, connect_s: float) -> None:
        self.epoll = select.epoll()
        self.connections: dict[int, Connection] = {}
        self.idle: list[Connection] = []
        self.opened = 0
        self._where, self._connect_s = where, connect_s

    def open(self, count: int) -> int:
        """Open so many connections, and wait for them; returns how many stand. Failures are left to the run.

        Raises:
            UsageError: the system allows this process too few descriptors.
        """
        _allow_descriptors(count + _OTHER_DESCRIPTORS)
        deadline = time.monotonic() + self._connect_s
        try:
            while len(self.idle) < count and time.monotonic() < deadline:
                while len(self.connections) < min(count, len(self.idle) + _AT_ONCE):
                    self.connect()
                for fd, _ in self.epoll.poll(0.05):
                    conn = self.connections[fd]
                    (self.advance if conn.state is State.OPENING else self.hear)(conn)
        except OSError:
            pass  # the server is not there or takes no more: the requests will tell, each for itself
        return len(self.idle)

    def take(self) -> Connection:
        """An idle connection, the last used first; else one that begins to open.

        Raises:
            OSError: none can be opened.
        """
        return self.idle.pop() if self.idle else self.connect()

    def spare(self, count: int) -> None:
        """See that so many connections are idle or on the way to it; what cannot be opened is left to later."""
        opening = sum(conn.state is State.OPENING and conn.index is None for conn in self.connections.values())
        with contextlib.suppress(OSError):
            for _ in range(count - len(self.idle) - opening):
                self.connect()

    def connect(self) -> Connection:
        """Begin to open a connection.

        Raises:
            OSError: none can be opened.
        """
        conn = Connection(self.opened, self._where)
        self.opened += 1
        self.connections[conn.fd] = conn
        self.epoll.register(conn.fd, conn.mask)
        return conn

    def advance(self, conn: Connection) -> None:
        """A step of opening; a connection that stands and has no request becomes idle.

        Raises:
            OSError: it failed, and was dropped if it has no request.
        """
        mask = conn.mask
        try:
            is_open = conn.advance()
        except OSError:
            if conn.index is None:
                self.drop(conn)
            raise
        if conn.mask != mask:
            self.epoll.modify(conn.fd, conn.mask)
        if is_open and conn.index is None:
            self.idle.append(conn)

    def hear(self, conn: Connection) -> bool:
        """An idle connection has something to say: drop it if it is closed or holds data; whether it held data."""
        try:
            data = conn.recvmsg(READ_BYTES, ANCILLARY_BYTES)[0]
        except BlockingIOError:  # nothing for us, such as a TLS session ticket
            return False
        except OSError:
            data = b""
        self.drop(conn)
        return bool(data)

    def watch(self, conn: Connection) -> None:
        """Have epoll look for what the connection now needs."""
        self.epoll.modify(conn.fd, conn.mask)

    def give_back(self, conn: Connection) -> None:
        conn.state = State.IDLE
        self.idle.append(conn)

    def drop(self, conn: Connection) -> None:
        """Close a connection; nothing of it is left."""
        del self.connections[conn.fd]
        if conn in self.idle:
            self.idle.remove(conn)
        self.epoll.unregister(conn.fd)
        conn.sock.close()

    def close(self) -> None:
        for conn in tuple(self.connections.values()):
            self.drop(conn)
        self.epoll.close()


def _allow_descriptors(count: int) -> None:
    """Take all descriptors that the system allows: an open loop may need more than it begins with."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    if most < count:
        raise UsageError(
            f"so many connections need {count} open files, found a limit of {hard}; "
            f"raise it (ulimit -Hn {count}), lower the concurrency or take more shards"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
