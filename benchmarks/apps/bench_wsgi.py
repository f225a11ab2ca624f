"""The benchmark's WSGI application; every server serves this very file."""

from __future__ import annotations

import hashlib
import os

from bench_release import HELLO, JSON_10K, PIECE, VERSION, touch

TEXT = ("content-type", "text/plain")
HELLO_HEADERS = [TEXT, ("content-length", str(len(HELLO)))]
JSON_HEADERS = [("content-type", "application/json"), ("content-length", str(len(JSON_10K)))]


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/" and environ["REQUEST_METHOD"] == "GET":
        start_response("200 OK", list(HELLO_HEADERS))
        return [HELLO]
    if path == "/json":
        start_response("200 OK", list(JSON_HEADERS))
        return [JSON_10K]
    if path == "/download":
        start_response("200 OK", [TEXT, ("content-length", str(256 * len(PIECE)))])
        return (PIECE for _ in range(256))
    if path == "/version":
        body = f"{VERSION} {os.getpid()}".encode()
    elif path == "/touch":
        body = str(touch()).encode()
    else:
        body = _digest(environ).encode()
    start_response("200 OK", [TEXT, ("content-length", str(len(body)))])
    return [body]


def _digest(environ):
    """Take the request's body; its digest."""
    digest = hashlib.sha256()
    stream, length = environ["wsgi.input"], environ.get("CONTENT_LENGTH")
    left = int(length) if length else (1 << 60 if environ.get("wsgi.input_terminated") else 0)
    while left > 0 and (piece := stream.read(min(left, 65536))):
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest()
