"""The listening sockets: owned by the supervisor, keyed by address, opened before a change commits and closed after it.

A socket that the old and the new configuration both name is the same socket: it is never closed and bound again, so no client
is ever refused. One that is new is bound while the change is prepared, so that a busy port refuses the change. One that is
no longer named is closed after commit, once the clients that waited in its queue have been taken over.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from hitless.change import Refused, is_out_of_descriptors

_TCP: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^:\[\]/]*)):(?P<port>[0-9]{1,5})")
SYSTEMD_FIRST_FD: Final = 3
MOST: Final = 200
"""Addresses: their descriptors travel to a worker in one message, and the kernel takes 253 of them."""
PATH_BYTES: Final = 90
"""Longest path of a Unix socket: the kernel takes 107 bytes, and the socket has a longer name until it is ready."""


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


@dataclass(slots=True)
class Listener:
    """One open listening socket."""

    address: Address
    sock: socket.socket
    server: tuple[str, int | None]
    inode: int = 0

    @property
    def key(self) -> str:
        return self.address.key

    def describe(self) -> str:
        """What a client connects to: the real port, where the configuration said 0."""
        host, port = self.server
        if port is None:
            return f"unix:{host}"
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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

    def open(self, binds: Iterable[str], *, backlog: int) -> Prepared:
        """Opens what is not open yet. Nothing that is open changes, so that the whole can be discarded.

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
                    listener = _bind(address, backlog, going)
                    fresh.append(listener)
                wanted[address.key] = listener
        except BaseException as error:
            for listener in fresh:
                _close(listener)
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
                _close(listener)

    def take_over(self, listeners: Iterable[Listener]) -> None:
        """Sockets that were open before this program began."""
        self._open.update({listener.key: listener for listener in listeners})

    def close_all(self) -> None:
        for listener in self._open.values():
            _close(listener)
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


def _close(listener: Listener) -> None:
    listener.sock.close()
    remove_path(listener)


def remove_path(listener: Listener) -> None:
    """Removes the file of a Unix socket."""
    if listener.address.kind == "unix":
        path = Path(listener.address.path)
        with suppress(FileNotFoundError):
            # Only if it is still ours: another service may have taken the path over.
            if path.stat().st_ino == listener.inode:
                path.unlink()


def _bind(address: Address, backlog: int, going: list[Listener]) -> Listener:
    match address.kind:
        case "tcp":
            return _bind_tcp(address, backlog, going)
        case "unix":
            return _bind_unix(address, backlog)
        case _:
            return _inherit(address, backlog)


def _bind_tcp(address: Address, backlog: int, going: list[Listener]) -> Listener:
    try:
        family, kind, proto, _name, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise Refused("address_unbindable", f"cannot bind {address.host}: {error.strerror}") from error
    except UnicodeError:
        raise Refused("address_unbindable", f"cannot bind {address.host}: this is no host name") from None
    rivals = [one for one in going if one.address.is_tcp and one.sock.getsockname()[1] == address.port]
    sock = None
    try:
        sock = socket.socket(family, kind, proto)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if rivals:
            _bind_beside(sock, where, rivals, backlog)
        else:
            sock.bind(where)
            sock.listen(backlog)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise _unbindable(f"{address.host}:{address.port}", error) from error
    sock.setblocking(False)
    host, port = sock.getsockname()[:2]
    return Listener(address, sock, (host, port))


def _bind_beside(sock: socket.socket, where: Any, rivals: list[Listener], backlog: int) -> None:
    """Binds and listens where a socket of ours that goes away with this change holds the port (127.0.0.1 → 0.0.0.0).

    SO_REUSEPORT is set for that moment only: left on, it would let a foreign process of the same user take
    a share of the connections.
    """
    both = (sock, *(rival.sock for rival in rivals))
    for one in both:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind(where)
        sock.listen(backlog)
    finally:
        for one in both:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
        _end_sharing(sock)


def _end_sharing(sock: socket.socket) -> None:
    """Makes the kernel forget that the port of `sock` was shared.

    It remembers so per port (`fastreuseport`), whatever the sockets say later, until a socket without the option is
    bound to the port: here one of the other protocol, which is nobody's rival.
    """
    is_six = sock.family == socket.AF_INET6
    with suppress(OSError), socket.socket(socket.AF_INET if is_six else socket.AF_INET6) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not is_six:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("127.0.0.1" if is_six else "::1", sock.getsockname()[1]))


def _bind_unix(address: Address, backlog: int) -> Listener:
    path = Path(address.path)
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # The mode stands before the path is visible under its name: no moment at which others could connect.
        with suppress(FileNotFoundError):
            draft.unlink()
        sock.bind(str(draft))
        draft.chmod(address.mode)
        sock.listen(backlog)
        draft.rename(path)
    except OSError as error:
        sock.close()
        with suppress(OSError):
            draft.unlink()
        raise _unbindable(str(path), error) from error
    sock.setblocking(False)
    return Listener(address, sock, (str(path), None), path.stat().st_ino)


def _remove_stale(path: Path) -> None:
    """Removes a socket file that nobody listens on. Raises Refused if somebody does, or if it is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unbindable(str(path), error) from error
    if not stat.S_ISSOCK(mode):
        raise Refused("address_busy", f"{path} exists and is not a socket; move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise _unbindable(str(path), error) from error
    raise Refused("address_busy", f"another process listens on {path}")


def _inherit(address: Address, backlog: int) -> Listener:
    try:
        # What was inherited is inheritable; everything that this process has opened itself is not.
        if not os.get_inheritable(address.fd):
            raise Refused("address_unbindable", f"descriptor {address.fd} was not inherited")
        copy = os.dup(address.fd)
    except OSError as error:
        raise _not_a_socket(address, error) from error
    try:
        sock = socket.socket(fileno=copy)
    except OSError as error:
        os.close(copy)
        raise _not_a_socket(address, error) from error
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) != socket.SOCK_STREAM:
        sock.close()
        raise Refused("address_unbindable", f"descriptor {address.fd} is not a stream socket")
    sock.listen(backlog)
    sock.setblocking(False)
    name = sock.getsockname()
    server = (name, None) if isinstance(name, str) else (name[0], name[1])
    return Listener(address, sock, server)


def _not_a_socket(address: Address, error: OSError) -> Exception:
    if is_out_of_descriptors(error):
        return error
    return Refused("address_unbindable", f"descriptor {address.fd} is not an open socket: {error.strerror}")


def _unbindable(what: str, error: OSError) -> Exception:
    if is_out_of_descriptors(error):
        return error
    if error.errno == errno.EADDRINUSE:
        return Refused("address_busy", f"cannot bind {what}: another process uses it")
    if error.errno == errno.EADDRNOTAVAIL:
        return Refused("address_unbindable", f"cannot bind {what}: this machine has no such address")
    return Refused("address_unbindable", f"cannot bind {what}: {error.strerror}")
