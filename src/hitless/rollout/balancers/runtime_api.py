"""HAProxy's runtime API: one question, one connection, one answer that is known to be whole.

Source: HAProxy's management guide, chapter 9.3. Every answer ends with an empty line, so half an answer is told from a
whole one. Commands that change something answer with nothing; any text is an error.
"""

from __future__ import annotations

import asyncio
import csv
import errno
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from hitless.change import Deadline, DeadlinePassed
from hitless.rollout.balancers.errors import BalancerRefused, BalancerUnreachable

ANSWER_LIMIT: Final = 256 << 20
"""Bytes: room for the sessions of a large instance."""
CHUNK: Final = 1 << 18
AT_ONCE: Final = 4
"""Questions to one HAProxy: its `stats maxconn` is 10 for everybody."""
RELOAD_S: Final = 1.0
"""A master that has just started or reloaded replaces itself, and refuses connections meanwhile."""
AGAIN_S: Final = 0.02
SHOWN: Final = 200
NO_PROCESS: Final = "Can't find the target PID"
UNKNOWN: Final = "Unknown command"


class RuntimeApi:
    """The stats or master socket of one HAProxy."""

    def __init__(self, address: str, answer_s: float) -> None:
        self.address: Final = address
        self._answer_s: Final = answer_s
        self._few: Final = asyncio.Semaphore(AT_ONCE)

    async def ask(self, command: str, deadline: Deadline) -> str:
        """The answer, without the empty line at its end.

        Raises:
            BalancerUnreachable: nobody answers, not in time, or only half.
            BalancerRefused: HAProxy does not know the command, or does not allow it on this socket.
        """
        sooner = deadline.sooner(self._answer_s)
        try:
            answer = await sooner.wait(self._exchange(command), f"haproxy at {self.address} did not answer")
        except DeadlinePassed as error:
            if deadline.expired:
                raise
            raise BalancerUnreachable(str(error)) from None
        except OSError as error:
            raise BalancerUnreachable(
                f"haproxy at {self.address} cannot be reached: {error.strerror or error}"
            ) from error
        if answer.startswith(NO_PROCESS):
            raise BalancerUnreachable(
                f"haproxy at {self.address} has no process to ask: it was just reloaded"
            )
        if answer.startswith((UNKNOWN, "Permission denied")):
            raise BalancerRefused(
                f"haproxy at {self.address} refused {command!r}: {_shown(answer)}; level admin is needed"
            )
        return answer

    async def tell(self, command: str, deadline: Deadline) -> None:
        """Change something.

        Raises:
            BalancerRefused: HAProxy answered with anything.
        """
        answer = (await self.ask(command, deadline)).strip()
        if answer:
            raise BalancerRefused(f"haproxy at {self.address} refused {command!r}: {_shown(answer)}")

    async def _exchange(self, command: str) -> str:
        async with self._few:
            return await self._exchanged(command)

    async def _exchanged(self, command: str) -> str:
        reader, writer = await self._connect()
        try:
            writer.write(command.encode() + b"\n")
            if writer.can_write_eof():
                writer.write_eof()  # a master socket would wait for more
            data = await _all(reader, self.address)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        return _whole(data, self.address)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.address.startswith("tcp://"):
            host, _, port = self.address.removeprefix("tcp://").rpartition(":")
            return await asyncio.open_connection(host.strip("[]"), int(port))
        path, moment = self.address.removeprefix("unix://"), Deadline.after(RELOAD_S)
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(path)
                if _is_connected(writer):
                    return reader, writer
                writer.close()
                if moment.expired:
                    raise ConnectionRefusedError(errno.ECONNREFUSED, "its queue of connections is full")
            except (ConnectionRefusedError, FileNotFoundError):
                if moment.expired:
                    raise
            await asyncio.sleep(AGAIN_S)  # it tells nobody when it listens again


def rows(answer: str, first: str, address: str) -> Sequence[Mapping[str, str]]:
    """An answer in CSV whose header begins with `# FIRST`.

    Raises:
        BalancerUnreachable: it is something else.
    """
    header = f"# {first},"
    if not answer.startswith(header):
        raise BalancerUnreachable(f"haproxy at {address} did not answer in its own words: {_shown(answer)}")
    found = [row for row in csv.DictReader(io.StringIO(answer.removeprefix("# "))) if row]
    if any(None in row or None in row.values() for row in found[:-1]):
        raise BalancerUnreachable(f"haproxy at {address} answered with rows of different lengths")
    return found


def table(answer: str, address: str) -> Sequence[Mapping[str, str]]:
    """An answer of columns between spaces, whose header begins with `#`.

    Raises:
        BalancerUnreachable: it is something else.
    """
    lines = [line for line in answer.splitlines() if line.strip()]
    header = next((line for line in lines if line.startswith("# ")), None)
    if header is None:
        raise BalancerUnreachable(f"haproxy at {address} did not answer in its own words: {_shown(answer)}")
    names = header.removeprefix("# ").split()
    found = [line.split() for line in lines[lines.index(header) + 1 :]]
    if any(len(each) < len(names) - 1 for each in found):
        raise BalancerUnreachable(f"haproxy at {address} answered with rows of different lengths")
    return [dict(zip(names, each, strict=False)) for each in found]


def _is_connected(writer: asyncio.StreamWriter) -> bool:
    """Where a Unix socket's queue is full, connect() says "again", which asyncio takes for "in a moment"."""
    try:
        writer.get_extra_info("socket").getpeername()
    except OSError:
        return False
    return True


async def _all(reader: asyncio.StreamReader, address: str) -> bytes:
    data = bytearray()
    while part := await reader.read(CHUNK):
        data += part
        if len(data) > ANSWER_LIMIT:
            raise BalancerUnreachable(f"haproxy at {address} does not stop to answer")
    return bytes(data)


def _whole(data: bytes, address: str) -> str:
    """That it ends with an empty line."""
    text = data.decode(errors="replace")
    if text != "\n" and not text.endswith("\n\n"):
        what = (
            "closed the connection"
            if not data
            else f"stopped in the middle of its answer: {_shown(text[-SHOWN:])}"
        )
        raise BalancerUnreachable(f"haproxy at {address} {what}")
    return text.rstrip("\n") + "\n" if text.strip("\n") else ""


def _shown(text: str) -> str:
    said = text.strip()
    line = said.splitlines()[0] if said else "nothing"
    return ascii(line[:SHOWN])[1:-1]
