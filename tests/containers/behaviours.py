"""Containers that behave in every way that containers do, and what becomes of each when it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.containers.engines import PrivateEngine, await_true

from hitless.change import Event
from hitless.containers import Ended, Fleet, StopOutcome, Target

Act = Callable[["Case"], Awaitable[None]]
READY = "echo ready; while :; do sleep 0.2; done"


@dataclass
class Case:
    """One behaviour on one engine, while it happens."""

    engine: PrivateEngine
    fleet: Fleet
    target: Target

    @property
    def name(self) -> str:
        return self.target.name

    async def signalled(self, signal: str = "SIGTERM") -> None:
        """Wait until our signal was sent."""
        sent = asyncio.Event()

        def heard(event: Event) -> None:
            fields = event.fields
            if (
                event.name == "container.signalled"
                and fields["container"] == self.name
                and fields["signal"] == signal
            ):
                sent.set()

        for event in self.fleet.events.recent(1000):
            heard(event)
        forget = self.fleet.events.subscribe(heard)
        async with asyncio.timeout(60):
            await sent.wait()
        forget()

    async def cli(self, *words: str) -> str:
        return await asyncio.to_thread(self.engine.cli, *words)

    def stopping(self) -> Any:
        (stop,) = [each for each in self.fleet._stops if each.container.name == self.name]
        return stop


@dataclass(frozen=True)
class Behaviour:
    """What it does, how it is stopped, what happens meanwhile, and how that must come out."""

    name: str
    script: str
    ended: Ended
    reason: str | None = None
    exit_code: int | None = 0
    given: Mapping[str, Any] = field(default_factory=lambda: {"wait": 30.0})
    options: tuple[str, ...] = ()
    prepare: Act | None = None
    meanwhile: Act | None = None
    is_ready: bool = True
    """Whether it says so itself."""
    created_only: bool = False
    signals: tuple[str, ...] | None = ("SIGTERM",)
    """Those that were sent; None where that depends on the moment."""
    least_s: float = 0.0
    runs_on: bool = False
    note: str = ""
    podman: tuple[Ended, str | None, int | None] | None = None
    """The outcome where Podman's differs, because it does otherwise."""

    def expected(self, kind: str) -> tuple[Ended, str | None, int | None]:
        if kind == "podman" and self.podman is not None:
            return self.podman
        return self.ended, self.reason, self.exit_code


async def extended(case: Case) -> None:
    await case.signalled()
    assert case.stopping().extend(30.0) > 25


async def cancelled(case: Case) -> None:
    await case.signalled()
    case.stopping().cancel()


async def removed(case: Case) -> None:
    await case.signalled()
    await case.cli("rm", "-f", case.name)


async def killed(case: Case) -> None:
    await case.signalled()
    await case.cli("kill", "-s", "KILL", case.name)


async def paused(case: Case) -> None:
    await case.cli("pause", case.name)


async def ended(case: Case) -> None:
    await case.cli("kill", "-s", "KILL", case.name)
    await asyncio.to_thread(
        await_true, lambda: case.engine.state(case.name) == "exited", 60, what="end of the container"
    )


async def looping(case: Case) -> None:
    """Docker waits longer before each restart: after some of them the container is seldom up."""
    if case.engine.kind == "podman":
        return
    async with asyncio.timeout(90):
        while True:
            found = await asyncio.to_thread(case.engine.inspect, case.name)
            if found["RestartCount"] >= 5 and found["State"]["Status"] == "restarting":
                return
            await asyncio.sleep(0.1)


def trap(does: str, signal: str = "TERM") -> str:
    return f"trap '{does}' {signal}; {READY}"


