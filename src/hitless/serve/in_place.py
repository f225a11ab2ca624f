"""A change inside the processes: the settings of the application's runtime, in all workers or in none.

look      every worker: is its code what its files hold? one of them: what would the sources change, and is all of it live?
prepare   every worker builds the new beside the old                         one refuses, dies or is late: nowhere
settle    every worker does what may fail of the swap, and can be undone     one refuses, dies or is late: undone everywhere
swap      decided: it cannot be refused. Who does not do it in time is killed, and replaced by one with the new settings

Nobody is started meanwhile (`Mender.hold`), so that nobody comes with the old settings after the swap. The settings go from the
worker that has read them to the others through the supervisor, by descriptor: all take the same, whatever the files hold a moment
later. Workers that drain keep what they have.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from hitless.change import Deadline, Difference, Refused
from hitless.serve import faults
from hitless.serve.channel import Message
from hitless.serve.fleet import Fleet
from hitless.serve.generations import ServeGeneration
from hitless.serve.live_state import LiveState
from hitless.serve.workers import WorkerProcess, WorkerState

LOOK_S: Final = 20.0
LOOK_BESIDE_S: Final = 5.0
"""Where nothing hangs on the answer: the processes may be replaced because they do not answer."""
SETTLE_S: Final = 14.0
SWAP_S: Final = 12.0
GONE_S: Final = 3.0
"""Until a worker that was killed is gone. With SETTLE_S and SWAP_S within the deadline of a commit (30 s)."""
UNDO_S: Final = 18.0
LIVE: Final = "every changed option is live"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What looking has shown. `state`: the settings to put in force inside the processes; None if it takes new ones."""

    why: str
    state: LiveState | None = None
    differences: tuple[Difference, ...] = ()
    """Of the runtime's settings: they change with the processes as well."""
    steps: tuple[str, ...] = ()
    refused: str = ""
    """Why the code that runs would not take the settings. The code of new processes may be another, and decides."""

    def but(self, why: str) -> Verdict:
        """New processes all the same, because of that."""
        return Verdict(why, None, self.differences, (), self.refused)


def accepting(generation: ServeGeneration) -> list[WorkerProcess]:
    """The workers that answer clients and are not on their way out."""
    return [each for each in generation.workers.values() if each.state is WorkerState.SERVING]


async def look(
    generation: ServeGeneration,
    live: LiveState,
    *,
    wanted: LiveState | None = None,
    timeout_s: float = LOOK_S,
) -> Verdict:
    """Whether what is to change can change inside the processes of `generation`, which have the settings `live`: to those of
    the sources, or to `wanted`, whatever the files of the code hold.

    Raises:
        Refused: these settings cannot be put in force at all.
    """
    workers = accepting(generation)
    if not workers or any(each.live_hash != live.hash for each in workers):
        return Verdict("not all workers run on the same settings")
    deadline = Deadline.after(timeout_s)
    given = [] if wanted is None else [wanted.fd]
    first, *others = await asyncio.gather(
        *(
            each.live("look", given, deadline=deadline, reads=number == 0)
            for number, each in enumerate(workers)
        ),
        return_exceptions=True,
    )
    read = _texts(first) if isinstance(first, Message) else []
    changed: set[str] = set()
    for answer in (first, *others):
        if isinstance(answer, BaseException):
            return Verdict(str(answer))
        changed.update(answer["code"])
    if not changed:
        return _verdict(read, live)
    why = f"code has changed ({min(changed)}{' and more' if len(changed) > 1 else ''})"
    return considered(lambda: _verdict(read, live)).but(why)


def considered(verdict: Callable[[], Verdict]) -> Verdict:
    """A verdict that is not the last word, because the processes will be new ones."""
    try:
        return verdict()
    except Refused as refused:
        return Verdict("", refused=refused.message)


async def look_beside(
    generation: ServeGeneration, live: LiveState, why: str, *, wanted: LiveState | None = None
) -> Verdict:
    """What of the settings changes with new processes, which there will be because of `why`."""
    try:
        return (await look(generation, live, wanted=wanted, timeout_s=LOOK_BESIDE_S)).but(why)
    except Refused as refused:
        return Verdict(why, refused=refused.message)


def _texts(answer: Message) -> list[LiveState]:
    """What came with the answer: a report, and the settings if they may be put in force."""
    return [LiveState(fd, "") for fd in answer.fds]


