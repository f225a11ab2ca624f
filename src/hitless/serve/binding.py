"""One listening socket: how it is bound, taken over, and removed."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hitless.change import Refused, is_out_of_descriptors
from hitless.serve.addresses import Address, Where


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


def bind(address: Address, backlog: int, going: list[Listener], where: Where | None) -> Listener:
    """A socket that listens; `going` are those that are closed after this change, `where` a TCP address is.

    Raises:
        Refused: with reason `address_busy` or `address_unbindable`.
    """
    match address.kind:
        case "tcp":
            assert where is not None
            return _bind_tcp(address, where, backlog, going)
        case "unix":
            return _bind_unix(address, backlog)
        case _:
            return _inherit(address, backlog)


def _bind_tcp(address: Address, where: Where, backlog: int, going: list[Listener]) -> Listener:
    family, (host, _, *rest) = where
    place = (host, address.port, *rest)
    rivals = [one for one in going if one.address.is_tcp and one.sock.getsockname()[1] == address.port]
    sock = None
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if rivals:
            _bind_beside(sock, place, rivals, backlog)
        else:
            sock.bind(place)
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


def close(listener: Listener) -> None:
    """Closes the socket and removes the file of a Unix one."""
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
