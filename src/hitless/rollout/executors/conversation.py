"""One command under a lifeline, from the first byte to its exit code."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hitless.change import Deadline, DeadlinePassed
from hitless.rollout.executors.capture import Capture
from hitless.rollout.executors.child import Child
from hitless.rollout.executors.errors import ExecutorError, NotRun, Unreachable
from hitless.rollout.executors.executor import Finished, Target
from hitless.rollout.executors.lifeline import ABSENT, GO, GRACE_S, UNFED, Unfit, loader, script

END_S: Final = GRACE_S + 3.0
"""For a command that was told to end, to be gone."""
LAST_WORDS: Final = 300


@dataclass(frozen=True, slots=True)
class Way:
    """How a shell on the node is got at."""

    argv: Callable[[Sequence[str]], Sequence[str]]
    """From the loader's words to those of the process that is started here."""
    connect_s: float
    """For the shell to say that it is ready."""
    output_limit: int
    is_remote: bool


class Conversation:
    """Runs once."""

    def __init__(self, node: Target, command: Sequence[str], way: Way) -> None:
        self._node: Final = node
        self._command: Final = tuple(command)
        self._way: Final = way
        self._nonce: Final = secrets.token_hex(16)
        self._outputs: Final = {each: Capture(self._nonce, way.output_limit) for each in (1, 2)}
        self._ready: Final = asyncio.Event()
        self._ended: Final = asyncio.Event()
        self._was_begun = False

    async def run(self, env: Mapping[str, str], stdin: bytes, deadline: Deadline) -> Finished:
        """See Executor.run."""
        child = self._start(env, len(stdin))
        try:
            await self._until_ready(child, deadline)
            self._was_begun = True
            child.write(GO + stdin)
            await self._until_ended(child, deadline)
            return self._finished()
        finally:
            await asyncio.shield(self._end(child))

    def _start(self, env: Mapping[str, str], stdin_size: int) -> Child:
        try:
            text = script(self._command, env, nonce=self._nonce, stdin_size=stdin_size)
            child = Child(self._way.argv(loader(len(text))), self._take)
        except (Unfit, OSError) as error:
            raise NotRun(
                self._node.name, f"{self._shown} cannot be run on {self._node.name}: {error}"
            ) from error
        child.write(text)
        return child

    def _take(self, number: int, data: bytes) -> None:
        capture = self._outputs[number]
        if data:
            capture.feed(data)
        else:
            capture.close()
        marks = [len(each.words) for each in self._outputs.values()]
        if min(marks) > 0:
            self._ready.set()
        if min(marks) > 1:
            self._ended.set()

    async def _until_ready(self, child: Child, deadline: Deadline) -> None:
        sooner = deadline.sooner(self._way.connect_s)
        try:
            await _first(sooner, self._ready, child.gone)
        except DeadlinePassed:
            if deadline.expired:
                raise DeadlinePassed(
                    f"{self._shown} on {self._node.name} was not begun", deadline.seconds
                ) from None
            raise self._unreachable(f"it was not ready to begin within {sooner.seconds:g} s") from None
        if not self._ready.is_set():
            raise self._unreachable(self._last_words(child))
        if ABSENT in self._outputs[1].words:
            raise NotRun(self._node.name, f"there is no program {self._command[0]} on {self._node.name}")

    async def _until_ended(self, child: Child, deadline: Deadline) -> None:
        try:
            await _first(deadline, self._ended, child.gone)
        except DeadlinePassed:
            is_over = await self._told_to_end(child)
            fate = "it was ended" if is_over else "nobody knows whether it still runs there"
            raise DeadlinePassed(
                f"{self._shown} on {self._node.name} did not end ({fate})", deadline.seconds
            ) from None
        if not self._ended.is_set():
            raise self._unreachable(self._last_words(child))

    async def _told_to_end(self, child: Child) -> bool:
        child.end_input()
        try:
            await _first(Deadline.after(END_S), self._ended, child.gone)
        except DeadlinePassed:
            return False
        return self._ended.is_set() or not self._way.is_remote

    async def _end(self, child: Child) -> None:
        """Nothing of ours stays; what a command has left behind on purpose does."""
        was_over = self._ended.is_set() or not self._was_begun
        child.end_input()
        if not was_over:  # cancelled, or late
            await self._told_to_end(child)
        if self._way.is_remote:
            child.signal(signal.SIGTERM)  # ssh would wait for daemons that hold the outputs
        elif not was_over and not self._ended.is_set():
            child.signal(signal.SIGKILL, group=True)
        try:
            await _first(Deadline.after(END_S), child.gone)
        except DeadlinePassed:
            child.signal(signal.SIGKILL, group=True)
        child.close()

    def _finished(self) -> Finished:
        code = self._outputs[1].words[-1]
        if code == UNFED:
            raise NotRun(
                self._node.name, f"{self._node.name} has no room for what {self._command[0]} is to read"
            )
        return Finished(int(code), self._outputs[1].text(), self._outputs[2].text())

    def _unreachable(self, why: str) -> ExecutorError:
        if not self._way.is_remote:
            return ExecutorError(self._node.name, f"{self._shown} cannot be run here: {why}")
        if self._was_begun:
            said = f"the connection to {self._node.name} broke while {self._shown} ran: {why}"
        else:
            said = f"{self._node.name} ({self._node.address}) cannot be reached: {why}"
        return Unreachable(self._node.name, said, was_begun=self._was_begun)

    def _last_words(self, child: Child) -> str:
        said = self._outputs[2].text().strip().splitlines()
        return said[-1][-LAST_WORDS:] if said else f"the shell ended with {child.code}"

    @property
    def _shown(self) -> str:
        text = " ".join(self._command).encode(errors="replace").decode()
        return text if len(text) <= LAST_WORDS else text[:LAST_WORDS] + "…"


async def _first(deadline: Deadline, *events: asyncio.Event) -> None:
    """Until one of them has happened."""
    if any(event.is_set() for event in events):
        return
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await deadline.wait(asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED), "nothing happened")
    finally:
        for task in tasks:
            task.cancel()
