"""An application that writes down every request it sees, for any server; ASGI and WSGI.

One line of JSON when a request has begun, one when its body was read to its end, appended to `$RECORD`.
"""

from __future__ import annotations

import itertools
import json
import os

_numbers = itertools.count()
_file = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def note(**fields):
    os.write(_file, json.dumps({"pid": os.getpid(), **fields}).encode() + b"\n")


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    number = next(_numbers)
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    method = scope.get("method", "WEBSOCKET")
    note(number=number, client=scope["client"][1], line=f"{method} {target.decode('latin-1')}", fields=fields)
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close"})
        return
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    note(number=number, body=body.decode("latin-1"))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def wsgi(environ, start_response):
    number = next(_numbers)
    fields = [
        [name.removeprefix("HTTP_").lower().replace("_", "-"), value]
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
    ]
    line = f"{environ['REQUEST_METHOD']} {environ['RAW_URI'].removesuffix('?')}"
    note(number=number, client=int(environ["REMOTE_PORT"]), line=line, fields=fields)
    body = environ["wsgi.input"].read()
    note(number=number, body=body.decode("latin-1"))
    start_response("200 OK", [("Content-Length", "0")])
    return []
