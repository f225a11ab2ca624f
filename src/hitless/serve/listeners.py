"""The listening sockets: owned by the supervisor, keyed by address, opened before a change commits and closed after it.

A socket that the old and the new configuration both name is the same socket: it is never closed and bound again, so no client
is ever refused. One that is new is bound while the change is prepared, so that a busy port refuses the change. One that is
no longer named is closed after commit, once the clients that waited in its queue have been taken over.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hitless.change import Refused
from hitless.serve.addresses import Address, Where, addresses
from hitless.serve.binding import Listener, bind, close


@dataclass(slots=True)
class Listeners:
    """All open listening sockets by key."""

    systemd_fds: int = 0
    setting: str = "bind"
    """The setting that names them."""
    _open: dict[str, Listener] = field(default_factory=dict)

    def addresses(self, binds: Iterable[str]) -> list[Address]:
        """Raises Refused: an address is malformed, or named twice."""
        return addresses(binds, systemd_fds=self.systemd_fds, setting=self.setting)

    def unopened(self, binds: Iterable[str]) -> list[Address]:
        """Those that `open` would bind. Raises Refused as `addresses` does."""
        return [address for address in self.addresses(binds) if address.key not in self._open]

    def open(
        self, binds: Iterable[str], *, backlog: int, where: Mapping[str, Where] | None = None
    ) -> Prepared:
        """Opens what is not open yet. Nothing that is open changes, so that the whole can be discarded.

        `where` tells the places of the hosts (see `look_up`) of TCP addresses that are not open yet.

        Raises:
            Refused: with reason `address_busy`, `address_unbindable` or `address_invalid`; nothing stays open.
        """
        wanted: dict[str, Listener] = {}
        fresh: list[Listener] = []
        addresses = self.addresses(binds)
        going = [listener for key, listener in self._open.items() if key not in {a.key for a in addresses}]
        try:
            for address in addresses:
                listener = self._open.get(address.key)
                if listener is None:
                    listener = bind(address, backlog, going, (where or {}).get(address.host))
                    fresh.append(listener)
                wanted[address.key] = listener
        except BaseException as error:
            for listener in fresh:
                close(listener)
            if isinstance(error, Refused):
                raise Refused(error.reason, f"{self.setting}: {error.message}") from error
            raise
        return Prepared(wanted, tuple(fresh), {address.key: address for address in addresses}, backlog)

    def commit(self, prepared: Prepared) -> list[Listener]:
        """Makes `prepared` the open sockets; returns those that are no longer named, still open."""
        gone = [listener for key, listener in self._open.items() if key not in prepared.wanted]
        self._open = dict(prepared.wanted)
        for listener in self._open.values():
            _adjust(listener, prepared.addresses[listener.key], prepared.backlog)
        return gone

    def discard(self, prepared: Prepared) -> None:
        for listener in prepared.fresh:
            if listener.key not in self._open:
                close(listener)

    def take_over(self, listeners: Iterable[Listener]) -> None:
        """Sockets that were open before this program began."""
        self._open.update({listener.key: listener for listener in listeners})

    def close_all(self) -> None:
        for listener in self._open.values():
            close(listener)
        self._open.clear()

    def __iter__(self) -> Any:
        return iter(self._open.values())


def freeze(listeners: Listeners) -> list[dict[str, Any]]:
    """The open sockets for the supervisor that replaces this one."""
    return [
        {
            "address": asdict(listener.address),
            "fd": listener.sock.fileno(),
            "server": listener.server,
            "inode": listener.inode,
        }
        for listener in listeners
    ]


def thaw(frozen: Iterable[Mapping[str, Any]]) -> list[Listener]:
    """The sockets that `freeze` described, open all the time."""
    return [
        Listener(
            Address(**each["address"]),
            socket.socket(fileno=each["fd"]),
            (each["server"][0], each["server"][1]),
            each["inode"],
        )
        for each in frozen
    ]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The sockets of a generation: `wanted` by key, of which `fresh` were opened for it."""

    wanted: Mapping[str, Listener]
    fresh: tuple[Listener, ...]
    addresses: Mapping[str, Address]
    backlog: int


def _adjust(listener: Listener, address: Address, backlog: int) -> None:
    """What may change about a socket that stays open: how many clients may wait, and who may connect."""
    listener.sock.listen(backlog)
    if address.mode != listener.address.mode:
        with suppress(OSError):  # the path was removed or replaced by somebody else
            if Path(address.path).stat().st_ino == listener.inode:
                Path(address.path).chmod(address.mode)
    listener.address = address
