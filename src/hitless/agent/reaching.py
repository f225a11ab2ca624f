"""Whether what the definition names can be reached from here, now: asked for by `hitless agent check --reach`, never by a change.

A collector that is down for a minute is no reason to refuse a definition: its buffer is for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from hitless.agent.plugins import PUBLISHER, Plugins
from hitless.agent.publishers.publisher import can_reach
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.reading import Reading
from hitless.config import KeyPath, Problem

AT_ONCE: Final = 16


def unreachable(reading: Reading, plugins: Plugins) -> tuple[Problem, ...]:
    """Each publisher that cannot be reached, where it stands first, and why. The definition must be valid."""
    places: dict[str, KeyPath] = {}
    for path, url in _urls(reading):
        places.setdefault(url, path)
    with ThreadPoolExecutor(AT_ONCE, "hitless-reach") as pool:
        answers = pool.map(lambda url: _complaint(url, plugins), places)
        return tuple(
            reading.place(path).problem(complaint)
            for path, complaint in zip(places.values(), answers, strict=True)
            if complaint is not None
        )


def _urls(reading: Reading) -> Iterator[tuple[KeyPath, str]]:
    definition = reading.definition
    for kind, sinks in (("sinks", definition.sinks), ("event_sinks", definition.event_sinks)):
        for name, sink in sinks.items():
            for index, url in enumerate(sink.publishers):
                yield (kind, name, "publishers", index), url


def _complaint(url: str, plugins: Plugins) -> str | None:
    parsed = PublisherUrl.parse(url)
    publisher = plugins.load(PUBLISHER, parsed.scheme)(parsed)
    if not can_reach(publisher):
        return None
    try:
        publisher.reach()
    except Exception as error:  # noqa: BLE001 - a publisher may raise anything: that is the answer
        return f"{parsed} cannot be reached: {type(error).__name__}: {error}"
    return None
