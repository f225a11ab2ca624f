"""A definition as the resources that it needs: settings for `hitless.live`, which builds and closes what differs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from hitless.agent.checking import check
from hitless.agent.definition import EVENT_PREFIX, Definition, Retry, Sink, Transformer, Value, WhenFull
from hitless.agent.plugins import Plugins
from hitless.agent.reading import FILES, read
from hitless.change import digest
from hitless.config import ConfigError, KeyPath, Layer, Origin, plain, shown


class PublisherSpec(Value):
    url: str


class OutletSpec(Value):
    """One sink to one of its publishers."""

    publisher: str
    """Key of the publisher."""
    buffer: int
    when_full: WhenFull
    batch_size: int
    retry: Retry
    events: bool = False


class Running(Value):
    definition: Definition
    publishers: dict[str, PublisherSpec]
    """By URL without password."""
    outlets: dict[str, OutletSpec]
    ways: dict[str, tuple[str, ...]]
    """The outlets of each sink; those of events are `event:NAME`."""
    chains: dict[str, tuple[Transformer, ...]]
    """Of the sinks that have transformers."""

    @classmethod
    def of(cls, definition: Definition) -> Running:
        publishers: dict[str, PublisherSpec] = {}
        outlets: dict[str, OutletSpec] = {}
        ways: dict[str, tuple[str, ...]] = {}
        sinks = [(name, sink, False) for name, sink in definition.sinks.items()]
        sinks += [(EVENT_PREFIX + name, sink, True) for name, sink in definition.event_sinks.items()]
        for name, sink, events in sinks:
            made = _outlets(name, sink, events=events)
            outlets |= made
            ways[name] = tuple(made)
            publishers |= {publisher_key(url): PublisherSpec(url=url) for url in sink.publishers}
        chains = {name: sink.transformers for name, sink in definition.sinks.items() if sink.transformers}
        return cls(definition=definition, publishers=publishers, outlets=outlets, ways=ways, chains=chains)


def publisher_key(url: str) -> str:
    """Fit to be shown and logged, and another one for another password."""
    masked = str(shown(url))
    return masked if masked == url else f"{masked}#{digest(url)[:8]}"


def _outlets(name: str, sink: Sink, *, events: bool) -> dict[str, OutletSpec]:
    """A URL that stands twice is given each sample twice, as in Ceilometer."""
    return {
        f"{name} {index} {publisher_key(url)}": OutletSpec(
            publisher=publisher_key(url),
            buffer=sink.buffer,
            when_full=sink.when_full,
            batch_size=sink.batch_size,
            retry=sink.retry,
            events=events,
        )
        for index, url in enumerate(sink.publishers)
    }


@dataclass(frozen=True, slots=True)
class DefinitionFiles:
    """A source of settings: the files of the definition, with their plug-ins checked."""

    paths: Sequence[str | os.PathLike[str]]
    plugins: Plugins
    allow_writable: bool = False

    def files(self) -> list[Path]:
        """Those there are now; what is in a directory is listed anew each time."""
        found: list[Path] = []
        for each in map(Path, self.paths):
            found += [each / name for name in FILES if (each / name).exists()] if each.is_dir() else [each]
        return found

    def layer(self, model: type[BaseModel]) -> Layer:  # noqa: ARG002
        reading = read(self.paths, allow_writable=self.allow_writable)
        if problems := check(reading, self.plugins).problems:
            raise ConfigError(problems)

        def origin(path: KeyPath) -> Origin:
            return Origin("file", str(reading.place(path[1:])))

        return Layer(dict(plain(Running.of(reading.definition))), origin, "the definition", reading.files)
