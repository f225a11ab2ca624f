"""A world in which one generation serves, and a change of it that fails where it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from hitless.change import Deadline, Kind, Plan, Refused

Fault = Literal["ok", "refuse", "raise", "late", "hang", "ignore_cancel"]


@dataclass
class World:
    """What serves, what has been built, and what was done, in order."""

    serving: int = 1
    built: set[int] = field(default_factory=set)
    steps: list[str] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    """What served at every step."""

    def step(self, name: str) -> None:
        self.steps.append(name)
        self.seen.append(self.serving)


@dataclass
class FakeChange:
    """Builds generation `to`; `faults` says how each phase goes; `on` is called when a phase is entered."""

    world: World
    to: int
    faults: Mapping[str, Fault] = field(default_factory=dict)
    on: Callable[[str], None] = lambda phase: None
    kind: Kind = "reload"
    changes_nothing: bool = False
    settings: Mapping[str, int] | None = None

    def plan(self) -> Plan:
        self.world.step("plan")
        self.on("plan")
        match self.faults.get("plan", "ok"):
            case "refuse":
                raise Refused("bad_config", "the configuration is bad", invalid=True)
            case "raise":
                raise RuntimeError("plan broke")
        return Plan(
            kind=self.kind,
            from_generation=self.world.serving,
            to_generation=self.to,
            changes_nothing=self.changes_nothing,
            settings=self.settings if self.settings is not None else {"generation": self.to},
        )

    async def prepare(self, plan: Plan, deadline: Deadline) -> int:
        self.world.built.add(self.to)
        await self._phase("prepare")
        return self.to

    async def commit(self, plan: Plan, prepared: int) -> None:
        assert prepared in self.world.built
        if self.faults.get("commit") == "raise":
            self.world.serving = prepared  # half-way: the swap is done when it fails
        await self._phase("commit")
        self.world.serving = prepared
        self.world.built.discard(prepared)

    async def undo(self, plan: Plan, prepared: int) -> None:
        await self._phase("undo")
        self.world.serving = plan.from_generation

    async def discard(self, plan: Plan, prepared: int | None) -> None:
        assert prepared in (None, self.to)
        self.world.built.discard(self.to)
        await self._phase("discard")

    async def _phase(self, name: str) -> None:
        self.world.step(name)
        self.on(name)
        await asyncio.sleep(0)
        match self.faults.get(name, "ok"):
            case "refuse":
                raise Refused("not_ready", f"the {name} was refused")
            case "raise":
                raise RuntimeError(f"{name} broke")
            case "late":
                await asyncio.sleep(0.05)
            case "hang":
                await asyncio.Event().wait()
            case "ignore_cancel":
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
