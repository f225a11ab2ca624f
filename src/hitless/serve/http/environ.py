"""The WSGI environ of a request (PEP 3333)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from hitless.serve.http.fields import HOST, LOWER, MARKED

if TYPE_CHECKING:
    from hitless.serve.http.connection import Connection
    from hitless.serve.http.response import Response

FILE_BLOCK: Final = 65536


def _key(name: bytes) -> str:
    upper = name.decode("latin-1").upper().replace("-", "_")
    return upper if upper in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + upper


KEYS: Final[dict[bytes, str]] = {name: _key(name) for name in {*LOWER.values(), *MARKED, HOST}}
"""Lower-case name of a common field → its key in the environ."""


class FileWrapper:
    """`wsgi.file_wrapper`: an iterable over a file's blocks."""

    def __init__(self, file: Any, block: int = FILE_BLOCK) -> None:
        self._file = file
        self._block = block
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        data: bytes = self._file.read(self._block)
        if not data:
            raise StopIteration
        return data


def base_environ(*, threads: int, multiprocess: bool, software: str, root_path: str) -> dict[str, Any]:
    """What is the same for every request of an engine."""
    return {
        "SCRIPT_NAME": root_path,
        "SERVER_SOFTWARE": software,
        "wsgi.version": (1, 0),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": threads > 1,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
    }


def _template(connection: Connection) -> dict[str, Any]:
    """What is the same in every request of a connection."""
    host, port = connection.server
    environ = connection.engine.base_environ.copy()
    environ["SERVER_NAME"] = host
    environ["SERVER_PORT"] = "" if port is None else str(port)
    environ["wsgi.url_scheme"] = connection.scheme
    _set_client(environ, connection.client)
    connection.scope = environ
    return environ


def _set_client(environ: dict[str, Any], client: tuple[str, int] | None) -> None:
    environ["REMOTE_ADDR"] = "" if client is None else client[0]
    environ["REMOTE_PORT"] = "" if client is None else str(client[1])


def environ_of(response: Response, connection: Connection) -> dict[str, Any]:
    """The environ of one request, without `wsgi.input`."""
    engine = connection.engine
    environ = (connection.scope or _template(connection)).copy()
    target = response.target.decode("ascii")
    path, _, query = target.partition("?")
    if "%" in path:
        path = unquote_to_bytes(path).decode("latin-1")
    if response.marked is not None and connection.trusted:
        client, environ["wsgi.url_scheme"] = engine.forwarded.apply(response.marked, connection)
        _set_client(environ, client)
    environ["REQUEST_METHOD"] = response.method
    environ["PATH_INFO"] = path
    environ["QUERY_STRING"] = query
    environ["RAW_URI"] = target
    environ["REQUEST_URI"] = target
    environ["SERVER_PROTOCOL"] = "HTTP/1.1" if response.version == "1.1" else "HTTP/1.0"
    for name, value in response.fields:
        key = KEYS.get(name)
        if key is None:
            if b"_" in name:
                continue  # X_User would pass for X-User, which a proxy may have checked
            key = _key(name)
        text = value.decode("latin-1")
        if key in environ:
            text = environ[key] + ("; " if name == b"cookie" else ",") + text
        environ[key] = text
    return environ
