"""One member of a group, at work: it renews its lease, looks, promises, prepares and puts in force; and takes the steps of the
record that nobody has taken yet.

Two tasks beside the poller: one talks to the store and may have to wait for it, the other one puts in force at boundaries and
waits for nobody.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from hitless.agent.group.coordinator import Coordinator, LeaseLost, Sight, Unreachable
from hitless.agent.group.diary import Diary
from hitless.agent.group.directory import boottime
from hitless.agent.group.document import Document
from hitless.agent.group.line import Line
from hitless.agent.group.member import Member, Register, Verdict
from hitless.agent.group.options import GroupSettings
from hitless.agent.group.protocol import EpochInProgress, advance, eligible, propose
from hitless.agent.group.record import Assignment, Draft, Record
from hitless.agent.group.share import Share, now_ms
from hitless.agent.group.station import Station
from hitless.change import DeadlinePassed, Refused
from hitless.serve import faults

log = logging.getLogger(__name__)

MARGIN: Final = 0.1
"""Of the lease: so much sooner a member stops by itself."""
HASTE: Final = 5
"""So many times more often it looks while something is under way."""
TRY_AGAIN_S: Final = 5.0
"""Before a configuration that is in force, and was refused here, is tried again."""


class Membership:
    """Owned by one event loop."""

    def __init__(
        self,
        settings: GroupSettings,
        coordinator: Coordinator,
        share: Share,
        station: Station,
        *,
        name: str = "agent",
        diary: Diary | None = None,
    ) -> None:
        self.settings: Final = settings
        self._rules: Final = settings.rules
        self._line: Final = Line(coordinator, settings.timeout_s)
        self._share: Final = share
        self._station: Final = station
        self._name: Final = name
        self._diary: Final = diary or Diary(None)
        self._one_step: Final = asyncio.Lock()
        self._news: Final = asyncio.Event()
        """For the one that talks to the store: there is something to say."""
        self._boundary: Final = asyncio.Event()
        """For the one that puts in force: something new is known."""
        self._joined = False
        self._leaving = False
        self._verdict: Verdict | None = None
        self._applied = ""
        self._attempted = ""
        self._trouble = ""
        self._tried_at = 0.0
        self._began: Final = time.time()
        self._work: asyncio.Task[None] | None = None
        """What is prepared or settled at the moment."""
        self.sight = Sight(Record(), 0)
        self.unreachable = ""
        """Why the store cannot be asked."""
        self.has_looked: Final = asyncio.Event()
        self.is_in_step: Final = asyncio.Event()
        """It polls by what the group polls by, or has found that it cannot, or the group has nothing yet to poll by."""

    # What others call

    async def run(self) -> None:
        """Until it has left, or is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            force = tasks.create_task(self._put_in_force(), name="group boundaries")
            try:
                await self._talk()
            finally:
                force.cancel()
                if self._work is not None:
                    self._work.cancel()

    def leave(self) -> None:
        """Hand everything over; `run` returns when it is done."""
        self._leaving = True
        self._news.set()

    async def bootstrap(self, config: str, text: str) -> None:
        """Propose this as the group's first configuration, unless it has one, or has refused this one."""
        record = self.sight.record
        if record.assignment is not None or record.draft is not None:
            return
        if any(each.config == config for each in record.outcomes):
            return
        await self._line.call(lambda store: store.put(config, text))
        with suppress(EpochInProgress):
            proposed = propose(record, config, by=self.me.name, now=now_ms(), rules=self._rules)
            await self._write(proposed)

    @property
    def me(self) -> Member:
        return self._share.knows.me

    @property
    def trouble(self) -> str:
        """Why it does not take part, if it does not."""
        return self._trouble

    @property
    def register(self) -> Register:
        knows = self._share.knows
        return Register(
            member=knows.me,
            is_leaving=self._leaving,
            applied=self._applied,
            epoch=knows.epoch,
            attempted=self._attempted,
            verdict=self._verdict,
            armed=knows.armed,
            trouble=self._trouble,
            pid=os.getpid(),
            since=self._began,
        )

    # Talking to the store

    async def _talk(self) -> None:
        while not (self._leaving and self._may_go()):
            self._news.clear()
            try:
                await self._meet()
                await self._step()
            except LeaseLost as error:
                self._begin_again(str(error))
                continue
            except Unreachable as error:
                self._note_trouble(str(error))
            pause = self._pause_s()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()
        await self._station.agent.catch_up()
        with suppress(Unreachable):
            await self._line.call(lambda store: store.leave())
        self._share.lease_end = 0.0
        self._diary.note("left", member=self.me.id)

    def _may_go(self) -> bool:
        """Whether everything is handed over, or there is nobody to hand it to."""
        knows = self._share.knows
        if knows.is_out(now_ms()):
            return True
        return not self._share.has_lease or not eligible(self.sight.record, self.sight.registers)

    def _pause_s(self) -> float:
        record = self.sight.record
        busy = record.change is not None or record.draft is not None or self._leaving
        return self.settings.look / (HASTE if busy and not self.unreachable else 1)

    async def _meet(self) -> None:
        """Renew, look, and take in what is new. Raises LeaseLost, Unreachable."""
        register, began = self.register, boottime()
        if register.armed is not None:
            faults.reach("group.promised")
        sight = await self._line.call(lambda store: self._renewed(store, register))
        if not self._joined:
            self._joined = True
            self._diary.note("joined", member=self.me.id)
        self._note_trouble("")
        if self._share.lease_end > 0 and not self._share.has_lease:
            self._diary.note("lapsed", member=self.me.id, since=self._share.lapsed_at)
        self._share.lease_end = began + self._line.coordinator.lease_s * (1 - MARGIN)
        self._take_in(sight)

    def _renewed(self, store: Coordinator, register: Register) -> Sight:
        if self._joined:
            store.renew(register)
        else:
            store.join(register)
        return store.look()

    def _take_in(self, sight: Sight) -> None:
        knows, before = self._share.knows, self.sight.record
        self.sight = sight
        if sight.record.epochs < knows.epoch:
            log.warning("the group's store has lost what it knew; the group begins anew")
            knows, self._verdict = replace(knows, epoch=0, armed=None), None
        self._share.knows = replace(knows, record=sight.record)
        self._promise()
        self._prepare_or_settle()
        self.has_looked.set()
        if sight.record.assignment is None and sight.record.change is None:
            self.is_in_step.set()
        if sight.record != before:
            self._diary.note_assignment(self.me, before.assignment, sight.record.assignment)
        self._boundary.set()
        self._station.agent.wake()

    async def _step(self) -> None:
        """Take the next step of the record, if there is one."""
        sight = self.sight
        following = advance(sight.record, sight.registers, now_ms(), self._rules)
        if following is not sight.record:
            await self._write(following)

    async def _write(self, record: Record) -> None:
        commits = record.change is not None and record.change.phase == "committed"
        if commits:
            faults.reach("group.committing")
        version = self.sight.version
        if await self._line.call(lambda store: store.write(record, version)):
            if commits:
                faults.reach("group.committed")
            self._news.set()

    def _begin_again(self, why: str) -> None:
        """In another life: what this one has promised is void."""
        self._diary.note("lost", member=self.me.id, why=why, since=self._share.lapsed_at)
        self._share.lease_end = 0.0
        self._joined = False
        log.warning("%s: %s; it joins again", self.me.name, why)
        self._share.knows = replace(self._share.knows, me=self.settings.new_member(self._name), armed=None)
        self._verdict = None

    def _note_trouble(self, why: str) -> None:
        if bool(why) != bool(self.unreachable):
            if why:
                log.warning("the group's store cannot be asked: %s", why)
            else:
                log.info("the group's store answers again")
        self.unreachable = why

    # Promises

    def _promise(self) -> None:
        """Not before what is promised can be kept: a new configuration must be ready to be swapped in."""
        knows = self._share.knows
        change = knows.record.change
        if change is None or change.phase != "arming":
            return
        current = knows.record.assignment
        is_epoch = current is None or change.next.epoch != current.epoch
        takes_part = self.me in change.next.members
        if (
            is_epoch
            and takes_part
            and not (self._station.prepared == change.next.epoch and self._station.is_settled)
        ):
            return
        promised = knows.promise()
        if promised is not knows:
            self._share.knows = promised
            self._diary.note(
                "promised", number=change.next.number, attempt=change.attempt, boundary=change.at
            )
            self._news.set()

    def _prepare_or_settle(self) -> None:
        """Begin what the record asks for, if nothing is being worked on."""
        if self._work is not None and not self._work.done():
            return
        work = self._next_work()
        if work is not None:
            self._work = asyncio.create_task(work, name="group work")
            self._work.add_done_callback(_ended)

    def _next_work(self) -> Coroutine[Any, Any, None] | None:
        knows, station = self._share.knows, self._station
        record = knows.record
        draft, change = record.draft, record.change
        if draft is not None and knows.is_settled:
            answered = self._verdict is not None and self._verdict.epoch == draft.epoch
            if not answered:
                return self._prepare(draft)
            is_near = change is not None and change.next.epoch == draft.epoch
            if is_near and station.prepared == draft.epoch and not station.is_settled:
                return self._settle(draft.epoch)
        expected = {
            *([] if draft is None else [draft.epoch]),
            *([] if change is None else [change.next.epoch]),
            *([] if record.assignment is None else [record.assignment.epoch]),
        }
        if station.prepared is not None and station.prepared not in expected:
            return self._discard()
        return None

    async def _prepare(self, draft: Draft) -> None:
        faults.reach("group.drafted")
        self._diary.note("preparing", epoch=draft.epoch, config=draft.config)
        self._attempted = draft.config
        timeout_s = max(0.1, (draft.expires - now_ms()) / 1000)
        try:
            await self._build(draft.epoch, draft.config, timeout_s)
        except (Refused, DeadlinePassed, Unreachable) as error:
            self._answer(Verdict(epoch=draft.epoch, answer="refused", why=str(error)))
        else:
            self._answer(Verdict(epoch=draft.epoch, answer="prepared"))
            faults.reach("group.prepared")

    async def _build(self, epoch: int, config: str, timeout_s: float) -> None:
        """Raises Refused, DeadlinePassed, Unreachable."""
        text = await self._line.call(lambda store: store.get(config))
        if text is None:
            raise Refused("config_missing", f"the store has no configuration {config[:12]}")
        document = Document.kept(text, config)
        async with self._one_step:
            await self._station.prepare(epoch, document, timeout_s)

    async def _settle(self, epoch: int) -> None:
        try:
            async with self._one_step:
                await self._station.settle()
        except (Refused, DeadlinePassed) as error:
            self._answer(Verdict(epoch=epoch, answer="refused", why=str(error)))
        else:
            faults.reach("group.settled")
            self._promise()

    async def _discard(self) -> None:
        self._diary.note("discarded", epoch=self._station.prepared)
        async with self._one_step:
            with suppress(Refused):
                await self._station.discard()

    def _answer(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self._diary.note(verdict.answer, epoch=verdict.epoch, why=verdict.why)
        self._news.set()

    # Boundaries

    async def _put_in_force(self) -> None:
        while True:
            self._boundary.clear()
            wanted = self._share.knows.wanted(now_ms())
            if wanted is not None and not (self._leaving and self.me not in wanted.members):
                await self._apply(wanted)
                if self._share.knows.epoch == wanted.epoch:
                    continue
            with suppress(TimeoutError):
                async with asyncio.timeout(self._until_boundary_s()):
                    await self._boundary.wait()

    def _until_boundary_s(self) -> float:
        change = self._share.knows.record.change
        if change is None or change.phase != "committed" or change.at <= now_ms():
            return self.settings.look
        return (change.at - now_ms()) / 1000

    async def _apply(self, wanted: Assignment) -> None:
        """Swap what is prepared, or catch up with what the others have put in force already."""
        is_ready = self._station.prepared == wanted.epoch and self._station.is_settled
        if not is_ready and not await self._catch_up(wanted):
            return
        faults.reach("group.swapping")
        async with self._one_step:
            await self._station.swap()
        self._share.knows = replace(self._share.knows, epoch=wanted.epoch)
        self._share.begin_at(wanted.at)
        self._station.agent.arrange()
        self._applied = self._attempted = wanted.config
        self._trouble = ""
        self._diary.note(
            "in_force",
            epoch=wanted.epoch,
            config=wanted.config,
            boundary=wanted.at,
            mine=self.me in wanted.members,
        )
        log.info("epoch %d is in force (%s)", wanted.epoch, wanted.config[:12])
        self.is_in_step.set()
        faults.reach("group.swapped")
        self._station.agent.wake()
        self._news.set()

    async def _catch_up(self, wanted: Assignment) -> bool:
        """Whether what the group polls by is ready to be put in force here."""
        if boottime() - self._tried_at < TRY_AGAIN_S and self._attempted == wanted.config and self._trouble:
            return False
        self._tried_at, self._attempted = boottime(), wanted.config
        try:
            await self._build(wanted.epoch, wanted.config, self.settings.prepare)
            async with self._one_step:
                await self._station.settle()
        except (Refused, DeadlinePassed, Unreachable) as error:
            if self._trouble != str(error):
                log.warning("the group's configuration cannot be put in force here: %s", error)
            self._trouble = str(error)
            self._diary.note("cannot_catch_up", epoch=wanted.epoch, why=str(error))
            self.is_in_step.set()
            self._news.set()
            return False
        return True


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("the group's work has failed", exc_info=task.exception())
