"""What plug-ins and senders give is looked at where it comes in: a publisher refuses a whole batch for one that it cannot write."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from hitless.agent.event import Event
from hitless.agent.sample import NOTHING, Sample

KINDS: Final = frozenset(("gauge", "delta", "cumulative"))
EARLIEST: Final = -62135596800.0
LATEST: Final = 253402300800.0
"""Unix times of the years 1 to 9999, which is what a datetime can be."""


def sound(made: Iterable[object]) -> tuple[list[Sample], list[str]]:
    """The samples among these that every publisher can write, and what is wrong with the others."""
    samples: list[Sample] = []
    flaws: list[str] = []
    for each in made:
        if not isinstance(each, Sample):
            flaws.append(f"a {type(each).__name__} is no Sample")
        elif (flaw := _flaw_of_sample(each)) is not None:
            flaws.append(flaw)
        else:
            samples.append(each)
    return samples, flaws


def flaw_of(made: object) -> str | None:
    """Why this is no sample or event that every publisher can write; None if it is one."""
    if isinstance(made, Sample):
        return _flaw_of_sample(made)
    if isinstance(made, Event):
        return _flaw_of_event(made)
    return f"a {type(made).__name__} is neither a Sample nor an Event"


def _flaw_of_sample(sample: Sample) -> str | None:
    texts = (
        sample.name,
        sample.unit,
        sample.resource,
        sample.source,
        sample.project or "",
        sample.user or "",
    )
    for text in texts:
        if not _is_text(text):
            return f"the sample of {sample.name!r} has {text!r} where text is expected"
    if not _is_number(sample.volume):
        return f"the volume of {sample.name} is a {type(sample.volume).__name__}, not a number"
    if sample.kind not in KINDS:
        return f"the kind of {sample.name} is {sample.kind!r}, none of gauge, delta, cumulative"
    if not _is_time(sample.at):
        return f"the time of {sample.name} is {sample.at!r}, not one of the years 1 to 9999"
    if sample.metadata is not NOTHING and (trouble := _trouble(sample.metadata)) is not None:
        return f"the metadata of {sample.name} cannot be written: {trouble}"
    return None


def _flaw_of_event(event: Event) -> str | None:
    if not (_is_text(event.id) and _is_text(event.type)):
        return f"an event has {event.type!r} as its type and {event.id!r} as its id; both must be text"
    if not _is_time(event.at):
        return f"the time of {event.type} is {event.at!r}, not one of the years 1 to 9999"
    traits = {name: None if isinstance(value, datetime) else value for name, value in event.traits.items()}
    trouble = _trouble(traits) or _trouble(event.raw)
    return None if trouble is None else f"the event {event.type} cannot be written: {trouble}"


def _is_text(value: object) -> bool:
    """Half of a surrogate pair, which JSON can hold, can be written by few."""
    if not isinstance(value, str):
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and EARLIEST <= value < LATEST


def _trouble(data: Mapping[str, Any]) -> str | None:
    try:
        json.dumps(dict(data), ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    return None
