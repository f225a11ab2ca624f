"""Where a sample or event goes: by its name, through every pipeline that takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from hitless.agent.definition import Route
from hitless.agent.filters import Filter
from hitless.agent.publishers.outlet import Outlet
from hitless.agent.publishers.receipt import Receipt
from hitless.agent.transformers.chain import Chain

NAMES_KEPT: Final = 10_000
"""Of samples; meters are few, but a plug-in could make up names without end."""


class Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


@dataclass(frozen=True, slots=True, eq=False)
class Way(Generic[T]):
    """Of one sink: its transformers, where it has any, then its outlets."""

    chain: Chain[T] | None
    outlets: tuple[Outlet[T], ...]

    def send(self, items: Sequence[T], receipt: Receipt) -> None:
        taken = items if self.chain is None else self.chain.process(items)
        if taken:
            for outlet in self.outlets:
                outlet.offer(taken, receipt)


class Router(Generic[T]):
    """Of one generation. What two pipelines take arrives twice, as in Ceilometer."""

    def __init__(self, routes: Mapping[str, Route], ways: Mapping[str, Way[T]]) -> None:
        """`ways`: by sink."""
        self._ways: Final = ways
        self._filters: Final = [
            (Filter(route.names), tuple(ways[sink] for sink in route.sinks)) for route in routes.values()
        ]
        self._known: Final[dict[str, tuple[Way[T], ...]]] = {}

    async def send(self, items: Sequence[T]) -> Receipt:
        """Waits only for room in outlets whose policy is to block."""
        receipt = Receipt()
        batches = self._batches(items)
        for way, batch in batches.items():
            way.send(batch, receipt)
        receipt.sent()
        for way in batches:
            for outlet in way.outlets:
                if outlet.is_blocked:
                    await outlet.room()
        return receipt

    def _batches(self, items: Sequence[T]) -> dict[Way[T], list[T]]:
        batches: dict[Way[T], list[T]] = {}
        for item in items:
            name = item.name
            found = self._known.get(name)
            if found is None:
                found = self._find(name)
            for way in found:
                batch = batches.get(way)
                if batch is None:
                    batches[way] = [item]
                else:
                    batch.append(item)
        return batches

    def _find(self, name: str) -> tuple[Way[T], ...]:
        found = tuple(way for takes, ways in self._filters if takes.takes(name) for way in ways)
        if len(self._known) < NAMES_KEPT:
            self._known[name] = found
        return found

    def acquire(self) -> None:
        """The transformers are used by one more router."""
        for way in self._ways.values():
            if way.chain is not None:
                way.chain.acquire()

    def release(self) -> None:
        """What transformers hold that no other router uses goes on its way, while the outlets are still open."""
        for way in self._ways.values():
            if way.chain is not None and (left := way.chain.release()):
                receipt = Receipt()
                for outlet in way.outlets:
                    outlet.offer(left, receipt)
