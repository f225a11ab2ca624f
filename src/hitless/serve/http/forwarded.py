"""Whom a request came from, when proxies that are trusted say so."""

from __future__ import annotations

from collections.abc import Iterable
from socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hitless.serve.http.connection import Connection

_MAPPED: Final = b"\0" * 10 + b"\xff\xff"


def packed(address: str) -> bytes | None:
    """An address as 4 or 16 bytes; None if it is none. ::ffff:192.0.2.1 is 192.0.2.1."""
    try:
        if ":" not in address:
            return inet_pton(AF_INET, address)
        raw = inet_pton(AF_INET6, address.partition("%")[0])
    except (OSError, ValueError):
        return None
    return raw[12:] if raw.startswith(_MAPPED) else raw


class Network:
    """A range of addresses, `10.0.0.0/8`; `ipaddress` would cost its import at every reload."""

    __slots__ = ("_bits", "_first", "_size")

    def __init__(self, text: str) -> None:
        address, _, bits = text.partition("/")
        raw = packed(address)
        if raw is None or (bits and not (bits.isdigit() and int(bits) <= len(raw) * 8)):
            raise ValueError(f"{text!r} is neither an address nor a network")
        self._size = len(raw)
        self._bits = len(raw) * 8 - (int(bits) if bits else len(raw) * 8)
        self._first = int.from_bytes(raw, "big") >> self._bits

    def __contains__(self, raw: bytes) -> bool:
        return len(raw) == self._size and int.from_bytes(raw, "big") >> self._bits == self._first


class Forwarded:
    """X-Forwarded-For and -Proto, believed if the peer is one of the proxies named.

    A peer on a Unix socket is believed as soon as any proxy is: who may connect there is a matter of the
    socket's mode.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        names = [name.strip() for name in allowed if name.strip()]
        self._any = "*" in names
        self._none = not names
        self._networks = [Network(name) for name in names if name != "*"]

    def trusts(self, address: str | None) -> bool:
        """Whether a peer (None: on a Unix socket) may say whom it speaks for."""
        if self._any:
            return True
        if address is None:
            return not self._none
        raw = packed(address)
        return raw is not None and any(raw in network for network in self._networks)

    def apply(self, marked: dict[bytes, bytes], connection: Connection) -> tuple[tuple[str, int] | None, str]:
        """Client and scheme of a request that came over a trusted connection."""
        client, scheme = connection.client, connection.scheme
        proto = marked.get(b"x-forwarded-proto")
        if proto is not None:
            said = proto.rpartition(b",")[2].strip().lower()
            if said in (b"http", b"https", b"ws", b"wss"):
                scheme = said.decode().replace("ws", "http")
        chain = marked.get(b"x-forwarded-for")
        if chain:
            host = self._origin(chain.decode("latin-1"))
            if host is not None:
                client = (host, 0)
        return client, scheme

    def _origin(self, chain: str) -> str | None:
        """The last address in the chain that is no trusted proxy; what is left of it anyone could have
        written.
        """
        host = None
        for item in reversed(chain.split(",")):
            host = _host(item.strip())
            if host is None:
                return None
            if self._any or not self.trusts(host):
                break
        if self._any:
            host = _host(chain.partition(",")[0].strip())
        return host


def _host(item: str) -> str | None:
    """The address of an entry, which may carry a port: `192.0.2.1:80`, `[2001:db8::1]:80`."""
    if item.startswith("["):
        item = item[1:].partition("]")[0]
    elif item.count(":") == 1:
        item = item.partition(":")[0]
    return item if packed(item) is not None else None
