"""Asks web servers: does it answer, with what, how fast, and for how long is its certificate good?

Resources are http:// and https:// URLs. One GET serves all meters of a tick. Redirects are not followed: they are the answer.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import SplitResult, urlsplit

from hitless.agent.polling.pollster import PermanentFailure, Poll, Pollster, pollster
from hitless.agent.sample import Sample

DAY_S: Final = 86400.0
AT_ONCE: Final = 16
SHARE: Final = 0.8
"""Of the poll's timeout, for one request: the others' answers still come in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int | None
    """None if there was no answer."""
    latency_s: float
    certificate_days: float | None
    """Until the certificate ends; None without TLS, or where it could not be verified."""
    error: str = ""


def _ask(url: str, timeout_s: float) -> Answer:
    began = time.monotonic()
    try:
        return _answer(urlsplit(url), timeout_s, began)
    except (OSError, http.client.HTTPException) as error:
        return Answer(None, time.monotonic() - began, None, f"{type(error).__name__}: {error}")


def _answer(url: SplitResult, timeout_s: float, began: float) -> Answer:
    connection = _connection(url, timeout_s)
    try:
        connection.connect()
        days = _days(connection.sock)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request("GET", target, headers={"User-Agent": "hitless-agent", "Connection": "close"})
        status = connection.getresponse().status
        return Answer(status, time.monotonic() - began, days)
    finally:
        connection.close()


def _connection(url: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    host = url.hostname or ""
    if url.scheme == "https":
        return http.client.HTTPSConnection(
            host, url.port, timeout=timeout_s, context=ssl.create_default_context()
        )
    return http.client.HTTPConnection(host, url.port, timeout=timeout_s)


def _days(connected: object) -> float | None:
    if not isinstance(connected, ssl.SSLSocket):
        return None
    ends = (connected.getpeercert() or {}).get("notAfter")
    return (ssl.cert_time_to_seconds(ends) - time.time()) / DAY_S if isinstance(ends, str) else None


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def _meter(value: Callable[[Answer], float | None], unit: str) -> Pollster:
    """A pollster of one thing about the answer; there is no sample where there is no value."""

    @pollster()
    def measure(poll: Poll) -> Iterator[Sample]:
        if wrong := [each for each in poll.resources if not _is_url(each)]:
            raise PermanentFailure(wrong, f"{poll.meter} polls http:// and https:// URLs")
        for url, answer in _answers(poll):
            volume = value(answer)
            if volume is not None:
                yield poll.sample(
                    volume,
                    unit=unit,
                    resource=url,
                    metadata={"error": answer.error} if answer.error else None,
                )

    return measure


def _answers(poll: Poll) -> list[tuple[str, Answer]]:
    """At the same time, so that a server that does not answer keeps no other's answer back."""
    if not poll.resources:
        return []

    def ask(url: str) -> tuple[str, Answer]:
        return url, poll.cache.get((_ask, url), partial(_ask, url, poll.timeout_s * SHARE))

    with ThreadPoolExecutor(min(AT_ONCE, len(poll.resources)), "hitless-probe") as pool:
        return list(pool.map(ask, poll.resources))


up: Final = _meter(lambda answer: float(answer.status is not None and answer.status < 500), "up")
status: Final = _meter(lambda answer: None if answer.status is None else float(answer.status), "code")
latency: Final = _meter(lambda answer: answer.latency_s, "s")
certificate_days: Final = _meter(lambda answer: answer.certificate_days, "day")
