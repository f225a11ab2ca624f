"""`aggregator` and `accumulator`: samples are kept until there are enough of them, or for long enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StrictFloat, StrictInt

from hitless.agent.sample import NOTHING, Sample
from hitless.agent.transformers.parameters import Conversion, Parameters, Source, Target, parsed

Which = Literal["first", "last"]


class AggregatorParameters(Parameters):
    size: Annotated[StrictInt, Field(ge=0)] | None = 1
    """Samples, of all meters and resources together."""
    retention_time: Annotated[StrictInt | StrictFloat, Field(ge=0)] | None = None
    """Seconds between the first sample and the newest."""
    project_id: Which | None = None
    """Whose is kept; samples of several are kept apart if None."""
    user_id: Which | None = None
    resource_metadata: Which | Literal["drop"] = "last"
    timestamp: Which = "first"
    source: Source | None = None
    target: Target | None = None


class AccumulatorParameters(Parameters):
    size: Annotated[StrictInt, Field(ge=0)] = 1


class _Sum:
    """What has come of one meter and resource: in `sample` all but the number of samples."""

    __slots__ = ("count", "sample")

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.count = 1

    def result(self) -> Sample:
        """Gauges are averaged; deltas are summed, and the last cumulative value stands for all."""
        sample = self.sample
        return sample._replace(volume=sample.volume / self.count) if sample.kind == "gauge" else sample


class Aggregator:
    """One sample of each meter and resource, made of many. It is full, or has been open for long enough, by what has come:
    nothing is due while nothing comes.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Raises BadParameters."""
        found = parsed(AggregatorParameters, parameters)
        # Where only the time is given, size is not 1 by itself.
        size = None if found.retention_time and "size" not in parameters else found.size
        self._size: Final = size or (None if found.retention_time else 1)
        self._retention_s: Final = found.retention_time
        self._parameters: Final = found
        self._conversion: Final = Conversion(found.source, found.target)
        self._sums: Final[dict[tuple[object, ...], _Sum]] = {}
        self._count = 0
        self._first = self._newest = 0.0

    def handle(self, sample: Sample) -> Sample | None:
        if not self._count:
            self._first = self._newest = sample.at
        self._count += 1
        self._newest = max(self._newest, sample.at)
        key = self._key(sample)
        found = self._sums.get(key)
        if found is None:
            self._sums[key] = _Sum(self._begun(sample))
        else:
            found.count += 1
            found.sample = self._merged(found.sample, sample)
        return None

    def flush(self) -> Iterable[Sample]:
        is_full = self._size is not None and self._count >= self._size
        is_due = bool(self._retention_s) and self._newest - self._first > (self._retention_s or 0)
        return self.close() if is_full or is_due else ()

    def close(self) -> Iterable[Sample]:
        results = [each.result() for each in self._sums.values()]
        self._sums.clear()
        self._count = 0
        return results

    def _key(self, sample: Sample) -> tuple[object, ...]:
        project = sample.project if self._parameters.project_id is None else None
        user = sample.user if self._parameters.user_id is None else None
        return sample.name, sample.resource, project, user

    def _begun(self, sample: Sample) -> Sample:
        made = self._conversion.converted(sample)
        return made._replace(metadata=NOTHING) if self._parameters.resource_metadata == "drop" else made

    def _merged(self, so_far: Sample, sample: Sample) -> Sample:
        given, scaled = self._parameters, self._conversion.scaled(sample)
        return so_far._replace(
            volume=scaled if sample.kind == "cumulative" else so_far.volume + scaled,
            at=sample.at if given.timestamp == "last" else so_far.at,
            metadata=sample.metadata if given.resource_metadata == "last" else so_far.metadata,
            project=sample.project if given.project_id == "last" else so_far.project,
            user=sample.user if given.user_id == "last" else so_far.user,
        )


class Accumulator:
    """Keeps samples as they are until there are `size` of them; with 0 it keeps none."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Raises BadParameters."""
        self._size: Final = parsed(AccumulatorParameters, parameters).size
        self._samples: list[Sample] = []

    def handle(self, sample: Sample) -> Sample | None:
        if not self._size:
            return sample
        self._samples.append(sample)
        return None

    def flush(self) -> Iterable[Sample]:
        return self.close() if len(self._samples) >= self._size else ()

    def close(self) -> Iterable[Sample]:
        held, self._samples = self._samples, []
        return held
