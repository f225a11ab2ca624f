"""A node's service, as small as it can be: says its release and that it is well. Started as `fake_node.py FOLDER ADDRESS PORT`.

The folder holds `release` (what is installed), `pid` (of the process that runs), and says how it misbehaves: `ignores-term`,
`ill` (its health answers 503). Ends at SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


def main(folder: Path, address: str, port: int) -> None:
    release = (folder / "release").read_text().strip()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_ill = (folder / "ill").exists() or (folder / f"ill-{release}").exists()
            body = json.dumps({"release": release, "pid": os.getpid()}).encode()
            self.send_response(503 if self.path == "/health" and is_ill else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer((address, port), Handler)
    if (folder / "ignores-term").exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / "pid").write_text(str(os.getpid()))
    (folder / "starts").open("a").write(f"{release}\n")
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
