"""https: certificates change on reload; connections, whose keys cannot travel, are let go politely."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from hitless.load import Load, Share, get
from serve.certificates import make_certificate, organisation, trusting
from serve.clients import Held, fetch, in_flight_now, open_gate, place, reload, state, write_teller
from serve.service import running, wait_for
from serve.test_changes import beside


def test_the_certificate_changes_and_requests_in_flight_are_answered(tmp_path: Path) -> None:
    write_teller(tmp_path)
    old, old_key = make_certificate(tmp_path, "old")
    new, new_key = make_certificate(tmp_path, "new")
    client = trusting(old, new)
    path = tmp_path / "s"
    bind = ["127.0.0.1:0", f"unix:{path}"]
    with running(tmp_path, bind=bind, tls__certificate=str(old), tls__key=str(old_key)) as service:
        where = place(service)
        assert fetch(path).json["scheme"] == "http", "a Unix socket speaks plainly"
        with Held(where, tls=client) as idle, Held(where, tls=client) as busy:
            assert idle.ask().json["scheme"] == "https"
            assert isinstance(idle.sock, ssl.SSLSocket)
            assert organisation(idle.sock) == "old"
            busy.send("/gate")
            wait_for(lambda: in_flight_now(service) == 1, 20, what="a request in flight")
            reload(service, tls__certificate=str(new), tls__key=str(new_key))
            with Held(where, tls=client) as fresh:
                assert isinstance(fresh.sock, ssl.SSLSocket)
                assert organisation(fresh.sock) == "new"
                assert fresh.ask().status == 200
            open_gate(service)
            answer = busy.receive()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            idle.sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            # To the end, in order: a reset would raise.
            words = b"".join(iter(lambda: idle.sock.recv(65536), b""))
            assert b"connection: close\r\n" in words
            assert words.startswith(b"HTTP/1.1 200")
        wait_for(lambda: not state(service)["drains"], 10, what="the end of the drain")
        assert "connection.cut" not in service.log


async def test_https_clients_lose_no_request_over_reloads(tmp_path: Path) -> None:
    """The weaker promise: their connections are closed, but only with word of it, or while they are idle."""
    write_teller(tmp_path)
    certificate, key = make_certificate(tmp_path, "one")
    with running(tmp_path, workers=2, tls__certificate=str(certificate), tls__key=str(key)) as service:
        host, port = place(service)
        mix = [Share(1.0, get("/"))]
        async with Load(f"https://{host}:{port}", clients=16, think=(0, 0.2), mix=mix) as load:
            await load.warm()
            for _ in range(3):
                await beside(reload, service)
                await load.more(60)
        report = await load.stop()
        assert report.failed == 0, report.as_json()
        assert {close.value for close, count in report.total.closes.items() if count} <= {"polite"}


def test_http_becomes_https_on_the_same_address_and_back(tmp_path: Path) -> None:
    """A connection that has begun in plain text is never met with a handshake."""
    write_teller(tmp_path)
    certificate, key = make_certificate(tmp_path, "one")
    with running(tmp_path) as service:
        where = place(service)
        with Held(where) as plain:
            assert plain.ask().json["scheme"] == "http"
            reload(service, tls__certificate=str(certificate), tls__key=str(key))
            assert place(service) == where
            answer = plain.ask()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
        with Held(where, tls=trusting(certificate)) as secret:
            assert secret.ask().json["scheme"] == "https"
            reload(service, tls__certificate=None, tls__key=None)
            answer = secret.ask()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert fetch(where).json["scheme"] == "http"


async def test_a_handshake_that_is_never_finished_holds_no_drain_up(tmp_path: Path) -> None:
    write_teller(tmp_path)
    certificate, key = make_certificate(tmp_path, "one")
    settings = {"tls__certificate": str(certificate), "tls__key": str(key), "timeouts__header": "500ms"}
    with running(tmp_path, drain__timeout="20s", **settings) as service:
        _reader, writer = await asyncio.open_connection(*place(service))
        try:
            await beside(reload, service)
            await beside(wait_for, lambda: not state(service)["drains"], 10, what="the end of the drain")
        finally:
            writer.close()
