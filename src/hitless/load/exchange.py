"""A request with what it expects, and the response to it: plain values."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass

from hitless.load.failure import Failure, RequestFailed

SUCCESS = range(200, 300)
CHUNK_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """What a complete response carried."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""
    body: bytes
    """The content, if the request asked to keep it."""
    length: int
    """Bytes of content."""
    sha256: str
    """Digest of the content, if the request had an expectation of it."""

    def header(self, name: str) -> str | None:
        """The first header of this (lower case) name."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, what it expects, and what follows it."""

    path: str = ""
    """Empty for the target's own path."""
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    chunked: bool = False
    """Send the body in chunks of 16 KiB instead of with a Content-Length."""
    expect_status: Container[int] = SUCCESS
    expect_sha256: str | None = None
    """Digest that the response's content must have."""
    expect_length: int | None = None
    keep_body: bool = False
    """Keep the response's content (at most 1 MiB of it)."""
    then: Callable[[Response], Request | None] | None = None
    """The request that this client sends next, at once, if this one was answered as expected."""

    @property
    def label(self) -> str:
        return f"{self.method} {self.path}"

    def encode(self, authority: str, path: str) -> bytes:
        """Head and body as sent to `authority`; `path` is used where the request names none."""
        lines = [f"{self.method} {self.path or path} HTTP/1.1", f"Host: {authority}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif self.body or self.method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(self.body)}")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        return head + (b"".join(chunks(self.body)) if self.chunked else self.body)

    def verify(self, response: Response) -> None:
        """That the response is the one expected.

        Raises:
            RequestFailed: bad status or wrong body.
        """
        if response.status not in self.expect_status:
            raise RequestFailed(Failure.BAD_STATUS, detail=f"status {response.status}")
        if self.expect_length is not None and response.length != self.expect_length:
            raise RequestFailed(
                Failure.WRONG_BODY, detail=f"{response.length} bytes instead of {self.expect_length}"
            )
        if self.expect_sha256 is not None and response.sha256 != self.expect_sha256:
            raise RequestFailed(
                Failure.WRONG_BODY,
                detail=f"sha256 {response.sha256[:12]}… instead of {self.expect_sha256[:12]}…",
            )


def chunks(body: bytes, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """`body` in chunked transfer coding, the last chunk included (RFC 9112, 7.1)."""
    for begin in range(0, len(body), size):
        yield chunk(body[begin : begin + size])
    yield b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked transfer coding; `data` is not empty, an empty one would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
