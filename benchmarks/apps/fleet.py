"""Answers for the nodes of a fleet whose processes are real and say nothing: `fleet.py FOLDER PORT ADDRESS…`.

Each folder FOLDER/ADDRESS has `pid`, whose process is the node's, and `running`, the release that it was started with. A node whose
process is not there answers 503.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path


async def answer(folder: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    node = folder / writer.get_extra_info("sockname")[0]
    try:
        pid = int((node / "pid").read_text())
        is_alive = "sleep" in Path(f"/proc/{pid}/cmdline").read_text()
        body = (node / "running").read_text().strip().encode() if is_alive else b""
    except (OSError, ValueError):
        body = b""
    status = b"200 OK" if body else b"503 Service Unavailable"
    writer.write(
        b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(body), body)
    )
    writer.close()


async def main(folder: Path, port: int, addresses: list[str]) -> None:
    servers = [
        await asyncio.start_server(lambda r, w: answer(folder, r, w), address, port) for address in addresses
    ]
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
