"""etcd's JSON gateway (v3, etcd 3.4 and newer): a prefix at one revision, and word of every change after that.

https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/ : keys and values are base64, 64-bit numbers are text.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final

from hitless.change import Deadline, DeadlinePassed
from hitless.config.etcd.stream import lines_of
from hitless.config.posting import PostFailed, checked_url, post

JSON_HEADERS: Final = {"Content-Type": "application/json"}


class EtcdError(Exception):
    """etcd did not do what it was asked for; the message names the endpoint."""


class Compacted(EtcdError):
    """The changes since then are no longer known: read anew."""


@dataclass(frozen=True, slots=True)
class Pair:
    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything below a prefix, as it was at one revision; in the order of the keys."""

    revision: int
    pairs: tuple[Pair, ...]


class Gateway:
    """Asks the endpoints in turn; the first that answers counts. `timeout_s` is for one call, over all endpoints."""

    def __init__(self, endpoints: Sequence[str], timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        if not endpoints:
            raise ValueError("expected at least one endpoint, such as http://127.0.0.1:2379")
        for each in endpoints:
            checked_url(each)
        self._endpoints: Final = tuple(each.rstrip("/") for each in endpoints)
        self._timeout_s: Final = timeout_s
        self._tls: Final = tls

    def read(self, prefix: str) -> Reading:
        """Everything below the prefix, agreed on by a majority of the cluster.

        Raises:
            EtcdError: no endpoint answered in time, or one refused.
        """
        answer = self.ask("/v3/kv/range", _range(prefix))
        pairs = (Pair(_text(each["key"]), b64decode(each.get("value", ""))) for each in answer.get("kvs", ()))
        return Reading(int(answer["header"]["revision"]), tuple(sorted(pairs, key=lambda pair: pair.key)))

    async def changes(self, prefix: str, *, since: int) -> AsyncGenerator[int, None]:
        """The revision of each change below the prefix from revision `since` on; first of all, 0 once etcd is listening.

        Ends when etcd ends it. Close it (`aclosing`) when it is not wanted any more.

        Raises:
            Compacted: etcd has forgotten changes from `since` on.
            EtcdError: no endpoint is there, the connection broke, or etcd refused.
        """
        request = {"create_request": {**_range(prefix), "start_revision": str(since)}}
        reader, writer, endpoint = await self._connect("/v3/watch", request)
        try:
            async with aclosing(lines_of(reader)) as lines:
                async for line in lines:
                    yield _change(_decoded(line, endpoint), endpoint)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise EtcdError(f"{endpoint} ended the watch: {error or type(error).__name__}") from None
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def ask(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one call of the gateway, such as `/v3/kv/txn`; it may be a stream's `{"result": …}`.

        Raises:
            EtcdError: no endpoint answered in time, or one refused. It may have been done all the same.
        """
        body, troubles = json.dumps(request).encode(), []
        for endpoint in self._endpoints:
            try:
                answer = post(
                    endpoint + path,
                    body,
                    headers=JSON_HEADERS,
                    timeout_s=self._timeout_s / len(self._endpoints),
                    tls=self._tls,
                )
                found = _decoded(answer.body, endpoint)
            except (PostFailed, EtcdError) as error:
                troubles.append(str(error))
                continue
            if answer.status == 200 and ("header" in found or "result" in found):
                return found
            troubles.append(
                f"{endpoint} refused: {found.get('error') or found.get('message') or answer.status}"
            )
        raise EtcdError("; ".join(troubles))

    async def _connect(
        self, path: str, request: dict[str, Any]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        troubles = []
        for endpoint in self._endpoints:
            parts = checked_url(endpoint)
            secure = (self._tls or ssl.create_default_context()) if parts.scheme == "https" else None
            port = parts.port or (443 if secure else 80)
            deadline = Deadline.after(self._timeout_s / len(self._endpoints))
            try:
                reader, writer = await deadline.wait(
                    asyncio.open_connection(parts.hostname, port, ssl=secure), f"{endpoint} did not answer"
                )
            except (OSError, DeadlinePassed) as error:
                troubles.append(f"{endpoint} cannot be watched: {error}")
                continue
            body = json.dumps(request).encode()
            head = f"POST {path} HTTP/1.1\r\nHost: {parts.hostname}:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            return reader, writer, endpoint
        raise EtcdError("; ".join(troubles))


def _range(prefix: str) -> dict[str, str]:
    """The keys that begin with the prefix: up to the next one that does not."""
    key = prefix.encode()
    end = key.rstrip(b"\xff")
    end = end[:-1] + bytes([end[-1] + 1])
    return {"key": b64encode(key).decode(), "range_end": b64encode(end).decode()}


def _change(message: dict[str, Any], endpoint: str) -> int:
    """What a message of the watch says. Raises EtcdError."""
    result = message.get("result")
    if not isinstance(result, dict):
        error = message.get("error")
        text = error.get("message") if isinstance(error, dict) else error
        raise EtcdError(f"{endpoint} refused the watch: {text or 'it gave no reason'}")
    if compacted := result.get("compact_revision"):
        raise Compacted(f"{endpoint} has forgotten what was before revision {compacted}")
    if result.get("canceled"):
        raise EtcdError(f"{endpoint} ended the watch: {result.get('cancel_reason') or 'it gave no reason'}")
    return 0 if result.get("created") else int(result.get("header", {}).get("revision", 0))


def _decoded(line: bytes, endpoint: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise EtcdError(
            f"{endpoint} did not answer in JSON; is it the client URL of an etcd of version 3.4 or newer?"
        )
    return found


def _text(encoded: str) -> str:
    return b64decode(encoded).decode("utf-8", "backslashreplace")
