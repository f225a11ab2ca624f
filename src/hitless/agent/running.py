"""A definition as the resources that it needs: settings for `hitless.live`, which builds and closes what differs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from hitless.agent.checking import check
from hitless.agent.definition import EVENT_PREFIX, Definition, Disk, Retry, Sink, Transformer, Value, WhenFull
from hitless.agent.notifications.settings import (
    NotificationFiles,
    Notifications,
    NotificationSettings,
    read_notifications,
    watched_files,
)
from hitless.agent.plugins import Plugins
from hitless.agent.reading import FILES, read
from hitless.agent.settings import read_settings
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
    disk: Disk | None = None
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
    notifications: Notifications = Notifications()

    @classmethod
    def of(cls, definition: Definition, notifications: Notifications = Notifications()) -> Running:  # noqa: B008 - frozen
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
        return cls(
            definition=definition,
            publishers=publishers,
            outlets=outlets,
            ways=ways,
            chains=chains,
            notifications=notifications,
        )


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
            disk=sink.disk,
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
    config: str | None = None
    """`agent.toml`, whose `[notifications]` are read again each time, with the files that they name."""

    def files(self) -> list[Path]:
        """Those there are now; what is in a directory is listed anew each time."""
        found: list[Path] = []
        for each in map(Path, self.paths):
            found += [each / name for name in FILES if (each / name).exists()] if each.is_dir() else [each]
        if self.config is not None:
            found.append(Path(self.config))
            with suppress(ConfigError):  # it says so when it is read
                settings = self._settings(self.config)
                found += [] if settings is None else watched_files(settings)
        return found

    def layer(self, model: type[BaseModel]) -> Layer:  # noqa: ARG002
        reading = read(self.paths, allow_writable=self.allow_writable)
        if problems := check(reading, self.plugins).problems:
            raise ConfigError(problems)
        notified = self._notified()

        def origin(path: KeyPath) -> Origin:
            if path[:1] == ("notifications",):
                return Origin("file", self.config or "")
            return Origin("file", str(reading.place(path[1:])))

        running = Running.of(reading.definition, notified.notifications)
        return Layer(dict(plain(running)), origin, "the definition", (*reading.files, *notified.files))

    def _settings(self, config: str) -> NotificationSettings | None:
        return read_settings(config, allow_writable=self.allow_writable).notifications

    def _notified(self) -> NotificationFiles:
        settings = None if self.config is None else self._settings(self.config)
        if self.config is None or settings is None:
            return NotificationFiles()
        found = read_notifications(
            settings, plugins=self.plugins, allow_writable=self.allow_writable, where=self.config
        )
        read = (Path(self.config), Path(self.config).read_bytes())
        return NotificationFiles(found.notifications, (read, *found.files))
