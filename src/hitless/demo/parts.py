"""The parts of the demonstration. A part is a module `hitless.demo.NAME` with TITLE and `play`; it is there
once its file is, and it may say that this machine cannot run it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Final, Protocol, cast

from hitless.demo.narrator import Narrator
from hitless.demo.report import DemoReport

NAMES: Final = ("serve", "live", "containers", "rollout", "agent")


class Part(Protocol):
    """What such a module offers."""

    TITLE: str

    def missing(self) -> str | None:
        """What this machine lacks for the part, if anything."""

    async def play(self, narrator: Narrator) -> DemoReport:
        """Run it; everything that it started has ended when it returns or raises."""


def existing() -> Sequence[str]:
    """The parts that this version of Hitless has."""
    return [name for name in NAMES if importlib.util.find_spec(f"hitless.demo.{name}") is not None]


def load(name: str) -> Part:
    """The part of this name.

    Raises:
        LookupError: there is none.
    """
    if name not in existing():
        raise LookupError(f"there is no part {name!r}; there are: {', '.join(existing())}")
    return cast(Part, importlib.import_module(f"hitless.demo.{name}"))
