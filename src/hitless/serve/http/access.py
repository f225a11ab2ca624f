"""The access log: one line per response, in Common Log Format or as a JSON object.

A line carries the request id: the client's X-Request-ID if it is sane (at most 128 visible characters),
else one made here. The id is made only when a line or a logged exception needs it; the response repeats it
only if the client sent it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hitless.serve.http.connection import Connection
    from hitless.serve.http.response import Response

CLIENT_LEFT: Final = 499
"""nginx's code for: the client closed the connection before there was a response."""

Access = Callable[["Connection", "Response | None", int, int], None]
"""Called with the connection, the response (None if no request was understood), status and bytes of body."""


def access_log(kind: str, write: Callable[[str], None] | None) -> Access | None:
    """The access log of an engine; None for `off`."""
    if kind == "off":
        return None
    write = write or _to_stdout
    return _Json(write) if kind == "json" else _Common(write)


def _to_stdout(line: str) -> None:
    sys.stdout.write(line + "\n")


class _Common:
    """`192.0.2.1 - - [21/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 13`."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._second = 0
        self._stamp = ""

    def __call__(self, connection: Connection, response: Response | None, status: int, size: int) -> None:
        request = "-"
        if response is not None:
            request = f"{response.method} {response.target.decode('ascii')} HTTP/{response.version}"
        self._write(f'{_client(connection, response)} - - [{self._time()}] "{request}" {status} {size}')

    def _time(self) -> str:
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now))
        return self._stamp


class _Json:
    """An object with time (Unix), client, method, target, protocol, status, bytes, duration_s, request_id."""

    def __init__(self, write: Callable[[str], None]) -> None:
        import json

        self._write = write
        self._dumps = json.dumps

    def __call__(self, connection: Connection, response: Response | None, status: int, size: int) -> None:
        record: dict[str, object] = {
            "time": round(time.time(), 3),
            "client": _client(connection, response),
            "status": status,
            "bytes": size,
        }
        if response is not None:
            record["method"] = response.method
            record["target"] = response.target.decode("ascii")
            record["protocol"] = f"HTTP/{response.version}"
            record["duration_s"] = round(time.monotonic() - response.began, 6)
            record["request_id"] = response.request_id
            if not response.complete:
                record["incomplete"] = True
        self._write(self._dumps(record))


def _client(connection: Connection, response: Response | None) -> str:
    client = connection.client
    if response is not None and response.marked is not None and connection.trusted:
        client, _ = connection.engine.forwarded.apply(response.marked, connection)
    return "-" if client is None else client[0]
