"""Settings that somebody wants in force, and what is told of them: each fact is found once, however large they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pydantic import BaseModel

from hitless.change import JSON, Difference, digest
from hitless.config.diff import changed, differences
from hitless.config.masked import masked
from hitless.config.plain import Leaf, read
from hitless.live.reloading import restarting

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Wish(Generic[S]):
    settings: S
    hash: str
    leaves: tuple[Leaf, ...] = field(repr=False)
    masked: Mapping[str, JSON] = field(repr=False)
    """The settings without their secrets, for the journal."""

    @classmethod
    def of(cls, settings: S) -> Wish[S]:
        data, found = read(settings)
        return cls(settings, digest(data), tuple(found), masked(found, data))

    def differences(self, before: Wish[S] | None) -> tuple[Difference, ...]:
        """What is not as it was."""
        return () if before is None else differences(before.leaves, self.leaves)

    def restarting(self, before: Wish[S] | None) -> tuple[str, ...]:
        """Those settings that are not as they were and need a new process."""
        if before is None:
            return ()
        pairs = changed(before.leaves, self.leaves)
        return restarting(type(self.settings), [leaf.path for old, new in pairs if (leaf := new or old)])

    def is_same(self, before: Wish[S] | None) -> bool:
        return before is not None and before.settings == self.settings
