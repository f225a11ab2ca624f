"""Sends a case to a server and says what came of it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from serve.hostile.case import Case

QUIET_S: Final = 3.0
"""A server that has said nothing for so long, and has not closed, waits for more."""

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Encounter:
    """What a client and an application saw of one case."""

    answers: tuple[int, ...]
    fields: tuple[tuple[str, str], ...]
    """Of the last answer."""
    waits: bool
    """The server had not closed the connection: it waited for more."""
    seen: tuple[str, ...]
    """Requests that the application had complete."""
    begun: tuple[str, ...]
    """Requests that it had begun to read, and never had complete."""
    headers: tuple[tuple[str, str], ...]
    """All request fields that the application saw."""

    def __str__(self) -> str:
        answers = " ".join(map(str, self.answers)) or "nothing"
        if self.waits:  # then what the application gets depends on when we hang up
            return f"{answers}, waits"
        return f"{answers}; {' + '.join(map(short, self.seen)) or 'none'}"


def short(seen: str) -> str:
    """One request in one readable piece."""
    text = seen.encode("unicode_escape").decode()
    return text if len(text) <= 48 else f"{text[:40]}…{len(text)}"


async def meet(address: Address, cases: Iterable[Case], record: Path) -> dict[str, Encounter]:
    """All cases at once, each on a connection of its own."""
    record.write_bytes(b"")
    cases = tuple(cases)
    heard = await asyncio.gather(
        *(_send(address, case.stream, half_closes=case.half_closes) for case in cases)
    )
    # An answered request has been recorded; one that was begun before this one too.
    _, answer, _ = await _send(
        address, b"GET /probe HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", half_closes=False
    )
    assert _answers(answer)[0] == (200,), "the server lives on"
    apps = _read(record)
    return {case.name: _encounter(*said, apps) for case, said in zip(cases, heard, strict=True)}


async def _send(address: Address, data: bytes, *, half_closes: bool) -> tuple[int, bytes, bool]:
    """The client's port, all that the server said, and whether it was waiting for more in the end."""
    reader, writer = await asyncio.open_connection(*address, family=socket.AF_INET)
    port = writer.get_extra_info("sockname")[1]
    said = bytearray()
    waits = False
    try:
        writer.write(data)
        if half_closes:
            writer.write_eof()
        while True:
            try:
                block = await asyncio.wait_for(reader.read(65536), QUIET_S)
            except TimeoutError:
                waits = True
                break
            if not block:
                break
            said += block
    except ConnectionError:
        pass  # a reset is an end, too
    finally:
        writer.transport.abort()
    return port, bytes(said), waits


def _answers(said: bytes) -> tuple[tuple[int, ...], tuple[tuple[str, str], ...]]:
    """Statuses (100 left out: whether it is sent depends on how fast the body comes) and the last fields."""
    statuses = []
    fields: tuple[tuple[str, str], ...] = ()
    while said.startswith(b"HTTP/1."):
        head, _, said = said.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = tuple(
            (name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)
        )
        status = int(first.split(" ")[1])
        if status == 100:
            continue
        statuses.append(status)
        said = said[int(dict(fields).get("content-length", len(said))) :]
    assert not said or status == 101, f"not a response: {said[:200]!r}"
    return tuple(statuses), fields


def _read(record: Path) -> dict[int, list[dict[str, Any]]]:
    """Requests that the application saw, by the client's port."""
    requests: dict[tuple[int, int], dict[str, Any]] = {}
    for line in record.read_text().splitlines():
        entry = json.loads(line)
        requests.setdefault((entry["pid"], entry["number"]), {}).update(entry)
    by_port: dict[int, list[dict[str, Any]]] = {}
    for request in requests.values():
        by_port.setdefault(request["client"], []).append(request)
    return by_port


def _encounter(port: int, said: bytes, waits: bool, apps: dict[int, list[dict[str, Any]]]) -> Encounter:
    requests = apps.get(port, [])
    answers, fields = _answers(said)
    return Encounter(
        answers=answers,
        fields=fields,
        waits=waits,
        seen=tuple(f"{one['line']} {one['body']}".removesuffix(" ") for one in requests if "body" in one),
        begun=tuple(one["line"] for one in requests if "body" not in one),
        headers=tuple((name.lower(), value) for one in requests for name, value in one["fields"]),
    )
