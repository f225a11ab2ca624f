"""The commands' side: blocking, one connection, one call at a time."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from hitless.change import JSON, Deadline
from hitless.control import messages
from hitless.control.errors import ControlError, ControlTimeout, NoSuchService

OnEvent = Callable[[str, Mapping[str, JSON]], None]

CALL_TIMEOUT_S: Final = 30.0
RECEIVE_BYTES: Final = 65536


class ControlClient:
    """A connection to a service's control socket.

        with ControlClient(find("web")) as service:
            outcome = service.call("reload", on_event=lambda name, fields: print(name, fields))

    Raises:
        NoSuchService: nothing listens there.
        ControlError: `forbidden`: this user may not talk to it.
    """

    def __init__(self, path: str | os.PathLike[str], timeout_s: float = CALL_TIMEOUT_S) -> None:
        self.path: Final = Path(path)
        self._timeout_s: Final = timeout_s
        self._received = bytearray()
        self._last_id = 0
        self._socket: Final = _connect(self.path, timeout_s)

    def call(
        self,
        method: str,
        params: Mapping[str, JSON] | None = None,
        *,
        timeout_s: float | None = None,
        on_event: OnEvent | None = None,
    ) -> JSON:
        """The service's answer; `on_event` is told of progress while it is awaited.

        Raises:
            ControlTimeout: no answer in `timeout_s` (by default the client's); the connection is of no more
            use. ControlError: the service answered with an error, or closed the connection.
        """
        self._last_id += 1
        deadline = Deadline.after(self._timeout_s if timeout_s is None else timeout_s)
        try:
            self._send(messages.call(self._last_id, method, params or {}), deadline)
            while True:
                answer = messages.decode(self._line(deadline))
                if "event" not in answer:
                    return _value(answer)
                if on_event is not None:
                    _tell(on_event, answer["event"])
        except TimeoutError:
            self.close()
            raise ControlTimeout(
                f"{self.path} did not answer {method} within {deadline.seconds:g} s; it may still be doing it"
            ) from None
        except OSError as error:
            raise ControlError(
                "connection_lost", f"the connection to {self.path} was lost: {error.strerror}"
            ) from error

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, data: bytes, deadline: Deadline) -> None:
        self._socket.settimeout(_allowed(deadline))
        # A service that refuses a client says why and closes; that can be read although nothing can be sent.
        with suppress(BrokenPipeError):
            self._socket.sendall(data)

    def _line(self, deadline: Deadline) -> bytes:
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            self._socket.settimeout(_allowed(deadline))
            data = self._socket.recv(RECEIVE_BYTES)
            if not data:
                raise ControlError("connection_lost", f"{self.path} closed the connection before it answered")
            self._received += data
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line


def _connect(path: Path, timeout_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(os.fspath(path))
    except OSError as error:
        connection.close()
        raise _explained(path, error) from error
    return connection


def _explained(path: Path, error: OSError) -> ControlError:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return NoSuchService(f"no service listens on {path}; is it running?")
    if isinstance(error, PermissionError):
        return ControlError("forbidden", f"{path} belongs to another user; run this as root or as that user")
    if isinstance(error, TimeoutError | BlockingIOError):
        return ControlTimeout(f"{path} accepts no connection; the service may hang")
    return ControlError("connection_failed", f"cannot connect to {path}: {error.strerror or error}")


def _allowed(deadline: Deadline) -> float:
    """The socket's time limit; 0 would mean "do not wait", which is not the same as "time is up"."""
    remaining = deadline.remaining()
    if remaining <= 0:
        raise TimeoutError
    return remaining


def _value(answer: Mapping[str, JSON]) -> JSON:
    match answer:
        case {"result": value}:
            return value
        case {"error": {"code": str(code), "message": str(message), "detail": detail}}:
            raise ControlError(code, message, detail)
        case _:
            raise ControlError("malformed", "the service answered with neither a result nor an error")


def _tell(on_event: OnEvent, body: JSON) -> None:
    match body:
        case {"name": str(name), "fields": dict(fields)}:
            on_event(name, fields)
