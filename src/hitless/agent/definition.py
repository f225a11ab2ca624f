"""What an agent is to do, as a value: what is polled, how often, and where samples and events go.

It is what every file format is read into, and what a change compares. Names are keys, so that order means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from hitless.config import Bytes, Seconds

BUFFER_SIZE: Final = 10_000
BATCH_SIZE: Final = 500
RETRY_ATTEMPTS: Final = 5
RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 30.0


WhenFull: TypeAlias = Literal["drop_oldest", "block", "spill"]
Sync: TypeAlias = Literal["always", "second", "never"]
"""When what is written to a buffer on disk is forced to it. A kill -9 loses nothing with any of them."""
DISK_SIZE: Final = 100_000_000

EVENT_PREFIX: Final = "event:"
"""Of outlets and pipelines of events, as in Ceilometer: a sink of samples may have the same name."""


class Value(BaseModel):
    """Immutable, and nothing in it is unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PollingSource(Value):
    """Poll these meters every `interval` seconds."""

    interval: int
    """Seconds."""
    meters: tuple[str, ...]
    resources: tuple[str, ...] = ()
    discovery: tuple[str, ...] = ()
    """`name` or `name://parameter`."""
    jitter: Seconds | None = None
    """How far the first poll is spread over the interval, in seconds; over all of it if None."""
    timeout: Seconds | None = None
    """For one poll, in seconds; the interval if None."""


class Route(Value):
    """Samples (or events) whose names pass `names` go to these sinks."""

    names: tuple[str, ...]
    sinks: tuple[str, ...]


class Transformer(Value):
    name: str
    parameters: dict[str, Any] = {}


class Retry(Value):
    """How a batch that a publisher did not take is tried again: each wait is twice the one before."""

    attempts: int = RETRY_ATTEMPTS
    first: Seconds = RETRY_FIRST_S
    longest: Seconds = RETRY_LONGEST_S


class Disk(Value):
    """Where a sink's buffers are on disk."""

    path: str
    """A folder; each of the sink's publishers has one of its own in it."""
    size: Bytes = DISK_SIZE
    """Bytes, for each publisher."""
    sync: Sync = "second"


class Sink(Value):
    """Transformers in order, then every publisher."""

    publishers: tuple[str, ...]
    """URLs."""
    transformers: tuple[Transformer, ...] = ()
    buffer: int = BUFFER_SIZE
    """How many samples wait for each publisher."""
    when_full: WhenFull = "drop_oldest"
    """What becomes of more: the oldest are dropped and counted, or who has them waits, or they go to disk."""
    disk: Disk | None = None
    """If it is given everything is on disk before it is published; with `spill`, only what does not fit into memory."""
    batch_size: int = BATCH_SIZE
    """How many a publisher is given at once, at most."""
    retry: Retry = Retry()


class Definition(Value):
    polling: dict[str, PollingSource] = {}
    samples: dict[str, Route] = {}
    sinks: dict[str, Sink] = {}
    events: dict[str, Route] = {}
    event_sinks: dict[str, Sink] = {}

    @property
    def publishers(self) -> dict[str, tuple[str, ...]]:
        """The sinks that use each publisher, by its URL. One publisher serves all sinks that name the same URL."""
        found: dict[str, list[str]] = {}
        for name, sink in (*self.sinks.items(), *self.event_sinks.items()):
            for url in sink.publishers:
                found.setdefault(url, []).append(name)
        return {url: tuple(sinks) for url, sinks in found.items()}

    def pipelines(self) -> Iterator[str]:
        """Names as Ceilometer gives them: the source's if the sink has the same one, else `source:sink`."""
        for prefix, routes in (("", self.samples), (EVENT_PREFIX, self.events)):
            for name, route in routes.items():
                yield from (f"{prefix}{pipeline_name(name, sink)}" for sink in route.sinks)


def pipeline_name(source: str, sink: str) -> str:
    return source if source == sink else f"{source}:{sink}"
