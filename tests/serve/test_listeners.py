from __future__ import annotations

import asyncio
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hitless.change import Deadline, Refused
from hitless.serve.addresses import PATH_BYTES, Address, addresses, look_up, parse
from hitless.serve.binding import remove_path
from hitless.serve.listeners import Listeners, Prepared


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    it = Listeners()
    yield it
    it.close_all()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def opened(listeners: Listeners, *binds: str, backlog: int = 16) -> Prepared:
    where = asyncio.run(look_up(listeners.unopened(binds), Deadline.after(10), listeners.setting))
    return listeners.open(binds, backlog=backlog, where=where)


def put(listeners: Listeners, *binds: str, backlog: int = 16) -> None:
    """Opens and commits, and closes what is no longer named: what a change does."""
    for gone in listeners.commit(opened(listeners, *binds, backlog=backlog)):
        gone.sock.close()
        remove_path(gone)


def port_of(listeners: Listeners, number: int = 0) -> int:
    port: int = list(listeners)[number].sock.getsockname()[1]
    return port


def answers(where: tuple[str, int] | str) -> bool:
    family = (
        socket.AF_UNIX if isinstance(where, str) else socket.AF_INET6 if ":" in where[0] else socket.AF_INET
    )
    with socket.socket(family) as client:
        try:
            client.connect(where)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True


def refusal(listeners: Listeners, *binds: str) -> Refused:
    before = descriptors()
    with pytest.raises(Refused) as caught:
        opened(listeners, *binds)
    assert descriptors() == before, "nothing stays open"
    return caught.value


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("tcp:127.0.0.1:80", "tcp", host="127.0.0.1", port=80)),
        ("localhost:0", Address("tcp:localhost:0", "tcp", host="localhost")),
        (":8000", Address("tcp:0.0.0.0:8000", "tcp", host="0.0.0.0", port=8000)),
        ("[::1]:65535", Address("tcp:[::1]:65535", "tcp", host="::1", port=65535)),
        ("[fe80::1%eth0]:80", Address("tcp:[fe80::1%eth0]:80", "tcp", host="fe80::1%eth0", port=80)),
        ("unix:/run/app", Address("unix:/run/app", "unix", path="/run/app")),
        ("unix:/run/app?mode=0660", Address("unix:/run/app", "unix", path="/run/app", mode=0o660)),
        ("unix:/run/app?mode=600", Address("unix:/run/app", "unix", path="/run/app", mode=0o600)),
        ("fd:7", Address("fd:7", "fd", fd=7)),
        ("fd:007", Address("fd:7", "fd", fd=7)),
    ],
)
def test_an_address_is_understood(text: str, address: Address) -> None:
    assert parse(text) == [address]


