"""The engine as a whole: any bytes, any split; logs, proxies, TLS."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitless.serve.http.access import CLIENT_LEFT
from hitless.serve.http.facts import Facts
from hitless.serve.http.forwarded import Forwarded
from hitless.serve.http.options import HttpOptions
from hitless.serve.http.states import State
from serve.http.apps import Gate, describe, echo, hello, w_echo
from serve.http.wire import GET, Service, Taker, get, post

NO_DEADLINE_NEEDED = {State.ANSWERING, State.OPENING, State.CLOSING}
"""States that wait for us, not for the client; what is queued is watched by the write timeout."""


async def _converse(pieces: list[bytes], interface: str) -> bytes:
    """What a client reads that sends these pieces and closes its side."""
    loop = asyncio.get_running_loop()
    unhandled: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: unhandled.append(context))
    service = Service(w_echo if interface == "wsgi" else echo, interface=interface)
    await service.start()
    try:
        client = await service.connect()
        for piece in pieces:
            await client.send(piece)
            await asyncio.sleep(0)
            for connection in service.engine.connections:
                assert connection.deadline < float("inf") or connection.state in NO_DEADLINE_NEEDED
        client.writer.write_eof()
        try:
            return await client.rest()
        except ConnectionResetError:
            return b""
    finally:
        await service.stop()
        assert unhandled == []
        assert service.errors() == []


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(
        st.one_of(st.binary(max_size=50), st.sampled_from([GET, post(b"abc"), b"\r\n"])), max_size=5
    )
)
def test_garbage_never_breaks_the_engine(interface: str, pieces: list[bytes]) -> None:
    asyncio.run(_converse(pieces, interface))


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 600), max_size=6))
def test_the_split_of_requests_makes_no_difference_to_the_answers(interface: str, cuts: list[int]) -> None:
    data = post(b"one") + GET + post(b"\r\n\r\n") + get("/", "Connection: close")
    places = [0, *sorted({cut % len(data) for cut in cuts}), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(places) if start < end]
    answer = asyncio.run(_converse(pieces, interface))
    bodies = [part.split(b"\r\n\r\n", 1)[1] for part in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert bodies == [b"one", b"", b"\r\n\r\n", b""]


async def test_the_common_log_has_a_line_per_response(serve: Any) -> None:
    service = await serve(hello, access="common")
    client = await service.connect()
    await client.ask(get("/a?b"))
    assert (await client.ask(b"nonsense\r\n\r\n")).status == 400
    first, second = service.access
    assert first.startswith("127.0.0.1 - - [")
    assert first.endswith('] "GET /a?b HTTP/1.1" 200 5')
    assert second.endswith('] "-" 400 0')


async def test_the_json_log_has_an_object_per_response(serve: Any) -> None:
    service = await serve(hello, access="json")
    client = await service.connect()
    reply = await client.ask(get("/", "X-Request-ID: abc-1", "X-Forwarded-For: 192.0.2.9"))
    assert reply["x-request-id"] == "abc-1"
    assert (await client.ask())["x-request-id"] is None
    first, second = (json.loads(line) for line in service.access)
    assert (first["request_id"], first["client"], first["status"], first["bytes"]) == (
        "abc-1",
        "192.0.2.9",
        200,
        5,
    )
    assert (first["method"], first["target"], first["protocol"]) == ("GET", "/", "HTTP/1.1")
    assert 0 <= first["duration_s"] < 10
    assert len(second["request_id"]) == 20


@pytest.mark.parametrize("given_id", ["x" * 129, "a b", "", "ä"])
async def test_an_insane_request_id_is_replaced(serve: Any, given_id: str) -> None:
    service = await serve(hello, access="json")
    reply = await (await service.connect()).ask(
        get("/").replace(b"\r\n\r\n", b"\r\nX-Request-ID: " + given_id.encode() + b"\r\n\r\n")
    )
    assert reply["x-request-id"] is None
    assert json.loads(service.access[0])["request_id"] != given_id


async def test_a_client_that_left_is_logged_as_499(serve: Any) -> None:
    gate = Gate()
    service = await serve(gate, access="json")
    client = await service.connect()
    await client.send(GET)
    await gate.asked.wait()
    client.reset()
    await service.until(lambda: service.access)
    record = json.loads(service.access[0])
    assert (record["status"], record["incomplete"]) == (CLIENT_LEFT, True)
    gate.open.set()


async def test_a_trusted_proxy_speaks_for_its_client(serve: Any) -> None:
    lines = ("X-Forwarded-For: 203.0.113.5, 192.0.2.7", "X-Forwarded-Proto: https")
    for trusted, expected in (
        (["127.0.0.1"], (["192.0.2.7", 0], "https")),
        (["127.0.0.1", "192.0.2.0/24"], (["203.0.113.5", 0], "https")),
        (["*"], (["203.0.113.5", 0], "https")),
        (["10.0.0.0/8"], (None, "http")),
        ([], (None, "http")),
    ):
        service = await serve(describe, forwarded_allow_ips=trusted)
        client = await service.connect()
        scope = json.loads((await client.ask(get("/", *lines))).body)
        client_address = expected[0] or list(client.sock.getsockname())
        assert (scope["client"], scope["scheme"]) == (client_address, expected[1])


async def test_a_proxy_on_a_unix_socket_is_trusted(serve: Any, tmp_path: Path) -> None:
    service = await serve(describe, path=str(tmp_path / "s"))
    scope = json.loads((await (await service.connect()).ask(get("/", "X-Forwarded-For: 192.0.2.7"))).body)
    assert scope["client"] == ["192.0.2.7", 0]


@pytest.mark.parametrize(
    ("allowed", "address", "trusted"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::/32", "2001:db8:1::1", True),
        ("2001:db8::/32", "192.0.2.1", False),
        ("0.0.0.0/0", "192.0.2.1", True),
        ("0.0.0.0/0", "::1", False),
        ("192.0.2.1", "nonsense", False),
        ("*", "nonsense", True),
    ],
)
def test_trust_follows_addresses_and_networks(allowed: str, address: str, trusted: bool) -> None:
    assert Forwarded([allowed]).trusts(address) is trusted


@pytest.mark.parametrize("wrong", ["localhost", "10.0.0.0/33", "10.0.0.0/x", "1.2.3"])
def test_a_proxy_that_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="neither an address nor a network"):
        Forwarded([wrong])


@pytest.mark.parametrize("chain", ["unknown", "a, b", "", "[", "192.0.2.7, nonsense"])
async def test_a_forwarded_chain_that_makes_no_sense_is_not_believed(serve: Any, chain: str) -> None:
    service = await serve(describe)
    client = await service.connect()
    scope = json.loads(
        (await client.ask(get("/", f"X-Forwarded-For: {chain}", "X-Forwarded-Proto: gopher"))).body
    )
    assert scope["client"] == list(client.sock.getsockname())
    assert scope["scheme"] == "http"


def test_facts_survive_json() -> None:
    for peer in (("192.0.2.1", 80), None):
        facts = Facts(listener="main", peer=peer, served=3, opened=1.5)
        assert Facts.from_dict(json.loads(json.dumps(facts.as_dict()))) == facts


def test_options_may_come_from_json() -> None:
    options = HttpOptions(interface="asgi", forwarded_allow_ips=["*"])  # type: ignore[arg-type]
    assert options.forwarded_allow_ips == ("*",)


@pytest.fixture(scope="session")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server and of a client that trusts it."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    )
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=str(certificate))


async def test_tls_is_served_and_never_offered(serve: Any, contexts: Any) -> None:
    service = await serve(describe, context=contexts[0], linger=5.0)
    client = await service.connect(context=contexts[1])
    assert json.loads((await client.ask()).body)["scheme"] == "https"
    assert json.loads((await client.ask(post(b"x" * 100_000))).body)["body"] == "x" * 100_000
    assert service.only.stays_because() == "it is encrypted"
    taker = Taker(service)
    service.engine.drain(taker)
    assert (await client.ask())["connection"] == "close"
    assert await client.closed()
    assert taker.offered == []


async def test_a_failed_handshake_leaves_nothing_behind(serve: Any, contexts: Any) -> None:
    service = await serve(hello, context=contexts[0])
    client = await service.connect()
    await client.send(GET)
    await client.rest()
    await service.until(lambda: not service.engine.connections)


async def test_a_handshake_that_is_never_begun_is_given_up(serve: Any, contexts: Any) -> None:
    service = await serve(hello, context=contexts[0], header_timeout=0.05)
    client = await service.connect()
    await client.rest()
    await service.until(lambda: not service.engine.connections)


async def test_a_handshake_in_progress_is_cut_at_the_deadline(serve: Any, contexts: Any) -> None:
    service = await serve(hello, context=contexts[0])
    await service.connect()
    await service.until(lambda: service.engine.connections)
    service.engine.drain(None)
    assert len(service.engine.cut()) == 1
    await asyncio.wait_for(service.empty.wait(), 5)


async def test_a_wildcard_listener_names_the_address_that_the_client_used(serve: Any) -> None:
    service = await serve(describe)
    service.listener = type(service.listener)("main", "http", ("0.0.0.0", service.address[1]))
    scope = json.loads((await (await service.connect()).ask()).body)
    assert scope["server"] == list(service.address)


async def test_a_socket_that_died_before_it_was_opened_is_forgotten(serve: Any) -> None:
    service = await serve(hello)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.close()
    service.engine.accept(ours, service.listener)
    await service.until(lambda: not service.engine.connections)


async def test_counters_add_up(serve: Any) -> None:
    service = await serve(hello)
    client = await service.connect()
    await client.ask()
    await client.ask(b"nonsense\r\n\r\n")
    counted = service.engine.counters.as_dict()
    assert counted["requests"] == 1
    assert counted["responses_2xx"] == counted["responses_4xx"] == counted["connections_opened"] == 1
    assert all(isinstance(value, int) for value in counted.values())
