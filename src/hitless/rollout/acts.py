"""What each kind of step does, and what it measures before and after. Every act may be begun again after a crash in its middle.

An act returns what proved it, for the journal, and raises RolloutError or one of its kinds. It is told a deadline, and
tells what it waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from hitless.change import Deadline
from hitless.rollout import gates
from hitless.rollout.data import Data
from hitless.rollout.errors import Late, Rejected, RolloutError
from hitless.rollout.executors import Executor, Target
from hitless.rollout.hand import Hand, said
from hitless.rollout.inventory import Node
from hitless.rollout.plan import Direction, Kind, Step
from hitless.rollout.probe import Answer
from hitless.rollout.timeouts import INTERVAL_S, LOOK_S, TOLD_S
from hitless.rollout.world import World

Tell = Callable[[str], None]
Act = Callable[[Step, Deadline, Tell], Awaitable[str]]
KILLED_S: Final = 30.0
"""For processes to be gone that were sent SIGKILL."""
NAMED: Final = 3
"""Sessions that a note names."""
VERIFY_AGAIN: Final = 3
"""A node that misses one probe has not left the new release."""


class Acts:
    """The acts of one rollout."""

    def __init__(self, world: World, here: Executor, *, direction: Direction, is_resumed: bool) -> None:
        self._world: Final = world
        self._rollout: Final = world.rollout
        self._settings: Final = world.rollout.settings
        self._here: Final = here
        self._direction: Final = direction
        self._is_resumed: Final = is_resumed
        self._leaving: Final[set[str]] = set()
        self._admission: Final = asyncio.Lock()
        self.of: Final[Mapping[Kind, Act]] = {
            "hook": self._hook, "check": self._check, "backup": self._backup, "expand": self._expand,
            "migrate": self._migrate, "verify": self._verify, "contract": self._contract, "drain": self._drain,
            "stop": self._stop, "upgrade": self._upgrade, "start": self._start, "probe": self._probe,
            "ready": self._ready, "soak": self._soak,
        }  # fmt: skip

    # -- the whole ---------------------------------------------------------------------------------------------------------

    async def _hook(self, step: Step, deadline: Deadline, tell: Tell) -> str:
        return await self.hook(step.hook or "", deadline, node=step.node or "")

    async def hook(self, name: str, deadline: Deadline, *, node: str = "", message: str = "") -> str:
        """Run a hook here; does nothing if it is not set."""
        settings = self._settings
        command: tuple[str, ...] = getattr(settings.hooks, name)
        if not command:
            return ""
        values = self._rollout.values_here(self._rollout.release, node=node, message=message)
        hand = Hand(Node("here", "here", Target("here", "127.0.0.1"), {}), values, self._here)
        try:
            done = await hand.run(command, deadline)
        except RolloutError as error:
            raise type(error)(
                error.reason, f"the hook {name}: {error.message.removeprefix('here: ')}"
            ) from error
        if not done.ok:
            raise Rejected("hook_failed", f"the hook {name} exited with {done.code}: {said(done)}")
        return "it exited with 0"

    async def _check(self, step: Step, deadline: Deadline, tell: Tell) -> str:
        survey = await self._world.survey()
        questions = gates.RESUMED if self._is_resumed else gates.BEFORE
        if self._direction == "rollback":
            questions = gates.BEFORE_ROLLBACK
        found = gates.measured(questions, self._rollout, survey)
        gates.passed(
            found, "the rollout cannot go on" if self._is_resumed else "the rollout cannot begin", survey
        )
        return "; ".join(gate.message for gate in found)

    async def _verify(self, step: Step, deadline: Deadline, tell: Tell) -> str:
        _, proof = await self._all_new("not every node is on the new release", tell)
        return proof

    async def _all_new(self, what: str, tell: Tell) -> tuple[dict[str, str], str]:
        """Every node's release as it was proven just now."""
        for attempt in range(1, VERIFY_AGAIN + 1):
            survey = await self._world.survey()
            found = gates.measured(gates.AFTER, self._rollout, survey)
            try:
                gates.passed(found, what, survey)
            except RolloutError as error:
                if attempt == VERIFY_AGAIN:
                    raise
                tell(error.message)
                await asyncio.sleep(self._settings.health.interval)
                continue
            break
        releases = {name: seen.release or "" for name, seen in survey.seen.items()}
        return releases, "; ".join(gate.message for gate in found)

    # -- the database ------------------------------------------------------------------------------------------------------

    async def _backup(self, step: Step, deadline: Deadline, tell: Tell) -> str:
        return await self._data.backup()

    async def _expand(self, step: Step, deadline: Deadline, tell: Tell) -> str:
        proof = await self._heard(self._data.expand(), tell)
        if left := (await self._data.state()).expand:
            raise RolloutError(
                "expand_left", f"expand ran, and {left[0]} has still to run; look at: hitless db status"
            )
        return proof

    async def _migrate(self, step: Step, deadline: Deadline, tell: Tell) -> str:
        return await self._heard(self._data.migrate(), tell)

    async def _contract(self, step: Step, deadline: Deadline, tell: Tell) -> str:
        """The nodes are asked once more, at the last moment: what destroys comes directly after the look that would forbid it."""
        releases, proof = await self._all_new("contract would break nodes", tell)
        ran = await self._heard(self._data.contract(releases), tell)
        if left := (await self._data.state()).contract:
            raise RolloutError(
                "contract_left", f"contract ran, and {left[0]} has still to run; look at: hitless db status"
            )
        return f"{ran}; {proof}"

    async def _heard(self, work: Awaitable[str], tell: Tell) -> str:
        """The result of a phase; what it tells meanwhile is told on."""
        task = asyncio.ensure_future(work)
        heard = self._data.heard
        while not (await asyncio.wait({task}, timeout=TOLD_S))[0]:
            if heard.last:
                tell(heard.last)
        return await task

    # -- a node ------------------------------------------------------------------------------------------------------------

    async def _drain(self, step: Step, deadline: Deadline, tell: Tell) -> str:
        node = self._node(step)
        await self._admitted(node, deadline.sooner(self._settings.deadlines.ready), tell)
        watching = asyncio.create_task(self._watch_sessions(node, deadline, tell))
        try:
            await self._world.balancers.drain(node, deadline)
        except Late as error:
            if self._settings.drain.late != "proceed" or error.reason != "drain_late":
                raise
            return f"its requests are cut, as drain.late says: {error.message}"
        finally:
            watching.cancel()
        return "no session and nothing queued"

    async def _admitted(self, node: Node, deadline: Deadline, tell: Tell) -> None:
        """Wait until enough others are up. One node at a time is admitted, so that two never count on each other."""
        async with self._admission:
            while True:
                traffic = await self._world.balancers.traffic(self._world.deadline())
                up = [
                    each.name
                    for each in self._rollout.nodes.values()
                    if each.name not in self._leaving
                    and each.server in traffic
                    and traffic[each.server].is_up
                ]
                others = [name for name in up if name != node.name]
                if node.name not in up or len(others) >= self._rollout.min_up:
                    self._leaving.add(node.name)
                    return
                message = f"{len(others)} other nodes are up, and min_up is {self._rollout.min_up}"
                if deadline.expired:
                    raise Rejected(
                        "min_up", f"{node.name} was not drained: {message}; bring nodes up, or lower min_up"
                    )
                tell(f"waits: {message}")
                await asyncio.sleep(INTERVAL_S)

    async def _watch_sessions(self, node: Node, deadline: Deadline, tell: Tell) -> None:
        while True:
            await asyncio.sleep(TOLD_S)
            try:
                sessions = await self._world.balancers.sessions(node, self._world.deadline())
                traffic = (await self._world.balancers.traffic(self._world.deadline())).get(node.server)
            except RolloutError:
                continue  # the drain itself says what is wrong
            oldest = ", ".join(str(each) for each in sessions[:NAMED])
            count = traffic.sessions if traffic is not None else len(sessions)
            left = f"{deadline.remaining():.0f} s left"
            tell(f"waits for {count} sessions{f', the oldest: {oldest}' if oldest else ''}; {left}")

    async def _stop(self, step: Step, deadline: Deadline, tell: Tell) -> str:
        node = self._node(step)
        hand = self._world.hand(node)
        if self._world.balancers.are_any:
            await self._check_idle(node)
            await self._world.balancers.maint(node, self._world.deadline())
        late: Late | None = None
        try:
            await self._world.process.stop(hand, deadline)
        except Late as error:
            late = error  # whether it is gone is what counts
        why = await self._until_gone(node, deadline, tell)
        if not why:
            return "no process is left, and nothing answers"
        if await self._world.process.kill(hand, self._world.deadline()):
            why = await self._until_gone(node, Deadline.after(KILLED_S), tell)
            if not why:
                return f"killed: it had not ended after {step.deadline_s:g} s"
        more = f" ({late.message})" if late is not None else ""
        raise Late(
            "stop_late",
            f"{node.name} is not gone after {step.deadline_s:g} s: {why}{more}; it has no traffic and was not upgraded:"
            " end it, or give it longer in deadlines.stop, and resume",
        )

    async def _check_idle(self, node: Node) -> None:
        if self._settings.drain.late == "proceed":
            return
        traffic = (await self._world.balancers.traffic(self._world.deadline())).get(node.server)
        if traffic is None or not traffic.is_idle:
            has = (
                "is not known to every balancer"
                if traffic is None
                else f"has {traffic.sessions} sessions or gets work"
            )
            raise Rejected("not_idle", f"{node.name} was not stopped: it {has}; resume drains it again")

    async def _until_gone(self, node: Node, deadline: Deadline, tell: Tell) -> str:
        """Empty as soon as nothing is left; else why it is not."""
        while True:
            is_gone, why = await self._world.gone(node)
            if is_gone or deadline.expired:
                return "" if is_gone else why
            tell(f"waits for it to be gone: {why}; {deadline.remaining():.0f} s left")
            await asyncio.sleep(LOOK_S)

    async def _upgrade(self, step: Step, deadline: Deadline, tell: Tell) -> str:
        node = self._node(step)
        hand = self._world.hand(node)
        is_gone, why = await self._world.gone(node)
        if not is_gone:
            raise Rejected("not_gone", f"{node.name} was not upgraded: {why}; resume stops it again")
        await self._world.process.upgrade(hand, deadline)
        installed = await self._world.process.installed(hand, self._world.deadline())
        if installed is None:
            return "it exited with 0"
        if self._rollout.release_of(installed) != self._rollout.release:
            raise RolloutError(
                "not_installed",
                f"{node.name}: the upgrade exited with 0, and {installed} is installed, not {self._rollout.release}",
            )
        return f"{installed} is installed"

    async def _start(self, step: Step, deadline: Deadline, tell: Tell) -> str:
        node = self._node(step)
        if self._world.data is not None and (left := (await self._world.data.state()).expand):
            raise Rejected(
                "not_expanded", f"{node.name} was not started: {left[0]} has not run; resume runs it"
            )
        try:
            await self._world.process.start(self._world.hand(node), deadline)
        except Late as error:
            if error.reason != "command_late" or self._settings.process.kind not in ("commands", "serve"):
                raise
            raise Late(
                "start_late",
                f"{error.message}; it was ended, and with it what it had started and what had not left its session: have"
                " process.start begin the service with setsid and return at once, or give it longer in deadlines.start",
            ) from error
        return "it was started"

    async def _probe(self, step: Step, deadline: Deadline, tell: Tell) -> str:
        node, wanted = self._node(step), self._settings.health.passes
        passes = 0
        while True:
            answer = await self._asked(node)
            passes = passes + 1 if answer.ok else 0
            if passes >= wanted:
                return f"{passes} healthy answers in a row, and release {self._rollout.release}"
            if deadline.expired:
                raise Late(
                    "unhealthy",
                    f"{node.name} was not healthy within {step.deadline_s:g} s: {answer.value}; it has no traffic: see its log,"
                    " then resume, or roll back",
                )
            tell(f"{passes} of {wanted} passes: {answer.value}; {deadline.remaining():.0f} s left")
            await asyncio.sleep(self._settings.health.interval)

    async def _ready(self, step: Step, deadline: Deadline, tell: Tell) -> str:
        node = self._node(step)
        answer = await self._asked(node)
        if not answer.ok:
            raise RolloutError(
                "unhealthy", f"{node.name} was given no traffic: {answer.value}; see its log, then resume"
            )
        await self._world.balancers.ready(node, deadline)
        while True:
            traffic = (await self._world.balancers.traffic(self._world.deadline())).get(node.server)
            if traffic is not None and traffic.is_up:
                self._leaving.discard(node.name)
                return "every balancer sends it work and takes it for alive"
            if deadline.expired:
                raise Late(
                    "not_up",
                    f"{node.name} is healthy, and a balancer does not take it for alive; see its checks there",
                )
            tell("waits for the balancers' checks")
            await asyncio.sleep(LOOK_S)

    async def _soak(self, step: Step, deadline: Deadline, tell: Tell) -> str:
        """One missed probe is told, as many in a row as a start needs passes are a failure."""
        node = self._node(step)
        until = Deadline.after(max(0.0, step.deadline_s - self._settings.deadlines.health))
        missed = 0
        while True:
            answer = await self._asked(node)
            missed = 0 if answer.ok else missed + 1
            if missed >= self._settings.health.passes:
                raise RolloutError(
                    "soak_failed", f"{node.name} fell ill after it had been given traffic: {answer.value}"
                )
            if until.expired and answer.ok:
                break
            tell(f"{until.remaining():.0f} s left{'' if answer.ok else f'; {answer.value}'}")
            await asyncio.sleep(min(self._settings.health.interval, max(until.remaining(), LOOK_S)))
        await self._check_up(node)
        return f"healthy and on release {self._rollout.release} for {until.seconds:g} s"

    async def _check_up(self, node: Node) -> None:
        if not self._world.balancers.are_any:
            return
        traffic = (await self._world.balancers.traffic(self._world.deadline())).get(node.server)
        if traffic is None or not traffic.is_up:
            raise RolloutError(
                "soak_failed", f"{node.name} is healthy, and a balancer does not take it for alive any more"
            )

    async def _asked(self, node: Node) -> Answer:
        """Healthy, and of the release that it is to be."""
        hand, deadline = self._world.hand(node), self._world.deadline()
        version = await self._world.probes.version(hand, deadline)
        if not version.ok:
            return version
        if self._rollout.release_of(version.value) != self._rollout.release:
            return Answer(False, f"it runs {version.value}, not release {self._rollout.release}")
        return await self._world.probes.healthy(hand, deadline)

    @property
    def _data(self) -> Data:
        assert self._world.data is not None
        return self._world.data

    def _node(self, step: Step) -> Node:
        assert step.node is not None
        return self._rollout.nodes[step.node]
