"""Servers that take what publishers send and decode it as it must be decoded."""

from __future__ import annotations

import gzip
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf import json_format
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

JSON_TYPE = "application/json"
PROTOBUF_TYPE = "application/x-protobuf"


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def plain(self) -> bytes:
        return gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body

    def metrics(self) -> Any:
        """Decoded by OpenTelemetry's own classes; unknown fields are errors."""
        found = ExportMetricsServiceRequest()
        if self.headers["content-type"] == JSON_TYPE:
            json_format.Parse(self.plain, found)
        else:
            assert self.headers["content-type"] == PROTOBUF_TYPE
            found.ParseFromString(self.plain)
            assert not UnknownFieldSet(found)
        return found

    def points(self) -> list[Any]:
        return [
            point
            for resource in self.metrics().resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in getattr(metric, str(metric.WhichOneof("data"))).data_points
        ]


Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Receiver:
    port: int = 0
    taken: list[Request] = field(default_factory=list)
    """Those that were answered with 200."""
    asked: int = 0
    answers: list[Answer] = field(default_factory=list)
    """What the next requests are answered, instead of 200."""
    connections: set[tuple[str, int]] = field(default_factory=set)
    hangs_up: bool = False
    """Each connection is closed after an answer that did not say so."""


@contextmanager
def receiving(port: int = 0, *, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:  # who sent it was killed
                self.close_connection = True
                return
            headers = {key.lower(): value for key, value in self.headers.items()}
            found.asked += 1
            found.connections.add(self.client_address)
            status, more, answer = (200, {}, b"") if not found.answers else found.answers.pop(0)
            if status == 200:
                found.taken.append(Request(self.path, headers, body))
            self.send_response(status)
            more = {"Content-Type": headers["content-type"], **more}
            for key, value in more.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            if found.hangs_up:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        found.port = server.server_port
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def refused(count: int, why: str, kind: str) -> Answer:
    """A partial success."""
    answer = ExportMetricsServiceResponse()
    answer.partial_success.rejected_data_points = count
    answer.partial_success.error_message = why
    if kind == JSON_TYPE:
        return 200, {}, json.dumps(json_format.MessageToDict(answer)).encode()
    return 200, {}, answer.SerializeToString()


Make = Callable[[str], Any]