BEHAVIOURS = (
    Behaviour("finishes in time", trap("sleep 1; echo bye; exit 0"), Ended.CLEAN, least_s=1),
    Behaviour("needs longer than ten seconds", trap("sleep 11; exit 0"), Ended.CLEAN, least_s=11),
    Behaviour(
        "ignores TERM", trap(""), Ended.FORCED, "deadline", 137, {"wait": 2.0},
        signals=("SIGTERM", "SIGKILL"), least_s=2,
    ),
    Behaviour(
        "handles only QUIT", f"trap '' TERM; {trap('exit 0', 'QUIT')}", Ended.CLEAN,
        given={"steps": ("SIGTERM 1s", "SIGQUIT 30s")}, signals=("SIGTERM", "SIGQUIT"), least_s=1,
    ),
    Behaviour(
        "is restarted by its policy unless that is set aside", trap("sleep 1; exit 0", "QUIT"), Ended.CLEAN,
        given={"steps": ("SIGQUIT 30s",)}, options=("--restart", "always", "--stop-signal", "SIGTERM"),
        signals=("SIGQUIT",),
    ),
    Behaviour(
        "is restarted by its policy after its own stop signal", trap("sleep 1; exit 0"), Ended.CLEAN,
        options=("--restart", "always"),
    ),
    Behaviour(
        "has a shell that swallows signals as PID 1", "echo ready; sleep 1000; true", Ended.FORCED, "deadline", 137,
        {"wait": 2.0}, signals=("SIGTERM", "SIGKILL"), least_s=2,
    ),
    Behaviour(
        "has a child that holds the work",
        "(sleep 3; echo child done) & trap 'wait; exit 0' TERM; echo ready; while :; do sleep 0.2; done",
        Ended.CLEAN,
    ),
    Behaviour("exits non-zero", trap("echo broken; exit 3"), Ended.LOST, "exit_code", 3),
    Behaviour(
        "exits non-zero as it always does", trap("exit 3"), Ended.CLEAN, None, 3, {"wait": 30.0, "accept": (0, 3)}
    ),
    Behaviour(
        "ends by the signal as services do", trap("exit 143"), Ended.CLEAN, None, 143
    ),
    Behaviour(
        "runs out of memory while it stops", trap("exec tail /dev/zero"), Ended.LOST, "oom", 137,
        options=("--memory", "16m", "--memory-swap", "16m"),
    ),
    Behaviour("is paused", trap("sleep 1; exit 0"), Ended.CLEAN, prepare=paused, note="unpaused"),
    Behaviour(
        "restarts in a loop", "sleep 0.5; exit 1", Ended.ALREADY_STOPPED, "restarting", 1,
        options=("--restart", "always"), prepare=looping, is_ready=False, signals=None,
        podman=(Ended.LOST, "exit_code", 1),
    ),
    Behaviour(
        "is dead already", trap("exit 0"), Ended.ALREADY_STOPPED, None, 137, prepare=ended, signals=()
    ),
    Behaviour(
        "was never started", "exit 0", Ended.ALREADY_STOPPED, None, 0, is_ready=False, created_only=True, signals=()
    ),
    Behaviour("is removed while we wait", trap(""), Ended.LOST, "removed", None, meanwhile=removed),
    Behaviour("is killed by somebody else while we wait", trap(""), Ended.LOST, "killed", 137, meanwhile=killed),
    Behaviour("is removed by the engine when it ends", trap("sleep 1; exit 0"), Ended.CLEAN, options=("--rm",)),
    Behaviour(
        "is stopped half-way when the stop is cancelled", trap(""), Ended.REFUSED, "cancelled", None,
        meanwhile=cancelled, runs_on=True,
    ),
    Behaviour(
        "does not end and is to be left", trap(""), Ended.REFUSED, "deadline", None,
        {"wait": 1.0, "at_end": "leave"}, runs_on=True,
    ),
    Behaviour(
        "is given more time while it stops", trap("sleep 6; exit 0"), Ended.CLEAN, given={"wait": 4.0},
        meanwhile=extended, least_s=5,
    ),
    Behaviour(
        "drains before the signal", f"trap 'cat /tmp/drained; exit 0' TERM; {READY}", Ended.CLEAN,
        given={"wait": 30.0, "drain.inside": ("sh", "-c", "echo drained > /tmp/drained")},
    ),
    Behaviour(
        "cannot be drained", trap("exit 0"), Ended.REFUSED, "drain_failed", None,
        given={"wait": 30.0, "drain.inside": ("sh", "-c", "echo no; exit 7")}, signals=(), runs_on=True,
    ),
)  # fmt: skip


async def seen(behaviour: Behaviour, case: Case) -> StopOutcome:
    """Stop it, while what is to happen happens."""
    if behaviour.prepare is not None:
        await behaviour.prepare(case)
    other = asyncio.create_task(behaviour.meanwhile(case)) if behaviour.meanwhile else None
    outcome = await case.fleet.stop_one(case.target)
    if other is not None:
        await other
    return outcome
