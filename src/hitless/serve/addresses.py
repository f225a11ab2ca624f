"""What `bind` names: addresses, parsed, and their host names looked up."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

from hitless.change import Deadline, Refused

_TCP: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^:\[\]/]*)):(?P<port>[0-9]{1,5})")
SYSTEMD_FIRST_FD: Final = 3
MOST: Final = 200
"""Addresses: their descriptors travel to a worker in one message, and the kernel takes 253 of them."""
PATH_BYTES: Final = 90
"""Longest path of a Unix socket: the kernel takes 107 bytes, and the socket has a longer name until it is ready."""
LITERAL: Final = socket.AI_PASSIVE | socket.AI_NUMERICHOST
LOOKUP_S: Final = 10.0
"""Longest that a change waits for the name of a host."""

Where = tuple[int, Any]
"""Address family and socket address, as `bind` of a socket takes it."""


@dataclass(frozen=True, slots=True)
class Address:
    """One value of `bind`, understood. `key` is what two configurations compare."""

    key: str
    kind: str
    host: str = ""
    port: int = 0
    path: str = ""
    mode: int = 0o666
    fd: int = -1

    @property
    def is_tcp(self) -> bool:
        return self.kind == "tcp"


def parse(text: str, *, systemd_fds: int = 0, setting: str = "bind") -> list[Address]:
    """The addresses that one value of `bind`, or of another `setting`, names (several for `systemd`).

    Raises:
        Refused: with reason `address_invalid`.
    """
    try:
        return _parse(text, systemd_fds)
    except ValueError as error:
        raise Refused("address_invalid", f"{setting} = {text!r}: {error}", invalid=True) from None


def _parse(text: str, systemd_fds: int) -> list[Address]:
    """Raises ValueError, which says what is wrong."""
    if text == "systemd":
        if not systemd_fds:
            raise ValueError("systemd passed no sockets (LISTEN_FDS); is there a .socket unit?")
        return [
            Address(f"fd:{SYSTEMD_FIRST_FD + number}", "fd", fd=SYSTEMD_FIRST_FD + number)
            for number in range(systemd_fds)
        ]
    if text.startswith("fd:"):
        number = text.removeprefix("fd:")
        if not number.isdecimal():
            raise ValueError("write fd:N with the number of an inherited descriptor")
        return [Address(f"fd:{int(number)}", "fd", fd=int(number))]
    if text.startswith("unix:"):
        return [_parse_unix(text)]
    return [_parse_tcp(text)]


def addresses(binds: Iterable[str], *, systemd_fds: int | None, setting: str = "bind") -> list[Address]:
    """All addresses that `bind` names. `systemd_fds` is None where it is not known how many systemd will pass.

    Raises:
        Refused: with reason `address_invalid` or `address_duplicate`.
    """
    found: dict[str, Address] = {}
    for text in binds:
        if text == "systemd" and systemd_fds is None:
            continue
        for address in parse(text, systemd_fds=systemd_fds or 0, setting=setting):
            if address.key in found:
                raise Refused("address_duplicate", f"{setting} names {text!r} twice", invalid=True)
            found[address.key] = address
    if len(found) > MOST:
        raise Refused(
            "address_invalid", f"{setting} names {len(found)} addresses; {MOST} are possible", invalid=True
        )
    return list(found.values())


def _parse_unix(text: str) -> Address:
    path, _, query = text.removeprefix("unix:").partition("?")
    options = parse_qs(query, keep_blank_values=True)
    mode = options.pop("mode", ["0666"])[0]
    if options or not re.fullmatch(r"(0o?)?[0-7]{3}", mode):
        raise ValueError("after ? only mode=NNN, three octal digits, is understood")
    if not path.startswith("/"):
        raise ValueError("the path of a Unix socket is absolute")
    if len(os.fsencode(path)) > PATH_BYTES:
        raise ValueError("the path is longer than 90 bytes")
    return Address(f"unix:{path}", "unix", path=path, mode=int(mode.removeprefix("0o"), 8))


def _parse_tcp(text: str) -> Address:
    match = _TCP.fullmatch(text)
    if match is None:
        raise ValueError("write host:port, [ipv6]:port, unix:/path, fd:N or systemd")
    host = match["six"] or match["host"] or "0.0.0.0"
    port = int(match["port"])
    if port > 65535:
        raise ValueError("a port is at most 65535")
    return Address(
        f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}", "tcp", host=host, port=port
    )


async def look_up(
    wanted: Iterable[Address], deadline: Deadline, setting: str = "bind"
) -> Mapping[str, Where]:
    """Where each TCP address is, by host. Looked up in a thread: a name server that is silent must hold up nothing but this change.

    Raises:
        Refused: with reason `address_unbindable`.
    """
    return {
        address.host: await _look_up(address.host, deadline.sooner(LOOKUP_S), setting)
        for address in wanted
        if address.is_tcp
    }


async def _look_up(host: str, deadline: Deadline, setting: str) -> Where:
    try:
        try:
            return _first(socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=LITERAL))
        except socket.gaierror:  # it is a name
            lookup = asyncio.get_running_loop().getaddrinfo(host, 0, type=socket.SOCK_STREAM)
            async with asyncio.timeout(deadline.remaining()):
                return _first(await lookup)
    except socket.gaierror as error:
        why = error.strerror
    except UnicodeError:
        why = "this is no host name"
    except TimeoutError:
        why = f"the name was not found within {deadline.seconds:g} s"
    raise Refused("address_unbindable", f"{setting}: cannot bind {host}: {why}")


def _first(found: Sequence[tuple[Any, ...]]) -> Where:
    family, _kind, _protocol, _name, where = found[0]
    return family, where
