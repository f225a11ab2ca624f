"""Which outlets a sample goes to: by its name, through every pipeline that takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from hitless.agent.definition import Route
from hitless.agent.filters import Filter
from hitless.agent.publishers.outlet import Outlet
from hitless.agent.sample import Sample

NAMES_KEPT: Final = 10_000
"""Of samples; meters are few, but a plug-in could make up names without end."""


class Router:
    """Of one generation. A sample that two pipelines take arrives twice, as in Ceilometer."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        outlets: Mapping[str, Sequence[str]],
        made: Mapping[str, Outlet],
    ) -> None:
        """`outlets`: the keys of each sink's outlets; `made`: the outlets by key."""
        self._ways: Final = [
            (Filter(route.names), [made[key] for sink in route.sinks for key in outlets[sink]])
            for route in routes.values()
        ]
        self._known: Final[dict[str, tuple[Outlet, ...]]] = {}

    def publish(self, samples: Sequence[Sample]) -> None:
        """Never waits."""
        batches: dict[Outlet, list[Sample]] = {}
        for sample in samples:
            for outlet in self._outlets(sample.name):
                batches.setdefault(outlet, []).append(sample)
        for outlet, batch in batches.items():
            outlet.offer(batch)

    def _outlets(self, name: str) -> tuple[Outlet, ...]:
        found = self._known.get(name)
        if found is None:
            found = tuple(outlet for takes, outlets in self._ways if takes.takes(name) for outlet in outlets)
            if len(self._known) < NAMES_KEPT:
                self._known[name] = found
        return found
