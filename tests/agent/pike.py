"""Ceilometer's own transformers (Pike, the last that are there as a wheel) beside ours, with what they import stood in for."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from hitless.agent.sample import Sample, timestamp
from hitless.change import JSON

NAMES = {
    "unit_conversion": ("conversions", "ScalingTransformer"),
    "rate_of_change": ("conversions", "RateOfChangeTransformer"),
    "delta": ("conversions", "DeltaTransformer"),
    "aggregator": ("conversions", "AggregatorTransformer"),
    "arithmetic": ("arithmetic", "ArithmeticTransformer"),
    "accumulator": ("accumulator", "TransformerAccumulator"),
}


def stand_ins() -> dict[str, ModuleType]:
    found = {name: ModuleType(name) for name in ("six", "oslo_log", "oslo_log.log", "ceilometer.i18n")}
    six: Any = found["six"]
    six.string_types, six.iteritems = (str,), lambda mapping: iter(mapping.items())
    six.add_metaclass = lambda meta: lambda made: made
    log: Any = found["oslo_log.log"]
    log.getLogger = lambda name: logging.getLogger(f"pike.{name}")
    oslo_log: Any = found["oslo_log"]
    oslo_log.log = log
    i18n: Any = found["ceilometer.i18n"]
    i18n._ = str
    return found


class Pike:
    """Makes the old transformers."""

    def __init__(self) -> None:
        self._sample: Any = importlib.import_module("ceilometer.sample").Sample

    def run(self, name: str, parameters: dict[str, Any], batches: list[list[Sample]]) -> list[list[JSON]]:
        """What comes out after each batch."""
        module, attribute = NAMES[name]
        transformer = getattr(importlib.import_module(f"ceilometer.transformer.{module}"), attribute)(
            **parameters
        )
        out = []
        for batch in batches:
            made = [transformer.handle_sample(self.sample(each)) for each in batch]
            made += transformer.flush()
            out.append([shown(each) for each in made if each is not None])
        return out

    def sample(self, sample: Sample) -> Any:
        return self._sample(
            sample.name,
            sample.kind,
            sample.unit,
            sample.volume,
            sample.user,
            sample.project,
            sample.resource,
            timestamp(sample.at),
            dict(sample.metadata),
            monotonic_time=sample.monotonic,
        )


def shown(sample: Any) -> JSON:
    return [
        sample.name,
        sample.type,
        sample.unit,
        sample.volume,
        sample.resource_id,
        sample.timestamp,
        sample.resource_metadata,
        sample.project_id,
        sample.user_id,
    ]


def ours(
    make: Callable[..., Any], parameters: dict[str, Any], batches: list[list[Sample]]
) -> list[list[JSON]]:
    transformer = make(parameters)
    out = []
    for batch in batches:
        made = [transformer.handle(each) for each in batch]
        made += transformer.flush()
        out.append([as_pike(each) for each in made if each is not None])
    return out


def as_pike(sample: Sample) -> JSON:
    return [
        sample.name,
        sample.kind,
        sample.unit,
        sample.volume,
        sample.resource,
        timestamp(sample.at),
        dict(sample.metadata),
        sample.project,
        sample.user,
    ]


@contextmanager
def loaded(folder: Path) -> Iterator[Pike]:
    """From an unpacked wheel; nothing of it is left in `sys.modules`."""
    before = dict(sys.modules)
    sys.modules.update(stand_ins())
    sys.path.insert(0, str(folder))
    try:
        yield Pike()
    finally:
        sys.path.remove(str(folder))
        for name in [each for each in sys.modules if each.split(".")[0] in ("ceilometer", "six", "oslo_log")]:
            del sys.modules[name]
            if name in before:
                sys.modules[name] = before[name]
