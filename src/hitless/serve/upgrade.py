"""The supervisor replaces itself by another version of Hitless, or another interpreter: same process, same pid, nothing closed.

Everything that it holds is descriptors (listening sockets, channels, the scoreboard, the control socket) and what it knows about
them. A change of kind `upgrade` rehearses first: the new program is run beside, given the state, and must say that it understands
it. Only then does the supervisor execute it in its own place. Workers and templates stay its children, because the process
stays the same one; what they say meanwhile waits in their channels, and whoever connects waits in the queues.

Signals are blocked from before the exec until the new program has its handlers: their default would end it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from hitless import __version__
from hitless.change import Deadline, Kind, Plan, Refused
from hitless.serve.fleet import Fleet
from hitless.serve.reaper import Exit, Reaper

FORMAT: Final = 3
"""Of the state; a program that does not know it refuses the rehearsal. Another one whenever a key is added or goes."""

REHEARSAL_S: Final = 30.0
HANDLED: Final = frozenset(
    {
        signal.SIGHUP,
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGUSR1,
        signal.SIGCHLD,
    }
)
ERROR_CHARS: Final = 4000


class Upgrade:
    """Rehearses; the exec itself follows when the outcome is recorded and told."""

    kind: Kind = "upgrade"

    def __init__(
        self,
        fleet: Fleet,
        freeze: Callable[[], Mapping[str, Any]],
        python: str,
        *,
        on_commit: Callable[[], None],
    ) -> None:
        self._fleet: Final = fleet
        self._on_commit: Final = on_commit
        self._freeze: Final = freeze
        self.python: Final = python

    def plan(self) -> Plan:
        fleet = self._fleet
        current = fleet.current
        if current is None or not fleet.is_settled:
            raise Refused("not_settled", "workers are being started; try again when they serve")
        if not os.access(self.python, os.X_OK):
            raise Refused("interpreter_missing", f"cannot run {self.python}", invalid=True)
        return Plan(
            kind="upgrade",
            from_generation=current.number,
            to_generation=current.number,
            applied_hash=current.settings_hash,
            attempted_hash=current.settings_hash,
            steps=(f"rehearse with {self.python}", "replace the supervisor's program; nothing is closed"),
        )

    async def prepare(self, plan: Plan, deadline: Deadline) -> None:  # noqa: ARG002
        """Raises Refused: the other program cannot go on from here."""
        state = self._freeze()
        loud = [each for each in _channels(state) if not each["is_quiet"]]
        if loud:
            raise Refused(
                "not_settled", f"process {loud[0]['pid']} does not read what it is told; is it stopped?"
            )
        current = self._fleet.current
        longest = REHEARSAL_S if current is None else min(REHEARSAL_S, current.settings.start.timeout)
        await _rehearse(self.python, state, self._fleet.host.reaper, deadline.sooner(longest))

    async def commit(self, plan: Plan, prepared: None) -> None:  # noqa: ARG002
        """Nothing swaps yet: see `replace`. But from now on no other change is begun."""
        self._on_commit()

    async def undo(self, plan: Plan, prepared: None) -> None:
        """Nothing was done."""

    async def discard(self, plan: Plan, prepared: None) -> None:
        """Nothing was built."""


async def _rehearse(python: str, state: Mapping[str, Any], reaper: Reaper, deadline: Deadline) -> None:
    said, given = os.memfd_create("hitless-said"), _write(state)
    ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
    try:
        process = subprocess.Popen(  # noqa: ASYNC220 - returns when the program is executed; the reaper waits
            _command(python, given, rehearse=True),
            pass_fds=[given],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        process.returncode = 0  # the reaper waits for it
        reaper.watch(process.pid, lambda how: None if ended.done() else ended.set_result(how))
        try:
            how = await deadline.wait(ended, "the rehearsal did not end")
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
        if not how.is_clean:
            output = os.pread(said, 1 << 16, 0).decode(errors="replace")[-ERROR_CHARS:].strip()
            cause = output.splitlines()[-1] if output else str(how)
            raise Refused("rehearsal_failed", f"{python} cannot take over: {cause}", output)
    except OSError as error:
        raise Refused("rehearsal_failed", f"cannot run {python}: {error.strerror}") from error
    finally:
        os.close(said)
        os.close(given)


def replace(python: str, state: Mapping[str, Any]) -> None:
    """Executes the other program in this process; the caller has blocked the signals (`HANDLED`).

    Raises:
        OSError: why not. Descriptors close on exec again.
    """
    given = _write(state)
    descriptors = [given, *_descriptors(state)]
    for fd in descriptors:
        os.set_inheritable(fd, True)
    try:
        command = _command(python, given, rehearse=False)
        os.execv(command[0], command)
    finally:
        for fd in descriptors:
            os.set_inheritable(fd, False)
        os.close(given)


def resumed(fd: int) -> dict[str, Any]:
    """The state that the program before this one has left, its descriptors closed on exec again.

    Raises:
        ValueError: it is of a format that this version does not know.
    """
    with open(fd, "rb") as file:
        file.seek(0)
        state: dict[str, Any] = json.load(file)
    if state["format"] != FORMAT:
        raise ValueError(
            f"hitless {__version__} cannot take over from {state['version']}: state format {state['format']}, not {FORMAT}"
        )
    return state


def own(state: Mapping[str, Any]) -> None:
    """What this process has inherited is not to be inherited by others."""
    for fd in _descriptors(state):
        os.set_inheritable(fd, False)


def _write(state: Mapping[str, Any]) -> int:
    fd = os.memfd_create("hitless-state", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(json.dumps(state).encode())
    return fd


def _command(python: str, state_fd: int, *, rehearse: bool) -> list[str]:
    return [python, "-P", "-m", "hitless.serve", json.dumps({"resume": state_fd, "rehearse": rehearse})]


def _channels(state: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for generation in state["fleet"]["generations"]:
        yield from generation["workers"]
        if generation["template"] is not None:
            yield generation["template"]


def are_quiet(state: Mapping[str, Any]) -> bool:
    """Whether everything that was said to the processes of `state` has left."""
    return all(each["is_quiet"] for each in _channels(state))


def _descriptors(state: Mapping[str, Any]) -> list[int]:
    fleet = state["fleet"]
    listeners = [each["fd"] for each in (*fleet["listeners"], *fleet["metrics_listeners"])]
    logs = [fd for fd in state["log"].values() if fd is not None]
    channels = [each["channel"] for each in _channels(state) if each["channel"] is not None]
    live = [
        each["fd"]
        for generation in fleet["generations"]
        for each in (generation["live"], generation["live_before"])
        if each is not None
    ]
    return [*listeners, *channels, *logs, *live, *state["control"], fleet["board"]]