@pytest.mark.parametrize(
    ("text", "tells"),
    [
        ("", "host:port"),
        ("localhost", "host:port"),
        ("localhost:http", "host:port"),
        ("::1:80", "[ipv6]:port"),
        ("[::1]", "host:port"),
        ("http://localhost:80", "host:port"),
        ("localhost:65536", "65535"),
        ("unix:relative", "absolute"),
        ("unix:", "absolute"),
        ("unix:/run/app?mode=rw", "mode=NNN"),
        ("unix:/run/app?mode=999", "mode=NNN"),
        ("unix:/run/app?owner=me", "mode=NNN"),
        (f"unix:/{'x' * PATH_BYTES}", "longer"),
        ("fd:", "fd:N"),
        ("fd:-1", "fd:N"),
        ("systemd", "LISTEN_FDS"),
    ],
)
def test_what_is_no_address_is_refused_with_what_to_write(text: str, tells: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(text)
    assert (caught.value.reason, caught.value.invalid) == ("address_invalid", True)
    assert tells in caught.value.message
    assert f"bind = {text!r}" in caught.value.message


def test_systemd_stands_for_all_sockets_that_it_passed() -> None:
    assert [each.fd for each in parse("systemd", systemd_fds=2)] == [3, 4]
    assert addresses(["systemd"], systemd_fds=None) == [], "where it is not known, nothing is said about it"


@pytest.mark.parametrize(
    "binds", [("a:1", "a:1"), (":1", "0.0.0.0:1"), ("fd:3", "systemd"), ("unix:/a", "unix:/a?mode=600")]
)
def test_an_address_named_twice_is_refused(binds: tuple[str, ...]) -> None:
    with pytest.raises(Refused, match="twice") as caught:
        addresses(binds, systemd_fds=1)
    assert (caught.value.reason, caught.value.invalid) == ("address_duplicate", True)


def test_a_socket_that_is_named_again_is_the_same_socket(listeners: Listeners) -> None:
    put(listeners, "127.0.0.1:0")
    before = next(iter(listeners)).sock
    put(listeners, "[::1]:0", "127.0.0.1:0")
    assert before in [each.sock for each in listeners]
    assert answers(before.getsockname())


def test_what_is_discarded_is_closed_and_the_open_ones_stay(listeners: Listeners, tmp_path: Path) -> None:
    put(listeners, "127.0.0.1:0")
    open_now, before = list(listeners), descriptors()
    prepared = opened(listeners, "127.0.0.1:0", "[::1]:0", f"unix:{tmp_path}/socket")
    assert answers(f"{tmp_path}/socket"), "what is prepared listens already"
    listeners.discard(prepared)
    assert list(listeners) == open_now
    assert descriptors() == before
    assert list(tmp_path.iterdir()) == []


def test_what_is_committed_is_not_closed_by_a_late_discard(listeners: Listeners) -> None:
    prepared = opened(listeners, "127.0.0.1:0")
    listeners.commit(prepared)
    listeners.discard(prepared)
    assert answers(("127.0.0.1", port_of(listeners)))


def test_a_busy_port_refuses_all_addresses(listeners: Listeners, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = refusal(listeners, "[::1]:0", f"unix:{tmp_path}/socket", f"127.0.0.1:{port}")
    assert refused.reason == "address_busy"
    assert f"127.0.0.1:{port}" in refused.message
    assert list(tmp_path.iterdir()) == []


def test_a_port_is_busy_even_for_the_same_user_with_reuseport(listeners: Listeners) -> None:
    put(listeners, "127.0.0.1:0")
    with socket.socket() as foreign:
        foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="Address already in use"):
            foreign.bind(("127.0.0.1", port_of(listeners)))


@pytest.mark.parametrize(
    ("before", "after"), [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "localhost")]
)
def test_an_address_can_change_while_its_port_is_held(listeners: Listeners, before: str, after: str) -> None:
    put(listeners, f"{before}:0")
    port = port_of(listeners)
    old = next(iter(listeners)).sock
    prepared = opened(listeners, f"{after}:{port}")
    assert old.fileno() != -1
    (gone,) = listeners.commit(prepared)
    assert not gone.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    gone.sock.close()
    assert answers(("127.0.0.1", port)), "no moment at which nobody listened"


def test_a_port_cannot_be_taken_over_by_a_stranger_after_a_change(listeners: Listeners) -> None:
    put(listeners, "127.0.0.1:0")
    port = port_of(listeners)
    put(listeners, f"0.0.0.0:{port}")
    with socket.socket() as foreign:
        foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="Address already in use"):
            foreign.bind(("0.0.0.0", port))


def test_both_protocols_listen_on_one_port(listeners: Listeners) -> None:
    put(listeners, "0.0.0.0:0")
    port = port_of(listeners)
    put(listeners, "0.0.0.0:0", f"[::]:{port}")
    assert answers(("127.0.0.1", port))
    assert answers(("::1", port))


@pytest.mark.parametrize(
    ("bind", "tells"),
    [
        ("192.0.2.1:0", "this machine has no such address"),
        ("no-such-host.invalid:0", "no-such-host.invalid"),
        ("a..b:0", "no host name"),
        (f"{'x' * 64}.example:0", "no host name"),
        ("fd:999", "not an open socket"),
        ("unix:/nowhere/socket", "No such file or directory"),
        ("unix:/dev/null/socket", "Not a directory"),
    ],
)
def test_an_address_that_cannot_be_bound_says_why(listeners: Listeners, bind: str, tells: str) -> None:
    refused = refusal(listeners, bind)
    assert (refused.reason, refused.invalid) == ("address_unbindable", False)
    assert tells in refused.message
    assert refused.message.startswith("bind: ")


async def test_a_silent_name_server_holds_up_nothing_but_the_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be provoked without the machine's resolver."""
    answered = threading.Event()
    real = socket.getaddrinfo

    def slow(host: str, *args: Any, **kwargs: Any) -> Any:
        if host == "slow.example" and not kwargs.get("flags"):
            answered.wait(30)
            host = "127.0.0.1"
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    beats = 0
    try:
        lookup = asyncio.create_task(look_up(parse("slow.example:80"), Deadline.after(0.2)))
        while not lookup.done():
            await asyncio.sleep(0.01)
            beats += 1
        assert beats > 2, "the loop went on"
        with pytest.raises(Refused, match=r"cannot bind slow\.example: the name was not found within 0\.2 s"):
            await lookup
    finally:
        answered.set()


