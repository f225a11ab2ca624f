"""`[notifications]` of `agent.toml`, and what it comes to with the files that it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from hitless.agent.definition import Value
from hitless.agent.filters import complaint_of
from hitless.agent.notifications.converter import Conversion, endpoints
from hitless.agent.notifications.reading import definition_files, read_definitions
from hitless.agent.notifications.spec import ListenerSpec, Listening, Name, valid_url
from hitless.agent.plugins import PluginError, Plugins
from hitless.config import ConfigError, Problem


def _filter(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if patterns and (complaint := complaint_of(patterns)) is not None:
        raise ValueError(complaint)
    return patterns


class Notifications(Value):
    """The listeners of an agent, and what they make of notifications."""

    listeners: dict[str, ListenerSpec] = Field(default={})
    """By URL without password."""
    conversion: Conversion = Conversion()


class NotificationSettings(Listening):
    urls: Annotated[tuple[Annotated[str, AfterValidator(valid_url)], ...], Field(min_length=1)] = Field(
        repr=False, description="brokers, as amqp://user:password@host:5672/vhost"
    )
    meters: tuple[str, ...] = Field((), description="meter definitions: files, or directories of *.yaml")
    events: tuple[str, ...] = Field((), description="event definitions: files, or directories of *.yaml")
    drop_unmatched: bool = Field(False, description="no event of what no definition takes")
    store_raw: tuple[Name, ...] = Field((), description="priorities kept whole in their events")
    endpoints: Annotated[tuple[str, ...], AfterValidator(_filter)] = Field(
        ("*",), description="which endpoints of other packages are used: names, globs or exclusions"
    )

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        if len(set(self.urls)) != len(self.urls):
            raise ValueError("a URL stands twice in urls; keep one")
        self.specs()  # what only a broker and shards together can be wrong about
        return self

    def specs(self) -> dict[str, ListenerSpec]:
        common = {name: getattr(self, name) for name in Listening.model_fields}
        made = [ListenerSpec(url=url, **common) for url in self.urls]
        return {each.key: each for each in made}

    def below(self, folder: Path) -> Self:
        """With paths that are relative to this folder made absolute."""
        found = {
            name: tuple(str(folder / each) for each in getattr(self, name)) for name in ("meters", "events")
        }
        return self.model_copy(update=found)


@dataclass(frozen=True, slots=True)
class NotificationFiles:
    notifications: Notifications = field(default_factory=Notifications)
    files: tuple[tuple[Path, bytes], ...] = ()
    """What was read, and what was in it."""


def read_notifications(
    settings: NotificationSettings, *, plugins: Plugins | None, allow_writable: bool = False, where: str = ""
) -> NotificationFiles:
    """Plug-ins are looked at only where `plugins` are given. Raises ConfigError."""
    read = read_definitions(settings.meters, settings.events, plugins=plugins, allow_writable=allow_writable)
    conversion = Conversion(
        meters=read.meters,
        events=read.events,
        drop_unmatched=settings.drop_unmatched,
        store_raw=settings.store_raw,
        endpoints=settings.endpoints,
    )
    if plugins is not None:
        try:
            tuple(endpoints(conversion.endpoints, plugins))
        except PluginError as error:
            raise ConfigError([Problem(where, "notifications.endpoints", str(error))]) from None
    return NotificationFiles(Notifications(listeners=settings.specs(), conversion=conversion), read.files)


def watched_files(settings: NotificationSettings) -> Sequence[Path]:
    return definition_files([*settings.meters, *settings.events])


def together(
    named: Sequence[tuple[str, NotificationSettings]],
    *,
    plugins: Plugins | None,
    allow_writable: bool = False,
) -> Notifications:
    """Those of several `agent.toml` as one. Raises ConfigError, with the problems of all of them."""
    found = Notifications()
    problems: list[Problem] = []
    for where, settings in named:
        try:
            read = read_notifications(settings, plugins=plugins, allow_writable=allow_writable, where=where)
        except ConfigError as error:
            problems += error.problems
            continue
        listeners = {**found.listeners, **read.notifications.listeners}
        found = Notifications(listeners=listeners, conversion=read.notifications.conversion)
    if problems:
        raise ConfigError(problems)
    return found
