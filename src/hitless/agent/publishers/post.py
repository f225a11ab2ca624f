"""POSTs to one URL over a connection that is kept, and what the answer means for the batch."""

from __future__ import annotations

import gzip
import http.client
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import unquote, urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from hitless.agent.publishers.failures import Rejected, Unreachable
from hitless.agent.publishers.url import PublisherUrl
from hitless.config import Seconds

AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same batch may be taken later."""
SHOWN: Final = 200
"""Bytes of an answer in messages."""
LONGEST_ANSWER: Final = 1 << 20


class PostOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout: Annotated[Seconds, Field(gt=0)] = 10.0
    """To connect, and for each step of the answer."""
    gzip: bool = False
    verify_ssl: str = "true"
    """`false`, or the path of the authorities' certificates."""
    clientcert: str | None = None
    clientkey: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    content_type: str
    body: bytes


class Post:
    """Used by one thread at a time."""

    def __init__(self, url: PublisherUrl, options: PostOptions, *, is_tls: bool, path: str) -> None:
        """Raises ValueError: there is no host in the URL."""
        if not url.host:
            raise ValueError(f"expected a host, as {url.scheme}://127.0.0.1:8080/")
        self._where: Final = (url.host, url.port)
        self._options: Final = options
        self._is_tls: Final = is_tls
        self._path: Final = path
        self._headers: Final = _authorization(url)
        self._tls: ssl.SSLContext | None = None
        self._connection: http.client.HTTPConnection | None = None

    def open(self) -> None:
        """Read the certificates; connects with the first batch: a server that is down now may be there then.

        Raises OSError: they cannot be read.
        """
        if self._is_tls:
            self._tls = self._context()

    def send(self, body: bytes, content_type: str) -> Answer:
        """The answer of a server that took it.

        Raises:
            Unreachable: nobody answered, or the answer says that it may be taken later.
            Rejected: it never will be.
        """
        headers = {**self._headers, "Content-Type": content_type, "User-Agent": "hitless-agent"}
        if self._options.gzip:
            body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        is_kept = self._connection is not None
        try:
            return self._sent(body, headers)
        except Unreachable as error:
            if not is_kept or self._connection is not None or isinstance(error.__cause__, TimeoutError):
                raise
        # The server had closed the connection that was kept: that says nothing about the batch.
        return self._sent(body, headers)

    def reach(self) -> None:
        """Connect, with TLS where it is, and no more. Raises OSError."""
        connection = self._made()
        try:
            connection.connect()
        finally:
            connection.close()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _sent(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        connection = self._connection = self._connection or self._made()
        try:
            connection.request("POST", self._path, body, dict(headers))
            answer = connection.getresponse()
            found = answer.read(LONGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        if not answer.isclosed():
            self.close()  # it has more to say than anybody wants to hear
        if 200 <= answer.status < 300:
            return Answer(answer.headers.get_content_type(), found)
        told = f"{answer.status} {answer.reason}: {found[:SHOWN].decode(errors='replace')}".strip(": ")
        if answer.status in AGAIN:
            raise Unreachable(told, retry_after_s=_seconds(answer.getheader("Retry-After")))
        raise Rejected(told)

    def _made(self) -> http.client.HTTPConnection:
        host, port = self._where
        if not self._is_tls:
            return http.client.HTTPConnection(host, port, timeout=self._options.timeout)
        return http.client.HTTPSConnection(
            host, port, timeout=self._options.timeout, context=self._tls or self._context()
        )

    def _context(self) -> ssl.SSLContext:
        options = self._options
        named = None if options.verify_ssl in ("true", "false") else options.verify_ssl
        context = ssl.create_default_context(cafile=named)
        if options.verify_ssl == "false":
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if options.clientcert is not None:
            context.load_cert_chain(options.clientcert, options.clientkey)
        return context


def path_with(url: PublisherUrl, rest: list[tuple[str, str]], default: str = "/") -> str:
    path = url.raw_path or default
    return f"{path}?{urlencode(rest)}" if rest else path


def _authorization(url: PublisherUrl) -> dict[str, str]:
    user, password = _credentials(url.text)
    if user is None:
        return {}
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


def _credentials(text: str) -> tuple[str | None, str]:
    parts = urlsplit(f"//{text.partition('://')[2]}")
    return (None if parts.username is None else unquote(parts.username)), unquote(parts.password or "")


def _seconds(text: str | None) -> float:
    """Of a Retry-After; a date is not looked at: our own pauses are not shorter by much."""
    return float(text) if text is not None and text.isdecimal() else 0.0
