"""The files as they are written: one model for each of Ceilometer's formats, with Hitless's own optional additions.

What Ceilometer takes by accident (text for a list, `2.9` or `true` for an interval, an unknown key) is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from hitless.agent.definition import BATCH_SIZE, BUFFER_SIZE, DISK_SIZE, Retry, Sync, WhenFull
from hitless.agent.filters import complaint_of
from hitless.config import Bytes, Seconds

LIBERTY_INTERVAL_S: Final = 600
"""What a source of the combined file has if it does not say one."""


LONGEST_S: Final = 100 * 366 * 24 * 3600
"""A century: what is meant is shorter, and what is longer does not fit where it is stored."""


def _filter(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if (complaint := complaint_of(patterns)) is not None:
        raise ValueError(complaint)
    return patterns


def _not_code(_: object) -> object:
    raise ValueError(
        "is Python that Ceilometer would execute, and it is not executed here; remove it: groups are made by discovery"
    )


def _url(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if not scheme or not scheme.replace("+", "").replace("-", "").replace("_", "").isalnum():
        raise ValueError("expected a publisher as scheme://...")
    return f"{scheme.lower()}://{rest}" if separator else f"{scheme.lower()}://"


Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[str, ...], AfterValidator(_filter)]
Texts = tuple[Name, ...]
Interval = Annotated[int, Field(gt=0, le=LONGEST_S)]
Positive = Annotated[Seconds, Field(gt=0)]
Url = Annotated[str, AfterValidator(_url)]


class Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Polled(Row):
    """What a source that polls may say besides its interval."""

    name: Name = Field(description="the name of the source")
    meters: Names | None = Field(None, description="names, globs or exclusions of meters")
    counters: Names | None = Field(None, description="meters, by the name of before Icehouse")
    resources: Texts | None = Field(None, description="what is polled, as URLs that the pollsters know")
    discovery: Texts | None = Field(None, description="what finds resources: name or name://parameter")
    group_id_coordination_expression: Annotated[Any, BeforeValidator(_not_code)] = None
    jitter: Annotated[Seconds, Field(ge=0)] | None = None
    timeout: Positive | None = None


class PollingRow(Polled):
    interval: Interval = Field(description="seconds between two polls, a whole number")


class PipelineRow(Row):
    name: Name = Field(description="the name of the source")
    meters: Names | None = Field(None, description="names, globs or exclusions of meters")
    counters: Names | None = Field(None, description="meters, by the name of before Icehouse")
    sinks: Annotated[Texts, Field(min_length=1)] = Field(description="where its samples go")


class CombinedRow(Polled):
    """Liberty's: polling and pipeline in one source."""

    interval: Interval = LIBERTY_INTERVAL_S
    sinks: Annotated[Texts, Field(min_length=1)] = Field(description="where its samples go")


class EventRow(Row):
    name: Name = Field(description="the name of the source")
    events: Names = Field(description="names, globs or exclusions of event types")
    sinks: Annotated[Texts, Field(min_length=1)] = Field(description="where its events go")


class TransformerRow(Row):
    name: Name = Field(description="the name of the transformer")
    parameters: dict[str, Any] | None = None


class RetryRow(Row):
    attempts: Annotated[int, Field(ge=1)] = Retry().attempts
    first: Positive = Retry().first
    longest: Positive = Retry().longest


class DiskRow(Row):
    path: Annotated[str, Field(pattern="^/")] = Field(description="an absolute path")
    size: Annotated[Bytes, Field(ge=1_000_000)] = DISK_SIZE
    sync: Sync = "second"


class SinkRow(Row):
    name: Name = Field(description="the name of the sink")
    transformers: tuple[TransformerRow, ...] | None = None
    publishers: Annotated[tuple[Url, ...], Field(min_length=1)] = Field(description="URLs of publishers")
    buffer: Annotated[int, Field(ge=1)] = BUFFER_SIZE
    when_full: WhenFull = "drop_oldest"
    disk: DiskRow | None = None
    batch_size: Annotated[int, Field(ge=1)] = BATCH_SIZE
    retry: RetryRow = RetryRow()


class PollingFile(Row):
    sources: tuple[PollingRow, ...] = Field(description="a list of what is polled")


class PipelineFile(Row):
    sources: tuple[PipelineRow, ...] = Field(description="a list of which samples go to which sinks")
    sinks: tuple[SinkRow, ...] = Field(description="a list of where samples go")


class CombinedFile(Row):
    sources: tuple[CombinedRow, ...] = Field(description="a list of what is polled and where it goes")
    sinks: tuple[SinkRow, ...] = Field(description="a list of where samples go")


class EventFile(Row):
    sources: tuple[EventRow, ...] = Field(description="a list of which events go to which sinks")
    sinks: tuple[SinkRow, ...] = Field(description="a list of where events go")


POLLS: Final = frozenset({"interval", "resources", "discovery", "group_id_coordination_expression"})
"""Keys that only a source that polls has."""


def file_model(data: dict[str, Any]) -> type[BaseModel]:
    """Which format this is, told by its keys as Ceilometer's documentation tells them apart."""
    listed = data.get("sources")
    sources = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    keys = {key for each in sources for key in each}
    if "sinks" not in data and "sinks" not in keys:
        return EventFile if "events" in keys else PollingFile
    if "events" in keys:
        return EventFile
    return CombinedFile if keys & POLLS else PipelineFile
