"""What can be known of a definition on this machine before it runs: each plug-in is there and takes its options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hitless.agent.definition import Transformer
from hitless.agent.filters import Filter
from hitless.agent.plugins import DISCOVERY, POLLSTER, PUBLISHER, TRANSFORMER, PluginError, Plugins
from hitless.agent.polling.pollster import Pollster
from hitless.agent.publishers.publisher import takes_events
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.reading import Reading
from hitless.agent.transformers.transformer import BadParameters
from hitless.config import KeyPath, Problem


@dataclass(frozen=True, slots=True)
class Check:
    problems: tuple[Problem, ...]
    """Because of these it must not run."""
    warnings: tuple[Problem, ...]
    """With these it runs, but perhaps not as meant."""


def check(reading: Reading, plugins: Plugins) -> Check:
    """Builds nothing and opens nothing."""
    problems = [reading.place(path).problem(text) for path, text in _problems(reading, plugins)]
    warnings = [reading.place(path).problem(text) for path, text in _warnings(reading, plugins)]
    return Check(tuple(problems), tuple(warnings))


def _problems(reading: Reading, plugins: Plugins) -> Iterator[tuple[KeyPath, str]]:
    for name in reading.definition.polling:
        yield from _polling(reading, plugins, name)
    for kind, sinks in (
        ("sinks", reading.definition.sinks),
        ("event_sinks", reading.definition.event_sinks),
    ):
        for name, sink in sinks.items():
            for index, url in enumerate(sink.publishers):
                complaint = publisher_complaint(url, plugins, events=kind == "event_sinks")
                if complaint is not None:
                    yield (kind, name, "publishers", index), complaint
            for index, each in enumerate(sink.transformers):
                at: KeyPath = (kind, name, "transformers", index)
                if kind == "event_sinks":
                    yield at, "events are not transformed; remove it"
                else:
                    yield from _transformer(plugins, each, at)


def _polling(reading: Reading, plugins: Plugins, name: str) -> Iterator[tuple[KeyPath, str]]:
    source = reading.definition.polling[name]
    taken = [meter for meter in plugins.names(POLLSTER) if Filter(source.meters).takes(meter)]
    at: KeyPath = ("polling", name, "meters")
    if not taken:
        yield (
            at,
            f"no pollster here gives any of {', '.join(source.meters)}; hitless agent plugins lists those there are",
        )
    for index, each in enumerate(source.discovery):
        yield from _loaded(
            plugins, DISCOVERY, each.partition("://")[0], ("polling", name, "discovery", index)
        )
    untold = []
    for meter in taken:
        try:
            found = plugins.load(POLLSTER, meter)
        except PluginError as error:
            yield at, str(error)
            continue
        if not isinstance(found, Pollster):
            yield at, f"the pollster {meter} is a {type(found).__name__}; make it one with @pollster()"
        elif not source.resources and not source.discovery:
            if found.discovery is None:
                untold.append(meter)
            else:
                yield from _loaded(plugins, DISCOVERY, found.discovery.partition("://")[0], at)
    if untold:
        what = f"{', '.join(untold)} must be told what to poll"
        yield at, f"{what}; give the source {name} resources or discovery"


def _loaded(plugins: Plugins, group: str, name: str, at: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    try:
        plugins.load(group, name)
    except PluginError as error:
        yield at, str(error)


def _transformer(plugins: Plugins, each: Transformer, at: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """By making one: that opens nothing."""
    try:
        plugins.load(TRANSFORMER, each.name)(each.parameters)
    except PluginError as error:
        yield (*at, "name"), str(error)
    except BadParameters as error:
        yield (*at, "parameters", *error.path), str(error)
    except (ValueError, TypeError) as error:
        yield (*at, "parameters"), str(error)


def publisher_complaint(url: str, plugins: Plugins, *, events: bool = False) -> str | None:
    """Why there can be no publisher of samples (or of events) for this URL, or None."""
    try:
        parsed = PublisherUrl.parse(url)
        publisher = plugins.load(PUBLISHER, parsed.scheme)(parsed)
    except (PluginError, ValueError) as error:
        return str(error)
    return f"{parsed.scheme}:// takes no events" if events and not takes_events(publisher) else None


def _warnings(reading: Reading, plugins: Plugins) -> Iterator[tuple[KeyPath, str]]:
    definition, known = reading.definition, plugins.names(POLLSTER)
    for name, source in definition.polling.items():
        for index, pattern in enumerate(source.meters):
            if not pattern.startswith("!") and not any(Filter([pattern]).takes(each) for each in known):
                yield ("polling", name, "meters", index), f"no pollster here gives {pattern}"
    for kind, routes, sinks in (
        ("sinks", definition.samples, definition.sinks),
        ("event_sinks", definition.events, definition.event_sinks),
    ):
        used = {sink for route in routes.values() for sink in route.sinks}
        for name in sinks:
            if name not in used:
                yield (kind, name), f"nothing goes to the sink {name}"
