"""https and proxies: the same loop over a connection that takes longer to open."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from fake_server import FakeProxy, FakeServer, Manner
from running import QUICK, asks, load, one, target

from perfgate.errors import UsageError
from perfgate.load.ask import LoadPlan
from perfgate.load.request import FaultKind
from perfgate.load.target import Target

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    files = [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(folder / "key.pem"),
        "-out",
        str(folder / "cert.pem"),
    ]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return folder / "cert.pem"


def context(certificate: Path) -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return found


@needs_openssl
@pytest.mark.parametrize("piece_bytes", [None, 7])
def test_a_load_over_tls_is_measured_alike(tmp_path: Path, certificate: Path, piece_bytes: int | None) -> None:
    with FakeServer(Manner(itl_s=0.003, piece_bytes=piece_bytes), context(certificate)) as server:
        result = load(target(server, ca_file=str(certificate)), LoadPlan(asks(10, tokens=3), 3), tmp_path)

    assert [one.fault for one in result.records] == [None] * 10
    assert "TLS" in result.path
    assert server.connections == 3


@needs_openssl
def test_new_connections_over_tls_are_opened_while_the_clock_runs(tmp_path: Path, certificate: Path) -> None:
    with FakeServer(Manner(keep_alive=False), context(certificate)) as server:
        result = load(target(server, ca_file=str(certificate)), LoadPlan(asks(6), 2), tmp_path)

    assert [one.fault for one in result.records] == [None] * 6


@needs_openssl
def test_a_large_body_passes_tls(tmp_path: Path, certificate: Path) -> None:
    (ask,) = asks(1)
    large = type(ask)({**ask.body, "prompt": list(range(500_000))}, 500_000, 4)
    with FakeServer(Manner(), context(certificate)) as server:
        (record,) = load(target(server, ca_file=str(certificate)), LoadPlan((large,), 1), tmp_path).records

    assert record.fault is None
    assert len(server.served[0].body["prompt"]) == 500_000


@needs_openssl
@pytest.mark.parametrize("fault", ["reset", "close"])
def test_a_connection_lost_within_tls_is_a_fault(tmp_path: Path, certificate: Path, fault: str) -> None:
    with FakeServer(Manner(always=fault), context(certificate)) as server:
        record = one(server, tmp_path, ca_file=str(certificate))

    assert record.fault
    assert record.fault.kind in {FaultKind.RESET, FaultKind.DROPPED}


@needs_openssl
def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path, certificate: Path) -> None:
    with FakeServer(Manner(), context(certificate)) as server:
        record = one(server, tmp_path)

    assert record.fault
    assert record.fault.kind is FaultKind.REFUSED
    assert "certificate verify failed" in record.fault.found


def test_certificates_that_are_not_there_are_told(tmp_path: Path) -> None:
    missing = Target("https://127.0.0.1:1", ca_file=str(tmp_path / "none.pem"), timeouts=QUICK)

    with pytest.raises(UsageError, match="ca_file"):
        load(missing, LoadPlan(asks(1), 1), tmp_path)


def test_a_proxy_is_tunnelled_through(tmp_path: Path) -> None:
    with FakeServer(Manner()) as server, FakeProxy() as proxy:
        result = load(target(server, proxy=proxy.url), LoadPlan(asks(4), 2), tmp_path)

    assert [one.fault for one in result.records] == [None] * 4
    assert proxy.asked == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1".encode()] * 2
    assert "tunnel" in result.path


@needs_openssl
def test_tls_goes_through_a_tunnel(tmp_path: Path, certificate: Path) -> None:
    with FakeServer(Manner(), context(certificate)) as server, FakeProxy() as proxy:
        record = one(server, tmp_path, ca_file=str(certificate), proxy=proxy.url)

    assert record.fault is None, record.fault


def test_a_proxy_that_refuses_is_a_fault(tmp_path: Path) -> None:
    with FakeServer(Manner()) as server, FakeProxy(refuses=True) as proxy:
        record = one(server, tmp_path, proxy=proxy.url)

    assert record.fault
    assert record.fault.kind is FaultKind.REFUSED
    assert "403" in record.fault.found
