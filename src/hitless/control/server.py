"""The service's side of the control socket.

1. The socket is 0600 from the moment it exists, and who connects must be root or the service's own user.
2. One living service per socket: decided by a lock, so that a dead one's socket is replaced and a living
   one's never.
3. Nothing a client does or leaves undone holds up the service: lines, clients, idle time and unread answers
   are bounded.
4. What a client asked for goes on when the client is gone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hitless.control import messages
from hitless.control.connection import Connection
from hitless.control.errors import ControlError, UnusablePath
from hitless.control.lock import ServiceLock
from hitless.control.paths import check_length, make_directory
from hitless.control.request import Handler, Peer, peer_of

log = logging.getLogger(__name__)

CLIENT_LIMIT: Final = 64
CLOSE_GRACE_S: Final = 2.0
"""For requests that are being answered when the server closes."""
BACKLOG: Final = 64


class ControlServer:
    """Answers requests by `handlers`, method name to coroutine function.

    `inherited` are the `descriptors` of the same service before it replaced itself by exec; it was listening
    all the time.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        handlers: Mapping[str, Handler],
        *,
        inherited: tuple[int, int] | None = None,
    ) -> None:
        self.path: Final = check_length(Path(path))
        self._handlers: Final = dict(handlers)
        self._inherited: Final = inherited
        self._lock: ServiceLock | None = None
        self._listener: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._inode = 0
        self._connections: Final[dict[Connection, asyncio.Task[object]]] = {}

    async def start(self) -> None:
        """Listen.

        Raises:
            ServiceRunning: another living process has this socket.
            UnusablePath: the path is no good, or the directory is not safe.
        """
        if self._inherited is None:
            make_directory(self.path.parent)
            self._lock = ServiceLock(self.path)
            self._listener = self._bound(self._lock)
        else:
            listener, lock = self._inherited
            self._lock = ServiceLock(self.path, lock)
            self._listener = socket.socket(fileno=listener)
        self._inode = _inode(self.path)  # 0 if somebody has removed it
        await self._accept(self._listener)

    async def _accept(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        # From 3.13 on asyncio would remove the socket's file on close; whether that is right is decided here.
        own_files: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listener, limit=messages.LINE_LIMIT, backlog=BACKLOG, **own_files
        )

    @property
    def descriptors(self) -> tuple[int, int]:
        """Listening socket and lock, for the `inherited` of the program that replaces this one by exec."""
        if self._listener is None or self._lock is None:
            raise RuntimeError("the control server is not started")
        return self._listener.fileno(), self._lock.descriptor

    def let_go(self) -> tuple[int, int]:
        """Accept nobody any more; the socket goes on listening under the returned descriptors (see `inherited`),
        so that whoever connects from now on is answered by the next program. `finish` those who are connected.
        """
        listener, lock = self.descriptors
        kept = os.dup(listener), os.dup(lock)
        server, self._server = self._server, None
        if server is not None:
            server.close()
        return kept

    async def take_back(self, kept: tuple[int, int]) -> None:
        """There is no next program after all: accept again."""
        listener, lock = kept
        os.close(lock)
        self._listener = socket.socket(fileno=listener)
        await self._accept(self._listener)

    async def renew(self) -> bool:
        """Make the socket anew if its file was removed; returns whether it was.

        Raises:
            ServiceRunning: another living process has this socket now.
            UnusablePath: the path is no good, or the directory is not safe.
        """
        if self._server is None or self._lock is None or _inode(self.path) == self._inode != 0:
            return False
        make_directory(self.path.parent)
        if not self._lock.is_in_place:
            lock = ServiceLock(self.path)
            self._lock.release()
            self._lock = lock
        listener = _listen(self.path)
        self._server.close()
        self._listener, self._inode = listener, _inode(self.path)
        await self._accept(listener)
        return True

    async def stop_accepting(self) -> None:
        """Remove the socket; those who are connected are still answered."""
        server, self._server = self._server, None
        if server is None:
            return
        if _inode(self.path) == self._inode:
            self.path.unlink(missing_ok=True)
        server.close()

    async def close(self, grace_s: float = CLOSE_GRACE_S) -> None:
        """Remove the socket, let requests that are being answered end within `grace_s`, and close everything."""
        await self.stop_accepting()
        await self.finish(grace_s)
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    async def finish(self, grace_s: float = CLOSE_GRACE_S) -> None:
        """Let the requests that are being answered end within `grace_s`."""
        for connection in self._connections:
            connection.finish()
        tasks = set(self._connections.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _bound(self, lock: ServiceLock) -> socket.socket:
        try:
            return _listen(self.path)
        except BaseException:
            lock.release()
            raise

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            peer = peer_of(writer)
        except OSError as error:  # no descriptors left: this client is lost, the service is not
            log.warning("a control client cannot be served: %s", error)
            writer.transport.abort()
            return
        connection = Connection(reader, writer, peer=peer, handlers=self._handlers)
        task = asyncio.current_task()
        refusal = self._refusal(peer)
        if refusal is not None or task is None:
            await connection.refuse(refusal or ControlError("closing", "the service is closing"))
            return
        self._connections[connection] = task
        try:
            await connection.run()
        finally:
            del self._connections[connection]

    def _refusal(self, peer: Peer) -> ControlError | None:
        if peer.uid not in (0, os.geteuid()):
            return ControlError(
                "forbidden", f"uid {peer.uid} may not talk to this service; run this as its user or root"
            )
        if len(self._connections) >= CLIENT_LIMIT:
            return ControlError(
                "too_many_clients", f"there are {CLIENT_LIMIT} clients already; try again later"
            )
        if self._server is None:
            return ControlError("closing", "the service is closing")
        return None


def _listen(path: Path) -> socket.socket:
    """A listening socket at `path`, in place of one that a dead service has left. Call with the lock held."""
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o177)  # bind applies it: there is no moment at which others could connect
    try:
        listener.bind(os.fspath(path))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UnusablePath(f"the control socket {path} cannot be created: {error.strerror}") from error
    finally:
        os.umask(umask)
    return listener


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise UnusablePath(f"{path} is there and is no socket; remove it or choose another path")
    path.unlink()


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0
