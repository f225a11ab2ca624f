"""The stop of one container, by our own clock.

    look ─► unpause ─► set the restart policy aside ─► drain ─► signal, wait ─► … ─► kill or leave ─► judge ─► restore

1. No SIGKILL is sent before the last step's time is over, and none if the stop was cancelled.
2. What is so is asked of the engine; events only say when to ask. An engine that goes away and comes back costs
   nothing but the time it was away.
3. A signal of which nobody knows whether it arrived is not sent again: for many services the second one means
   "at once".
4. The restart policy is restored, whatever happens; what a killed Hitless leaves, the next one restores.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Final

from hitless.change import Clock, Deadline, DeadlinePassed, Events
from hitless.containers.aside import PolicyAside
from hitless.containers.container import Container
from hitless.containers.drain import Drain, DrainFailed, done, raise_failure
from hitless.containers.engine import Engine
from hitless.containers.errors import (
    EngineError,
    EngineRefused,
    EngineUnreachable,
    NoSuchContainer,
    NotRunning,
    StateUnwritable,
)
from hitless.containers.hub import Watch
from hitless.containers.judge import Evidence, judged
from hitless.containers.memory import oom_kills
from hitless.containers.outcome import StepTaken, StopOutcome
from hitless.containers.sequence import KILL_WAIT_S, NEVER_S, Sequence
from hitless.containers.signals import DEFAULT, KILL, parse_signal

ENGINE_BACK_S: Final = 30.0
"""For an engine that does not answer at the end of a deadline: without it nobody can be killed or judged."""
UNDO_S: Final = 30.0
COMES_BACK_S: Final = 10.0
"""For an engine to start a container again that it restarts by policy, on a machine that is busy."""
SOON_S: Final = 1.0
"""The same for one that was never restarted so far."""
HALT_AGAIN_S: Final = 0.1
TAKEN_S: Final = 1.0
"""For an engine to take a stop, which it answers only when it is over."""
MAY_BE_SENT: Final = "the engine went away while it was told to send {}; it was not sent again"


class Stop:
    """One stop, from the first look to the verdict. `run` once; `extend` and `cancel` at any time while it runs."""

    def __init__(
        self,
        engine: Engine,
        container: Container,
        sequence: Sequence,
        *,
        watch: Watch,
        aside: PolicyAside,
        events: Events | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.container = container
        self._now = container
        self.sequence: Final = sequence
        self._engine: Final = engine
        self._watch: Final = watch
        self._aside: Final = aside
        self._events: Final = events or Events()
        self._clock: Final = clock
        self._began: Final = clock()
        self._until = self._began
        self._sent_at: float | None = None
        self._cancelled = False
        self._is_killing = False
        self._halt: asyncio.Task[bool] | None = None
        self._evidence: Final = Evidence(container, sequence)
        self._oom_kills: Final = oom_kills()

    @property
    def remaining_s(self) -> float:
        """Seconds until the present step's time is over."""
        return max(0.0, self._until - self._clock())

    @property
    def is_killing(self) -> bool:
        """Whether the end has come: from then on there is nothing to extend or to cancel."""
        return self._is_killing

    def extend(self, seconds: float) -> float:
        """Give the present step `seconds` more; returns how long it has now."""
        self._until += seconds
        self._emit("extended", seconds=seconds)
        self._watch.wake()
        return self.remaining_s

    def cancel(self) -> None:
        """Send nothing more; the container is left as it is. A signal that was sent cannot be taken back."""
        self._cancelled = True
        self._watch.wake()

    async def run(self) -> StopOutcome:
        """Stop it; see the module's text for what is promised.

        Raises:
            EngineError: before anything was done.
            StateUnwritable: before a signal was sent.
        """
        if self._cancelled:
            return await self._judged()
        if not self.container.is_running:
            return await self._stop_idle()
        self._emit("stopping", sequence=str(self.sequence))
        note = await self._aside.put()
        if note:
            self._evidence.notes.append(note)
        try:
            await self._go()
            await self._keep_down()
            outcome = await self._judged()
        finally:
            await self._forget_halt()
            await asyncio.shield(self._aside.restore())
        self._emit("stopped", outcome=outcome.ended.value, reason=outcome.reason, message=outcome.message)
        return outcome

    async def _stop_idle(self) -> StopOutcome:
        """It has no process. One that its engine is about to restart is kept from it."""
        if self.container.state == "restarting":
            self._evidence.was_restarting = True
            await self._engine.halt(self.container.id, max(1, round(self.sequence.total_s)))
            self._until = self._clock() + self.sequence.total_s
            self._evidence.found = await self._end()
        elif self._stays_in_force and await self._comes_back():
            self.container = self._evidence.before = self._now
            return await self.run()
        else:
            self._evidence.found = self.container
            self._evidence.had_nothing = True
        return await self._judged()

    async def _comes_back(self) -> bool:
        """Whether it was only between two starts, which this engine does not show as a state of its own."""
        deadline = Deadline.after(
            COMES_BACK_S if self._now.restart_count or self._evidence.steps else SOON_S, self._clock
        )
        while not deadline.expired:
            await self._watch.wait(deadline.remaining())
            with suppress(NoSuchContainer):
                self._now = await self._engine.inspect(self.container.id)
                if self._now.is_running:
                    return True
        return False

    async def _go(self) -> None:
        await self._unpause()
        if self.sequence.drains and not await self._drained():
            return
        try:
            self._aside.signalling()
        except StateUnwritable:
            await self._undrain()
            raise
        for step in self.sequence.steps:
            await self._signal(step.signal, step.wait_s)
            if await self._end() is not None or self._cancelled:
                return
        if self.sequence.at_end == "kill":
            await self._kill()

    async def _unpause(self) -> None:
        """A paused process takes no signal, and finishes nothing."""
        if self.container.state == "paused":
            with suppress(EngineRefused):  # somebody else did it
                await self._engine.unpause(self.container.id)
                self._evidence.notes.append("it was paused, and was unpaused to finish its work")

    async def _drained(self) -> bool:
        """Whether signals are to follow."""
        began = self._clock()
        self._until = began + self.sequence.drain_s
        self._emit("draining", seconds=self.sequence.drain_s)
        try:
            for drain in self.sequence.drains:
                if not await self._drain(drain):
                    return False
        except (DrainFailed, DeadlinePassed) as error:
            if self.sequence.on_drain_failure == "refuse":
                self._evidence.drain_failure = str(error)
                await self._undrain()
                return False
            self._evidence.notes.append(
                f"the drain failed, and the container was stopped all the same: {error}"
            )
        finally:
            self._evidence.drained_s = self._clock() - began
        return True

    async def _drain(self, drain: Drain) -> bool:
        """Run it; False if the container ended meanwhile, or the stop was cancelled."""
        # The deadline of its own is far away: the time may be extended while it runs, and that is our business.
        task = asyncio.create_task(drain.run(self._engine, self.container, Deadline.after(24 * 3600)))
        task.add_done_callback(lambda _: self._watch.wake())
        try:
            while not task.done():
                if self._cancelled:
                    await self._undrain()
                    return False
                if await self._look() is not None:
                    return False
                if self.remaining_s <= 0:
                    raise DeadlinePassed(f"{drain} did not end", self.sequence.drain_s)
                await self._watch.wait(self.remaining_s)
            raise_failure(task, str(drain))
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return await self._look() is None

    async def _undrain(self) -> None:
        for drain in reversed(self.sequence.drains):
            try:
                await done(drain.undo(self._engine, self.container, Deadline.after(UNDO_S)), str(drain))
            except DrainFailed as error:
                self._evidence.notes.append(f"{drain} could not be taken back: {error}")

    async def _signal(self, signal: str, wait_s: float) -> None:
        """Send it as soon as the engine takes it; its time begins then."""
        self._until = self._clock() + wait_s + ENGINE_BACK_S
        while not self._cancelled and self.remaining_s > 0:
            try:
                await self._deliver(signal)
            except (NotRunning, NoSuchContainer):
                break  # it ended just now: the next look tells how
            except EngineUnreachable as error:
                if error.was_sent:
                    self._evidence.notes.append(MAY_BE_SENT.format(signal))
                    break
                await self._watch.wait(1.0)
            except EngineRefused as error:
                self._evidence.engine_said = str(error)
                break
            else:
                break
        self._sent_at = self._clock()
        self._evidence.took(StepTaken(signal, self._sent_at - self._began, 0.0))
        self._until = self._sent_at + wait_s
        self._emit("signalled", signal=signal, wait_s=wait_s)

    async def _deliver(self, signal: str) -> None:
        """Send it. Where the restart policy stays in force, the engine itself must be asked to stop the container, so that it
        does not start it again; it would kill only after a time that never comes."""
        if not self._stays_in_force or self._halt is not None or signal != self._engine_signal:
            await self._engine.kill(self.container.id, signal)
            return
        halt = asyncio.create_task(self._engine.halt(self.container.id, int(NEVER_S), call_s=NEVER_S))
        halt.add_done_callback(lambda _: self._watch.wake())
        await asyncio.wait({halt}, timeout=TAKEN_S)
        if halt.done():
            halt.result()
        self._halt = halt

    @property
    def _stays_in_force(self) -> bool:
        return self.container.policy.restarts and not self._engine.dialect.can_set_policy

    @property
    def _engine_signal(self) -> str:
        """What the engine sends when it is asked to stop the container."""
        return parse_signal(self.container.stop_signal or DEFAULT)

    async def _keep_down(self) -> None:
        """See to it that the engine does not start it again, where its restart policy could not be set aside."""
        evidence = self._evidence
        if not self._stays_in_force or evidence.found is None or await self._is_held():
            return
        if not await self._comes_back():
            return
        evidence.was_restarted = True
        evidence.notes.append(
            f"the engine restarted it, as its policy {self.container.policy} says; it was stopped again"
        )
        within = max(1, round(self.sequence.total_s))
        deadline = Deadline.after(within + ENGINE_BACK_S, self._clock)
        with suppress(EngineError):
            # False: it was between two starts, where this engine forgets that it was asked.
            while not deadline.expired and not await self._engine.halt(
                self.container.id, within, call_s=deadline.remaining()
            ):
                await self._watch.wait(HALT_AGAIN_S)
        self._until = self._clock() + ENGINE_BACK_S
        await self._end()

    async def _is_held(self) -> bool:
        """Whether the engine knows that the container was to be stopped."""
        if self._halt is None:
            return False
        await asyncio.wait({self._halt}, timeout=ENGINE_BACK_S)
        with suppress(EngineError):
            return self._halt.done() and self._halt.result()
        return False

    async def _forget_halt(self) -> None:
        """Hang up; an engine that still waits for the container goes on doing so, and does nothing."""
        if self._halt is not None:
            self._halt.cancel()
            await asyncio.gather(self._halt, return_exceptions=True)

    async def _kill(self) -> None:
        self._is_killing = True
        await self._signal(KILL, KILL_WAIT_S)
        await self._end()

    async def _end(self) -> Container | None:
        """Wait for its end, until the present step's time is over or the stop is cancelled; then None."""
        began, self._sent_at = (
            self._sent_at or self._clock(),
            None,
        )  # what is waited for counts from the signal on
        try:
            while (found := await self._look()) is None:
                if self._cancelled or self.remaining_s <= 0:
                    return None
                await self._watch.wait(self.remaining_s)
            return found
        finally:
            self._evidence.waited(self._clock() - began)

    async def _look(self) -> Container | None:
        """The container if it has ended (or is gone, or was started anew), None if it runs on or nobody knows."""
        try:
            found = await self._engine.inspect(self.container.id)
        except NoSuchContainer:
            self._evidence.gone = True
            return self.container
        except EngineError as error:
            self._evidence.unseen = str(error)
            return None
        self._evidence.unseen = ""
        if (self._evidence.was_restarting or self._evidence.was_restarted) and found.state in (
            "running",
            "restarting",
        ):
            return None  # the engine is still stopping it
        if found.is_running and found.started_at == self.container.started_at:
            return None
        if found.state == "restarting" or found.is_running:
            self._evidence.came_back = True
        self._evidence.found = found
        return found

    async def _judged(self) -> StopOutcome:
        """The verdict, when the engine can be asked for the evidence."""
        evidence = self._evidence
        if evidence.unseen:
            self._until = self._clock() + ENGINE_BACK_S
            await self._end()
        evidence.cancelled = self._cancelled
        if self.sequence.drains and evidence.found is None and evidence.steps and not evidence.gone:
            evidence.notes.append(
                "what was drained stays so, because a signal was sent, by which it may still end"
            )
        evidence.oom_kills = oom_kills() - self._oom_kills
        evidence.ends = tuple(self._watch.ends)
        if evidence.wants_log:
            with suppress(EngineError):
                evidence.log = await self._engine.log_tail(self.container)
        return judged(evidence, seconds=self._clock() - self._began)

    def _emit(self, verb: str, **fields: str | float | None) -> None:
        self._events.emit(f"container.{verb}", container=self.container.name, **fields)
