"""One HTTP request with a deadline for all of it: to etcd, to a webhook."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import SplitResult, urlsplit

ANSWER_LIMIT: Final = 16 * 1024 * 1024
"""Bytes."""


class PostFailed(Exception):
    """There was no answer; the message says from whom, and shows nothing of the URL but its host."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


def post(
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    timeout_s: float,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """The answer, whatever its status; redirects are not followed.

    `timeout_s` is for everything after the name has been resolved: a peer that sends a byte now and then does not get more.
    `tls` is for https; without it, the authorities of the system are trusted.

    Raises:
        PostFailed: the peer cannot be reached, did not answer in time, or not in HTTP, or with too much.
        ValueError: the URL is none of http or https.
    """
    parts = checked_url(url)
    peer = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    connection = _connection(parts, timeout_s, tls)
    end = _End()
    timer = threading.Timer(timeout_s, end.cut)
    timer.daemon = True
    timer.start()
    try:
        connection.connect()
        end.watch(connection.sock)
        connection.request("POST", _target(parts), body, dict(headers))
        response = connection.getresponse()
        content = response.read(ANSWER_LIMIT + 1)
        if len(content) > ANSWER_LIMIT:
            raise PostFailed(f"{peer} answered with more than {ANSWER_LIMIT // 1024 // 1024} MiB")
        if end.has_come:
            raise TimeoutError
        return Answer(response.status, content)
    except (OSError, HTTPException) as error:
        if end.has_come or isinstance(error, TimeoutError):
            raise PostFailed(f"{peer} did not answer within {timeout_s:g} s") from None
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise PostFailed(f"{peer} cannot be asked: {text or type(error).__name__}") from None
    finally:
        timer.cancel()
        connection.close()


def checked_url(url: str) -> SplitResult:
    """Raises ValueError: it is no URL of a server that speaks HTTP. The message does not show it: it may hold a password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected a URL such as http://127.0.0.1:2379 or https://host/path")
    _ = parts.port  # raises ValueError where it is no number
    return parts


def _connection(parts: SplitResult, timeout_s: float, tls: ssl.SSLContext | None) -> HTTPConnection:
    host = str(parts.hostname)
    if parts.scheme == "https":
        return HTTPSConnection(host, parts.port, timeout=timeout_s, context=tls)
    return HTTPConnection(host, parts.port, timeout=timeout_s)


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


class _End:
    """Cuts a connection when its time has come: timeouts of sockets are for one read each, and never add up to a deadline."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._sock: socket.socket | None = None
        self.has_come = False

    def watch(self, sock: socket.socket) -> None:
        with self._lock:
            self._sock = sock
            if self.has_come:
                raise TimeoutError

    def cut(self) -> None:
        with self._lock:
            self.has_come = True
            if self._sock is not None:
                with suppress(OSError):
                    # Below TLS: its own shutdown takes the state away that another thread is reading with.
                    socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
