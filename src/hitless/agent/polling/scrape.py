"""Scrapes what exposes metrics for Prometheus: resources are http:// and https:// URLs.

`prometheus.scrape` gives a sample for every series, named as the metric: counters are cumulative, all others gauges. The resource
of each is the URL with the series' labels, so that a rate is that of one series. `http://host:9100/metrics#node_load1,node_cpu_*`
takes some metrics only. `prometheus.up` says whether it could be scraped.
"""

from __future__ import annotations

import http.client
import math
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from hitless.agent.filters import Filter, complaint_of
from hitless.agent.polling.pollster import PermanentFailure, Poll, pollster
from hitless.agent.sample import Sample, SampleKind

AT_ONCE: Final = 16
SHARE: Final = 0.8
"""Of the poll's timeout, for one target: the others' answers still come in time."""
LONGEST: Final = 64 << 20
"""Bytes of an answer; more is refused."""
ACCEPT: Final = "text/plain;version=0.0.4"
CUMULATIVE: Final = ("_total", "_count", "_sum", "_bucket")
"""Endings of samples that only grow, in the families below."""
GROWING: Final = frozenset({"counter", "histogram", "summary"})


@dataclass(frozen=True, slots=True)
class Scrape:
    text: str | None
    error: str = ""


@pollster()
def up(poll: Poll) -> Iterator[Sample]:
    """1 if the target could be scraped, else 0 with the reason."""
    for url, found in _scrapes(poll):
        yield poll.sample(
            float(found.text is not None),
            unit="up",
            resource=_target(url),
            metadata={"error": found.error} if found.error else None,
        )


@pollster()
def scrape(poll: Poll) -> Iterator[Sample]:
    for url, found in _scrapes(poll):
        if found.text is None:
            continue
        patterns = _patterns(url)
        takes = Filter(patterns).takes if patterns else None
        for family in text_string_to_metric_families(found.text):
            for each in family.samples:
                if math.isfinite(each.value) and (takes is None or takes(each.name)):
                    yield poll.sample(
                        each.value,
                        unit=family.unit,
                        resource=_series(url, each.labels),
                        kind=_kind(family.type, each.name),
                        metadata=each.labels,
                    )._replace(name=each.name)


def _kind(family: str, name: str) -> SampleKind:
    return "cumulative" if family in GROWING and name.endswith(CUMULATIVE) else "gauge"


def _series(url: str, labels: dict[str, str]) -> str:
    shown = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"{_target(url)}{{{shown}}}" if shown else _target(url)


def _target(url: str) -> str:
    return url.partition("#")[0]


def _patterns(url: str) -> tuple[str, ...]:
    fragment = url.partition("#")[2]
    return tuple(fragment.split(",")) if fragment else ()


def _scrapes(poll: Poll) -> list[tuple[str, Scrape]]:
    """All at the same time; each target is asked once in a tick, whatever is wanted of it."""
    if wrong := [each for each in poll.resources if not _is_target(each)]:
        raise PermanentFailure(wrong, f"{poll.meter} polls http:// and https:// URLs, with #PATTERN,PATTERN")
    if not poll.resources:
        return []

    def ask(url: str) -> tuple[str, Scrape]:
        target = _target(url)
        return url, poll.cache.get((_asked, target), partial(_asked, target, poll.timeout_s * SHARE))

    with ThreadPoolExecutor(min(AT_ONCE, len(poll.resources)), "hitless-scrape") as pool:
        return list(pool.map(ask, poll.resources))


def _asked(url: str, timeout_s: float) -> Scrape:
    try:
        return Scrape(_text(url, timeout_s))
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Scrape(None, f"{type(error).__name__}: {error}")


def _text(url: str, timeout_s: float) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection = (
        http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
    )
    try:
        target = (parts.path or "/metrics") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Accept": ACCEPT, "User-Agent": "hitless-agent"})
        answer = connection.getresponse()
        body = answer.read(LONGEST + 1)
    finally:
        connection.close()
    if answer.status != 200:
        raise ValueError(f"it answered {answer.status} {answer.reason}")
    if len(body) > LONGEST:
        raise ValueError(f"its answer is longer than {LONGEST} bytes")
    text = body.decode()
    for _ in text_string_to_metric_families(text):
        pass  # all of it can be read, or none of it is taken
    return text


def _is_target(text: str) -> bool:
    try:
        parts = urlsplit(_target(text))
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
    patterns = _patterns(text)
    return is_url and (not patterns or complaint_of(patterns) is None)
