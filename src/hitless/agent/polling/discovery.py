"""What a discovery is: a function that finds resources, and who shares them.

    @discovery(group_id="volumes")
    def volumes(parameter: str | None) -> Iterable[str]: ...

offered as an entry point of the group `hitless.discovery`. A plain function is one whose resources all agents share.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

GLOBAL: Final = "global"
"""The group of discoveries that do not say one, as in Ceilometer."""

LOCAL: Final = "local"
"""The group of what belongs to the machine that it was found on: the agents on that machine share it."""

Find: TypeAlias = Callable[[str | None], Iterable[str] | Awaitable[Iterable[str]]]


@dataclass(frozen=True, slots=True)
class Discovery:
    find: Find
    """Called with the parameter of `name://parameter`, or None."""
    group_id: str | None = GLOBAL
    """None: what is found is this agent's alone, and is not shared out."""

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.find)

    @classmethod
    def of(cls, found: Any) -> Discovery:
        """A plug-in as it was loaded: one of these, or a plain function."""
        return found if isinstance(found, cls) else cls(found)


def discovery(*, group_id: str | None = GLOBAL) -> Callable[[Find], Discovery]:
    """Makes a discovery of a function."""

    def decorate(find: Find) -> Discovery:
        return Discovery(find, group_id)

    return decorate