def test_the_setting_is_named_that_names_the_address() -> None:
    metrics = Listeners(setting="metrics.bind")
    assert refusal(metrics, "192.0.2.1:0").message.startswith("metrics.bind: ")
    assert refusal(metrics, "everywhere").message.startswith("metrics.bind = 'everywhere'")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_unix_socket_has_its_mode_from_the_moment_it_is_there(listeners: Listeners, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    umask = os.umask(0)
    try:
        put(listeners, f"unix:{path}?mode=0640")
    finally:
        os.umask(umask)
    assert mode(path) == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["socket"]
    assert answers(str(path))


def test_the_mode_of_a_unix_socket_changes_with_the_commit(listeners: Listeners, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    put(listeners, f"unix:{path}?mode=0600")
    inode = path.stat().st_ino
    prepared = opened(listeners, f"unix:{path}?mode=0666")
    assert mode(path) == 0o600
    listeners.commit(prepared)
    assert (mode(path), path.stat().st_ino) == (0o666, inode)


def test_the_longest_path_can_be_bound(
    listeners: Listeners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path("/tmp") / f"hitless-{os.getpid()}"
    folder.mkdir()
    path = folder / ("x" * (PATH_BYTES - len(str(folder)) - 1))
    monkeypatch.setattr(os, "getpid", lambda: 4194303)  # the largest there is
    try:
        put(listeners, f"unix:{path}")
        assert answers(str(path))
    finally:
        listeners.close_all()
        folder.rmdir()


def test_a_stale_socket_is_replaced(listeners: Listeners, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    put(listeners, f"unix:{path}")
    assert answers(str(path))


def test_a_living_socket_is_left_alone(listeners: Listeners, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        assert refusal(listeners, f"unix:{path}").reason == "address_busy"
        assert answers(str(path))


def test_a_file_in_the_place_of_a_socket_is_left_alone(listeners: Listeners, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.write_text("precious")
    refused = refusal(listeners, f"unix:{path}")
    assert refused.reason == "address_busy"
    assert "is not a socket" in refused.message
    assert path.read_text() == "precious"


def test_closing_removes_the_path_unless_somebody_else_has_taken_it(
    listeners: Listeners, tmp_path: Path
) -> None:
    ours, taken = tmp_path / "ours", tmp_path / "taken"
    put(listeners, f"unix:{ours}", f"unix:{taken}")
    taken.unlink()
    taken.write_text("of another")
    listeners.close_all()
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]


def test_an_inherited_socket_is_listened_on_through_a_copy(listeners: Listeners) -> None:
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        given.set_inheritable(True)
        put(listeners, f"fd:{given.fileno()}")
        address = given.getsockname()
    assert answers(address)
    assert next(iter(listeners)).describe() == f"{address[0]}:{address[1]}"


def test_a_descriptor_that_is_no_inherited_stream_socket_is_refused(listeners: Listeners) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram, socket.socket() as own:
        datagram.set_inheritable(True)
        assert "not a stream socket" in refusal(listeners, f"fd:{datagram.fileno()}").message
        assert "was not inherited" in refusal(listeners, f"fd:{own.fileno()}").message
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    try:
        assert "not an open socket" in refusal(listeners, f"fd:{reader}").message
    finally:
        os.close(reader)
        os.close(writer)


def test_running_out_of_descriptors_is_no_fault_of_the_address(listeners: Listeners, tmp_path: Path) -> None:
    import resource

    where = {"127.0.0.1": (socket.AF_INET, ("127.0.0.1", 0))}
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(each) for each in os.listdir("/proc/self/fd"))  # noqa: PTH208
    fillers: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            fillers.extend(iter(lambda: os.dup(0), None))
        for bind in ("127.0.0.1:0", f"unix:{tmp_path}/socket"):
            with pytest.raises(OSError, match="Too many open files"):
                listeners.open([bind], backlog=16, where=where)
    finally:
        for filler in fillers:
            os.close(filler)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_the_backlog_of_a_socket_that_stays_open_changes(listeners: Listeners) -> None:
    put(listeners, "127.0.0.1:0", backlog=1)
    port = port_of(listeners)
    put(listeners, "127.0.0.1:0", backlog=64)
    clients = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(16)]
    for client in clients:
        client.close()
