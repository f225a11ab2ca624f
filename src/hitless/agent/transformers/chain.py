"""The transformers of one sink, one after the other, and how their state is carried over a change.

A transformer keeps its state when neither it nor one before it in the sink has changed: what comes from another
predecessor may mean something else (bytes where kilobytes came before), and must not be set against what came from the old one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any, Final, Generic, TypeVar

from hitless.agent.definition import Transformer as TransformerSpec

log = logging.getLogger(__name__)

T = TypeVar("T")


class Stage:
    """One transformer, which the chains of several generations may have."""

    __slots__ = ("chains", "spec", "transformer")

    def __init__(self, spec: TransformerSpec, transformer: Any) -> None:
        self.spec: Final = spec
        self.transformer: Final = transformer
        self.chains = 1


class Chain(Generic[T]):
    """Owned by the agent's event loop.

    `acquire` and `release` count the routers that send through it; when the last one leaves, what it alone still holds is given
    back.
    """

    def __init__(self, sink: str, stages: Sequence[Stage]) -> None:
        self._sink: Final = sink
        self._stages: Final = list(stages)
        self._routers = 0

    @classmethod
    def of(
        cls, sink: str, specs: Sequence[TransformerSpec], factory: Callable[[str], Callable[..., Any]]
    ) -> Chain[T]:
        """Raises PluginError or ValueError."""
        return cls(sink, [Stage(each, factory(each.name)(each.parameters)) for each in specs])

    def process(self, items: Sequence[T], first: int = 0) -> list[T]:
        """What comes out at the end, now. A sample that makes a transformer fail is dropped there, and logged."""
        for stage in self._stages[first:]:
            items = self._through(stage, items)
        return list(items)

    async def adopt(self, old: Chain[T]) -> None:
        """Go on with those transformers of `old` that are as they were, and so are all before them."""
        pairs = zip(self._stages, old._stages, strict=False)
        same = list(takewhile(lambda pair: pair[0].spec == pair[1].spec, pairs))
        for number, (_, kept) in enumerate(same):
            kept.chains += 1
            self._stages[number] = kept

    def acquire(self) -> None:
        self._routers += 1

    def release(self) -> list[T]:
        """What is left when no router sends through it any more, and no later chain goes on with it."""
        self._routers -= 1
        left: list[T] = []
        if self._routers:
            return left
        for number, stage in enumerate(self._stages):
            stage.chains -= 1
            if not stage.chains:
                held = self._safely(stage, stage.transformer.close)
                left += self.process(held, number + 1) if held else []
        return left

    def _through(self, stage: Stage, items: Sequence[T]) -> list[T]:
        handle, out = stage.transformer.handle, []
        for item in items:
            try:
                made = handle(item)
            except Exception as error:  # noqa: BLE001 - a transformer may raise anything; the other samples go on
                self._warn(stage, f"{error} ({getattr(item, 'name', item)})", error)
                continue
            if made is not None:
                out.append(made)
        return out + self._safely(stage, stage.transformer.flush)

    def _safely(self, stage: Stage, give: Callable[[], Any]) -> list[T]:
        try:
            return list(give())
        except Exception as error:  # noqa: BLE001 - as above
            self._warn(stage, str(error), error)
            return []

    def _warn(self, stage: Stage, what: str, error: Exception) -> None:
        log.warning(
            "%s of the sink %s failed: %s: %s", stage.spec.name, self._sink, type(error).__name__, what
        )
