"""Commands run on nodes by the OpenSSH client.

The operator's own configuration, keys, agent and known hosts are used. It never asks anything, and nothing here weakens
the checking of host keys.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from hitless.change import Deadline, DeadlinePassed
from hitless.rollout.executors.child import Child
from hitless.rollout.executors.conversation import Conversation, Way
from hitless.rollout.executors.errors import NotRun
from hitless.rollout.executors.executor import NOTHING, Finished, Target
from hitless.rollout.executors.settings import SshSettings

ALIVE_S: Final = 5
ALIVE_COUNT: Final = 3
"""A connection that is silent for ALIVE_S x ALIVE_COUNT seconds is broken."""
CLOSE_S: Final = 5.0
SOCKET_PATH: Final = 48
"""Longest folder of the connections' sockets: sun_path holds 108 bytes, ssh's own names take the rest."""
SESSIONS: Final = 8
"""At once on one connection: sshd's MaxSessions is 10 if nothing else is said."""
OPTIONS: Final = {"port": "-p", "identity": "-i", "jump": "-J"}
SAFE: Final = re.compile(r"[^\s\x00-\x1f-][^\s\x00-\x1f]*")


class SshExecutor:
    """One connection per node, shared by all commands there, made when it is first needed."""

    def __init__(self, settings: SshSettings) -> None:
        self._settings: Final = settings
        self._few: Final = asyncio.Semaphore(settings.parallel)
        self._folder: Final = _folder()
        self._sessions: Final[dict[str, asyncio.Semaphore]] = {}

    async def run(
        self,
        node: Target,
        command: Sequence[str],
        deadline: Deadline,
        *,
        env: Mapping[str, str] = NOTHING,
        stdin: bytes | None = None,
    ) -> Finished:
        argv = (*self._ssh(node), "--", node.address)
        way = Way(
            lambda words: (*argv, "exec " + shlex.join(words)),
            self._settings.connect,
            self._settings.output,
            is_remote=True,
        )
        async with AsyncExitStack() as stack:
            for few in (self._of(node), self._few):
                await deadline.wait(few.acquire(), f"a command on {node.name} did not get its turn")
                stack.callback(few.release)
            return await Conversation(node, command, way).run(env, stdin or b"", deadline)

    async def aclose(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(self._close(socket) for socket in self._folder.glob("*")))
        shutil.rmtree(self._folder, ignore_errors=True)

    def _of(self, node: Target) -> asyncio.Semaphore:
        key = f"{node.user}@{node.address} {sorted(node.options.items())}"
        return self._sessions.setdefault(key, asyncio.Semaphore(SESSIONS))

    async def _close(self, socket: Path) -> None:
        child = Child((*self._settings.ssh, "-S", str(socket), "-O", "exit", "-"), lambda *_: None)
        try:
            await Deadline.after(CLOSE_S).wait(child.gone.wait(), "ssh did not end")
        except DeadlinePassed:
            pass  # it ends by itself when nobody has used it for a while
        finally:
            child.close()

    def _ssh(self, node: Target) -> tuple[str, ...]:
        for what, text in (("address", node.address), ("user", node.user), *node.options.items()):
            if text is not None and not SAFE.fullmatch(text):
                raise NotRun(node.name, f"node {node.name}: {text!r} cannot be its {what}")
        unknown = set(node.options) - set(OPTIONS)
        if unknown:
            raise NotRun(
                node.name,
                f"node {node.name}: ssh knows no option {min(unknown)}; there are {', '.join(OPTIONS)}",
            )
        settings = self._settings
        words = [*settings.ssh, "-T", "-x"]
        words += [] if settings.config is None else ["-F", settings.config]
        for said in _options(settings, self._folder):
            words += ["-o", said]
        words += [] if node.user is None else ["-l", node.user]
        for name, value in node.options.items():
            words += [OPTIONS[name], value]
        return tuple(words)


def _options(settings: SshSettings, folder: Path) -> Sequence[str]:
    return (
        "BatchMode=yes",
        f"ConnectTimeout={max(1, round(settings.connect))}",
        "ConnectionAttempts=1",
        f"ServerAliveInterval={ALIVE_S}",
        f"ServerAliveCountMax={ALIVE_COUNT}",
        "ControlMaster=auto",
        f"ControlPath={folder}/%C",
        f"ControlPersist={max(1, round(settings.persist))}",
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
        "EscapeChar=none",
    )


def _folder() -> Path:
    """A folder of ours, whose name leaves room for the name of a socket."""
    place = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="hitless-ssh-", dir=place if len(place) < SOCKET_PATH else "/tmp"))