def _verdict(read: list[LiveState], live: LiveState) -> Verdict:
    report, *settings = read
    found = json.loads(os.pread(report.fd, os.fstat(report.fd).st_size, 0))
    refused = found.get("refused")
    if refused is not None:
        raise Refused(refused["reason"], refused["message"], invalid=refused["invalid"])
    differences = tuple(Difference(**each) for each in found["differences"])
    if not found["carried"]:
        return Verdict("these settings cannot be passed from process to process", None, differences)
    state = LiveState(os.dup(settings[0].fd), found["hash"], live.name, live.exclusive)
    if found["restart"]:
        return Verdict(f"{', '.join(found['restart'])} takes effect in new processes only", None, differences)
    if found["unchanged"]:
        return Verdict("nothing differs that could change inside the processes")
    return Verdict(LIVE, state, differences, tuple(found["steps"]))


class InPlace:
    """One change of all workers of the current generation to the settings `state`."""

    def __init__(self, fleet: Fleet, state: LiveState, settings_hash: str) -> None:
        assert fleet.current is not None
        self._fleet: Final = fleet
        self._generation: Final = fleet.current
        self._state: Final = state
        self._settings_hash: Final = settings_hash
        self._workers: list[WorkerProcess] = []

    async def prepare(self, deadline: Deadline) -> None:
        """Raises Refused, DeadlinePassed: `discard` follows."""
        await self._fleet.mender.hold(deadline)
        generation = self._generation
        self._workers = accepting(generation)
        for worker in self._workers:
            if generation.live is None or worker.live_hash != generation.live.hash:
                raise Refused(
                    "settings_differ",
                    f"worker {worker.number} runs on other settings than the rest; say hitless reload --restart",
                )
        if not self._workers:
            raise Refused("not_serving", "no worker serves at this moment; try again when one does")
        await all_of(
            worker.live("prepare", [self._state.fd], deadline=deadline, timeout=deadline.remaining())
            for worker in self._workers
        )
        faults.reach("live.prepared")

    async def commit(self) -> None:
        """Raises Refused, DeadlinePassed: `undo` and `discard` follow."""
        deadline = Deadline.after(SETTLE_S)
        await all_of(worker.live("settle", deadline=deadline) for worker in self._workers)
        faults.reach("live.settled")
        generation = self._generation
        # From here on the new settings are the ones: whoever is started gets them, and nothing is taken back.
        generation.live_before, generation.live = generation.live, self._state
        generation.settings_hash = self._settings_hash
        done = await self._each(lambda worker, limit: worker.live("swap", deadline=limit), SWAP_S)
        for worker in done:
            worker.live_hash = self._state.hash
        await self._end([worker for worker in self._workers if worker not in done], "swap")
        faults.reach("live.swapped")
        self._fleet.mender.release()

    async def undo(self) -> None:
        """Those that cannot say that they have taken it back are ended: their successors have the old settings."""
        done = await self._each(lambda worker, limit: worker.live("undo", deadline=limit), UNDO_S)
        await self._end([worker for worker in self._workers if worker not in done], "undo")

    async def discard(self) -> None:
        """A worker that does not answer hears it when it listens again, before anything that comes after."""
        try:
            await self._each(lambda worker, limit: worker.live("discard", deadline=limit), UNDO_S)
        finally:
            self._fleet.mender.release()

    async def _each(
        self, step: Callable[[WorkerProcess, Deadline], Awaitable[Message]], seconds: float
    ) -> list[WorkerProcess]:
        """The workers that have done it in time."""
        limit = Deadline.after(seconds)
        answers = await asyncio.gather(
            *(step(worker, limit) for worker in self._workers), return_exceptions=True
        )
        return [
            worker
            for worker, answer in zip(self._workers, answers, strict=True)
            if not isinstance(answer, BaseException)
        ]

    async def _end(self, workers: list[WorkerProcess], step: str) -> None:
        """They must not answer any more: nobody knows which settings they have."""
        for worker in workers:
            if worker.state is not WorkerState.GONE:
                self._fleet.events.emit("worker.left_behind", worker=worker.number, pid=worker.pid, step=step)
                worker.kill()
        if workers:
            await asyncio.wait([worker.gone for worker in workers], timeout=GONE_S)


async def all_of(steps: Iterable[Awaitable[Any]]) -> None:
    """Waits for all; the first failure is raised, and the others are not waited for."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
