"""The examples in docs/load.md are programs, and they run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "load.md"
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("program", PROGRAMS)
async def test_the_documents_examples_run(serve, program):
    store: dict[bytes, bytes] = {}

    async def handler(peer):
        while (request := await peer.request())[0]:
            (method, path, _), body = request[0].split(b" ", 2), request[1]
            if method == b"PUT":
                store[path] = body
            answer = store.get(path, b"") if method == b"GET" else b""
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))

    url = await serve(handler)
    names: dict[str, object] = {}
    exec(program.replace("seconds=60", "seconds=0.2"), names)
    await names["main"](url)  # type: ignore[operator]


def test_there_are_examples():
    assert len(PROGRAMS) == 2
