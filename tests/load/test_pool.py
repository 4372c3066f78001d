from __future__ import annotations

import resource

import pytest
from fake_server import FakeServer, Manner
from running import target

from perfgate.errors import UsageError
from perfgate.load.connection import endpoint
from perfgate.load.pool import Pool


def test_connections_are_open_before_they_are_needed() -> None:
    with FakeServer(Manner()) as server:
        pool = Pool(endpoint(target(server)), 2)
        opened = pool.open(100)
        pool.close()

    assert opened == 100


def test_opening_what_nobody_answers_ends_and_is_no_error() -> None:
    with FakeServer(Manner()) as server:
        where = endpoint(target(server))
    pool = Pool(where, 2)

    assert pool.open(4) == 0
    pool.close()


def test_more_connections_than_the_system_allows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    with FakeServer(Manner()) as server:
        pool = Pool(endpoint(target(server)), 2)

        with pytest.raises(UsageError, match="need 5064 open files, found a limit of 4096"):
            pool.open(5000)

        pool.close()
