"""One nginx, by commands on its machine: its file, its reloads, its processes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hitless.change import Deadline, DeadlinePassed
from hitless.rollout.balancers.balancer import InstanceState, Session, Status
from hitless.rollout.balancers.errors import BalancerError, BalancerRefused, BalancerUnreachable, NoSuchServer
from hitless.rollout.balancers.pause import pause
from hitless.rollout.balancers.settings import NginxSettings
from hitless.rollout.balancers.upstream_file import rewritten, statuses
from hitless.rollout.executors import Executor, ExecutorError, Finished, Target

WORKER: Final = "nginx: worker process"
LEAVING: Final = "nginx: worker process is shutting down"
SAID: Final = 500
# The names begin with a dot, so that `include upstreams/*` does not find them.
_WRITE: Final = """\
set -e
[ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$2" ] || { echo "somebody else has changed $1 meanwhile" >&2; exit 1; }
new="$(dirname "$1")/.$(basename "$1").hitless-new"
cp -p "$1" "$new"
cat >"$new"
sync "$new"
mv -f "$new" "$1"
"""
_MARK: Final = 'cat >"$(dirname "$1")/.$(basename "$1").hitless"'
_READ: Final = """\
cat "$(dirname "$1")/.$(basename "$1").hitless" 2>/dev/null || echo none
cat "$1"
"""


@dataclass(frozen=True, slots=True)
class File:
    """What the file says, and whether nginx was reloaded with it."""

    text: str
    applied: bool
    """False if it was written and not loaded: a reload that was interrupted, or somebody's own edit."""

    @property
    def hash(self) -> str:
        return _hash(self.text)


@dataclass(frozen=True, slots=True)
class Workers:
    """nginx's processes by their age in seconds."""

    master: int
    serving: Mapping[int, float]
    leaving: Mapping[int, float]
    """Finish the requests that they had when nginx was reloaded."""


class NginxInstance:
    """Holds nothing between two questions."""

    def __init__(self, node: Target, executor: Executor, settings: NginxSettings) -> None:
        self.name: Final = node.name
        self._node: Final = node
        self._executor: Final = executor
        self._settings: Final = settings

    async def states(self, deadline: Deadline) -> Mapping[str, InstanceState]:
        """Every server of the file. What was written and not loaded yet counts as what is worse: a server that is to be
        out still gets work, one that is to get work does not."""
        file, workers = await self._file(deadline), await self.workers(deadline)
        return {name: _state(status, file.applied, workers) for name, status in statuses(file.text).items()}

    async def set(self, server: str, status: Status, deadline: Deadline) -> None:
        """Write the file, have nginx test it, reload, and see new workers serve; all as before if nginx refuses.

        Raises:
            BalancerRefused: nginx does not accept the file, or did not reload.
        """
        file = await self._file(deadline)
        if server not in statuses(file.text):
            names = ", ".join(sorted(statuses(file.text))) or "none"
            raise NoSuchServer(f"{self._settings.file} at {self.name} has no server {server}; it has {names}")
        text = rewritten(file.text, server, status)
        if text == file.text and file.applied:
            return
        await self._write(text, file.hash, deadline)
        try:
            await self._reload(deadline)
        except (BalancerError, DeadlinePassed):
            await self._write(file.text, _hash(text), Deadline.after(self._settings.answer))
            raise
        await self._sh(_MARK, deadline, stdin=_hash(text).encode() + b"\n")

    async def workers(self, deadline: Deadline) -> Workers:
        """Which processes serve, and which finish.

        Raises:
            BalancerUnreachable: nginx does not run.
        """
        pid = (await self._run(("cat", self._settings.pid), deadline)).strip()
        rows = [line.split(None, 3) for line in (await self._run(PS, deadline)).splitlines()]
        mine = {
            int(row[0]): (float(row[2]), row[3].strip()) for row in rows if len(row) == 4 and row[1] == pid
        }
        serving = {each: age for each, (age, title) in mine.items() if title == WORKER}
        leaving = {each: age for each, (age, title) in mine.items() if title == LEAVING}
        if not pid.isdecimal() or not serving:
            raise BalancerUnreachable(
                f"nginx at {self.name} does not run: {self._settings.pid} names no master of workers"
            )
        return Workers(int(pid), serving, leaving)

    async def sessions(self, deadline: Deadline) -> Sequence[Session]:
        """The workers that finish: what each of them has, nginx does not say."""
        leaving = (await self.workers(deadline)).leaving
        return [Session(f"worker {pid}", age, self.name) for pid, age in leaving.items()]

    async def _reload(self, deadline: Deadline) -> None:
        before = await self.workers(deadline)
        for words in ((*self._settings.nginx, "-t", "-q"), (*self._settings.nginx, "-s", "reload")):
            await self._run(words, deadline)
        taken = deadline.sooner(self._settings.answer)
        while not _is_renewed(before, await self.workers(deadline)):
            await pause(
                taken,
                self._settings.poll,
                f"nginx at {self.name} did not begin new workers (see its error log)",
            )

    async def _file(self, deadline: Deadline) -> File:
        mark, _, text = (await self._sh(_READ, deadline)).partition("\n")
        return File(text, applied=mark in ("none", _hash(text)))

    async def _write(self, text: str, expected: str, deadline: Deadline) -> None:
        await self._sh(_WRITE, deadline, expected, stdin=text.encode())

    async def _sh(self, script: str, deadline: Deadline, *more: str, stdin: bytes | None = None) -> str:
        return await self._run(
            ("sh", "-c", script, "hitless", self._settings.file, *more), deadline, stdin=stdin
        )

    async def _run(self, words: Sequence[str], deadline: Deadline, *, stdin: bytes | None = None) -> str:
        try:
            done = await self._executor.run(
                self._node, words, deadline.sooner(self._settings.answer), stdin=stdin
            )
        except (ExecutorError, DeadlinePassed) as error:
            if isinstance(error, DeadlinePassed) and deadline.expired:
                raise
            raise BalancerUnreachable(f"nginx at {self.name} cannot be reached: {error}") from error
        if not done.ok:
            raise BalancerRefused(f"at {self.name}, {_shown(words)} failed: {_said(done)}")
        return done.output


PS: Final = ("ps", "-A", "-o", "pid=,ppid=,etimes=,args=")


def _is_renewed(before: Workers, now: Workers) -> bool:
    return not set(before.serving) & set(now.serving)


def _state(status: Status, applied: bool, workers: Workers) -> InstanceState:
    left = 0 if status == "ready" else len(workers.leaving)
    if applied:
        return InstanceState(status, up=status == "ready", sessions=left, queued=0)
    detail = f"the file says {status} and was not loaded by hitless; set it again"
    return InstanceState("ready", up=status != "ready", sessions=left, queued=0, detail=detail)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _shown(words: Sequence[str]) -> str:
    return "writing the file" if words[0] == "sh" else " ".join(words)


def _said(done: Finished) -> str:
    return " ".join((done.errors or done.output).split())[-SAID:] or f"it exited with {done.code}"
