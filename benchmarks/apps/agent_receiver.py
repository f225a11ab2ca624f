"""Takes POSTs and counts the data points in them: each has one attribute `resource_id`. Says its port; GET tells the count."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

POINTS = [0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        POINTS[0] += self.rfile.read(int(self.headers["Content-Length"])).count(b"resource_id")
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(str(POINTS[0]).encode())
        POINTS[0] = 0

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
