"""`unit_conversion`, `rate_of_change` and `delta`: each sample becomes one sample, or none."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import StrictBool

from hitless.agent.sample import Sample
from hitless.agent.transformers.memory import Memory
from hitless.agent.transformers.parameters import Conversion, Parameters, Source, Target, parsed
from hitless.agent.transformers.transformer import BadParameters

log = logging.getLogger(__name__)


class ConversionParameters(Parameters):
    source: Source | None = None
    target: Target | None = None


class DeltaParameters(ConversionParameters):
    growth_only: StrictBool = False


class KeepsNothing:
    """Nothing is kept back for later."""

    def flush(self) -> Iterable[Sample]:
        return ()

    def close(self) -> Iterable[Sample]:
        return ()


class UnitConversion(KeepsNothing):
    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Raises BadParameters."""
        found = parsed(ConversionParameters, parameters)
        self._conversion: Final = Conversion(found.source, found.target)

    def handle(self, sample: Sample) -> Sample | None:
        unit = self._conversion.unit
        return self._conversion.converted(sample) if unit is None or unit == sample.unit else sample


class RateOfChange(KeepsNothing):
    """How fast the volume of each meter and resource changes, per second.

    The first sample of each has no rate, and one that is older than the last has none either. A cumulative volume that has become
    smaller was reset: what it counts since then is the least that it can have grown.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Raises BadParameters."""
        found = parsed(ConversionParameters, parameters)
        target = found.target or Target()
        if isinstance(target.scale, int | float):
            # Ceilometer would multiply the rate by the volume as well.
            message = f'a factor for a rate is written as text; write "{target.scale}"'
            raise BadParameters(message, ("target", "scale"))
        scale = target.scale or "1"
        self._conversion: Final = Conversion(found.source, target.model_copy(update={"scale": scale}))
        self._last: Final[Memory[tuple[str, str], Sample]] = Memory()

    def handle(self, sample: Sample) -> Sample | None:
        key = sample.name, sample.resource
        last = self._last.swap(key, sample)
        if last is None:
            return None
        seconds = _between(last, sample)
        if seconds < 0:
            self._last.swap(key, last)
            log.warning("a sample of %s of %s is older than the last one, and has no rate", *key)
            return None
        was_reset = sample.kind == "cumulative" and sample.volume < last.volume
        growth = sample.volume - (0.0 if was_reset else last.volume)
        return self._conversion.converted(sample, growth / seconds if seconds else 0.0)


class Delta(KeepsNothing):
    """How much the volume of each meter and resource has changed since its last sample."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Raises BadParameters."""
        found = parsed(DeltaParameters, parameters)
        self._conversion: Final = Conversion(found.source, found.target)
        self._growth_only: Final = found.growth_only
        self._last: Final[Memory[tuple[str, str], Sample]] = Memory()

    def handle(self, sample: Sample) -> Sample | None:
        key = sample.name, sample.resource
        last = self._last.swap(key, sample)
        if last is None:
            return None
        if sample.at < last.at:
            self._last.swap(key, last)
            log.warning("a sample of %s of %s is older than the last one, and has no delta", *key)
            return None
        growth = sample.volume - last.volume
        if growth < 0 and self._growth_only:
            return None
        return sample._replace(name=self._conversion.name(sample), volume=growth, kind="delta")


def _between(last: Sample, sample: Sample) -> float:
    """Seconds; by the monotonic clock if both were measured by it."""
    if last.monotonic is not None and sample.monotonic is not None:
        return sample.monotonic - last.monotonic
    return sample.at - last.at
