"""What a transformer is. Its factory is the entry point of the group `hitless.transformer` whose name the sink gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

from hitless.agent.sample import Sample
from hitless.config import KeyPath


class Transformer(Protocol):
    """One for each place in a sink. It is called on the agent's event loop: it must not wait."""

    def handle(self, sample: Sample) -> Sample | None:
        """What becomes of the sample now; None if nothing does, because it is dropped or kept for `flush`."""

    def flush(self) -> Iterable[Sample]:
        """What is due of what was kept; asked for after each batch."""

    def close(self) -> Iterable[Sample]:
        """What was kept and would be lost: called once, when nothing comes any more."""


class BadParameters(ValueError):
    """Why there can be no such transformer; `path` says which of the parameters is wrong."""

    def __init__(self, message: str, path: KeyPath = ()) -> None:
        self.path = path
        super().__init__(message)


Factory: TypeAlias = Callable[[Mapping[str, Any]], Transformer]
"""Made from `parameters`. Raises BadParameters (or ValueError): they are wrong."""
