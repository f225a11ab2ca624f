"""What is done before the first signal, so that no new work arrives: each a small value that knows how to run itself."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, Protocol

import httpx

from hitless.change import Deadline, DeadlinePassed
from hitless.containers.container import NEW, OLD, Container
from hitless.containers.engine import Engine
from hitless.containers.errors import EngineError

END_S = 5.0
ENDING_S = 10.0
"""For an engine to notice that a container has ended."""
LOOK_S = 0.2
SHOWN_LINES = 5
SHOWN_LINE = 200
OUTPUT_LIMIT = 4096
"""Bytes of a command's output that are kept, its last ones."""


class DrainFailed(Exception):
    """It could not be drained; the message says why."""


class Drain(Protocol):
    """One way to take work away from a container. `str` of it is what people are shown."""

    @property
    def is_balancer(self) -> bool:
        """Whether it tells something that shares out the work, so that containers can come and go beside each other."""

    async def run(self, engine: Engine, container: Container, deadline: Deadline) -> None:
        """Return when no new work comes.

        Raises:
            DrainFailed: it does, or nobody knows.
        """

    async def undo(self, engine: Engine, container: Container, deadline: Deadline) -> None:
        """The stop was given up and the container runs on: let work come."""

    async def admit(self, engine: Engine, container: Container, deadline: Deadline) -> None:
        """The container was just started, and serves: let work come. What is in it itself knows nothing of a drain.

        Raises:
            DrainFailed: none will come.
        """


class Balancer(Protocol):
    """What a load balancer must be able to do for us; `hitless rollout` implements it for real ones."""

    async def drain(self, server: str, deadline: Deadline) -> None:
        """Send no new work to the server, and return when what it had is finished."""

    async def ready(self, server: str, deadline: Deadline) -> None:
        """Send work to it again."""


@dataclass(frozen=True, slots=True)
class BalancerDrain:
    """Out of the load balancer, and in again if the stop is given up."""

    balancer: Balancer
    server: str | Callable[[Container], str]
    """Its name there; where old and new are different servers, what tells it from the container (of its addresses)."""
    is_balancer: ClassVar[bool] = True

    async def run(self, engine: Engine, container: Container, deadline: Deadline) -> None:  # noqa: ARG002
        await self.balancer.drain(self._server(container), deadline)

    async def undo(self, engine: Engine, container: Container, deadline: Deadline) -> None:  # noqa: ARG002
        await self.balancer.ready(self._server(container), deadline)

    async def admit(self, engine: Engine, container: Container, deadline: Deadline) -> None:
        await self.undo(engine, container, deadline)

    def _server(self, container: Container) -> str:
        return self.server if isinstance(self.server, str) else self.server(container)

    def __str__(self) -> str:
        return f"drain {self.server if isinstance(self.server, str) else 'it'} at the balancer"


@dataclass(frozen=True, slots=True)
class HttpDrain:
    """A request that the service answers with 2xx when it takes no new work."""

    url: str
    method: str = "POST"
    is_balancer: ClassVar[bool] = False

    async def run(self, engine: Engine, container: Container, deadline: Deadline) -> None:  # noqa: ARG002
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=deadline.remaining()) as client:
                answer = await deadline.wait(
                    client.request(self.method, self.url), f"{self.url} did not answer"
                )
        except httpx.HTTPError as error:
            raise DrainFailed(
                f"{self.method} {self.url} failed: {str(error) or type(error).__name__}"
            ) from error
        except DeadlinePassed as error:
            raise DrainFailed(str(error)) from None
        if not answer.is_success:
            raise DrainFailed(f"{self.method} {self.url} was answered with {answer.status_code}")

    async def undo(self, engine: Engine, container: Container, deadline: Deadline) -> None:
        """Nothing is known that would take it back."""

    async def admit(self, engine: Engine, container: Container, deadline: Deadline) -> None:
        """It was never told to drain."""

    def __str__(self) -> str:
        return f"{self.method} {self.url}"


@dataclass(frozen=True, slots=True)
class InsideDrain:
    """A command inside the container (`hitless stop` of a service there is one) that exits with 0 when it is drained."""

    command: tuple[str, ...]
    undo_command: tuple[str, ...] = ()
    is_balancer: ClassVar[bool] = False

    async def run(self, engine: Engine, container: Container, deadline: Deadline) -> None:
        await self._run(self.command, engine, container, deadline)

    async def undo(self, engine: Engine, container: Container, deadline: Deadline) -> None:
        if self.undo_command:
            await self._run(self.undo_command, engine, container, deadline)

    async def admit(self, engine: Engine, container: Container, deadline: Deadline) -> None:
        """It was never told to drain."""

    async def _run(
        self, command: tuple[str, ...], engine: Engine, container: Container, deadline: Deadline
    ) -> None:
        said = f"{' '.join(command)} in the container"
        try:
            code, output = await engine.run(container.id, command, deadline.remaining())
            failure = f"{said} exited with {code}: {_tail(output)}" if code else ""
        except EngineError as error:
            failure = f"{said} failed: {error}"
        # The command may have ended the container, and itself with it: then the drain is done.
        if failure and not await _ended(engine, container):
            raise DrainFailed(failure)

    def __str__(self) -> str:
        return f"{' '.join(self.command)} (inside)"


@dataclass(frozen=True, slots=True)
class HostDrain:
    """A command on this machine: whatever takes the container out of a load balancer. It is told of the container by its
    environment, see `told`."""

    command: tuple[str, ...]
    undo_command: tuple[str, ...] = ()

    @property
    def is_balancer(self) -> bool:
        """Not one that can only be taken out."""
        return bool(self.undo_command)

    async def run(self, engine: Engine, container: Container, deadline: Deadline) -> None:
        await self._run(self.command, await _now(engine, container), "drain", deadline)

    async def undo(self, engine: Engine, container: Container, deadline: Deadline) -> None:
        if self.undo_command:
            await self._run(self.undo_command, await _now(engine, container), "ready", deadline)

    async def admit(self, engine: Engine, container: Container, deadline: Deadline) -> None:
        await self.undo(engine, container, deadline)

    async def _run(
        self, command: tuple[str, ...], container: Container, state: str, deadline: Deadline
    ) -> None:
        said = " ".join(command)
        with _Output() as output:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output.end,
                    stderr=asyncio.subprocess.STDOUT,
                    env=_environ(container, state),
                    start_new_session=True,
                )
            except OSError as error:
                raise DrainFailed(f"{said} cannot be run: {error.strerror}") from error
            try:
                await deadline.wait(process.wait(), f"{said} did not end")
            except DeadlinePassed as error:
                raise DrainFailed(str(error)) from None
            finally:
                await asyncio.shield(_end(process))
            if process.returncode:
                raise DrainFailed(f"{said} exited with {process.returncode}: {_tail(output.text())}")

    def __str__(self) -> str:
        return f"{' '.join(self.command)} (here)"


async def done(work: Coroutine[None, None, None], what: str) -> None:
    """Do one of the above, whoever wrote it.

    Raises:
        DrainFailed: it failed, in whatever way: a drain or a balancer may be somebody else's code.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task})
    finally:
        task.cancel()
    raise_failure(task, what)


def raise_failure(task: asyncio.Future[None], what: str) -> None:
    """What became of a task that is over.

    Raises:
        DrainFailed: it failed.
    """
    if task.cancelled():
        raise DrainFailed(f"{what} was cancelled")
    error = task.exception()
    if error is None:
        return
    if isinstance(error, DrainFailed) or not isinstance(error, Exception):
        raise error
    raise DrainFailed(f"{what} failed: {error or type(error).__name__}") from error


async def admitted(
    drains: Sequence[Drain], engine: Engine, container: Container, within_s: float
) -> list[str]:
    """Let work come to a container that was just started; what did not succeed, in sentences."""
    failures = []
    for drain in reversed(drains):
        try:
            await done(drain.admit(engine, container, Deadline.after(within_s)), str(drain))
        except DrainFailed as error:
            failures.append(f"{drain} could not be taken back: {error}")
    return failures


async def _ended(engine: Engine, container: Container) -> bool:
    """Whether the container ends; an engine takes a moment to notice."""
    deadline = Deadline.after(ENDING_S)
    while not deadline.expired:
        with suppress(EngineError):
            found = await engine.find(container.id)
            if found is None or not found.is_running:
                return True
        await asyncio.sleep(LOOK_S)
    return False


async def _now(engine: Engine, container: Container) -> Container:
    """As it is now: its addresses are known when it runs."""
    with suppress(EngineError):
        return await engine.find(container.id) or container
    return container


def told(container: Container, state: str) -> dict[str, str]:
    """What a command here is told: HITLESS_CONTAINER (its name, without what a replacement adds), HITLESS_CONTAINER_ID,
    HITLESS_STATE (`drain` or `ready`), HITLESS_ADDRESSES (`NETWORK=ADDRESS …`) and HITLESS_PORTS
    (`80/tcp=127.0.0.1:8080 …`)."""
    name = container.name.removesuffix(NEW).removesuffix(OLD)
    return {
        "HITLESS_CONTAINER": name,
        "HITLESS_CONTAINER_ID": container.id,
        "HITLESS_STATE": state,
        "HITLESS_ADDRESSES": " ".join(f"{net}={address}" for net, address in container.addresses.items()),
        "HITLESS_PORTS": " ".join(f"{port}={where}" for port, where in container.published.items()),
    }


def _environ(container: Container, state: str) -> Mapping[str, str]:
    return {**os.environ, **told(container, state)}


async def _end(process: asyncio.subprocess.Process) -> None:
    """Nothing of it is left behind: its whole session is ended."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    async with asyncio.timeout(END_S):
        await process.wait()


class _Output:
    """The end of what a command writes. A pipe of our own: its end may never come, where the command leaves a process behind
    that has it as well, and what is written may have no end."""

    def __init__(self) -> None:
        self._kept = b""
        self._from, self.end = os.pipe()
        os.set_blocking(self._from, False)

    def __enter__(self) -> _Output:
        asyncio.get_running_loop().add_reader(self._from, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._from)
        os.close(self._from)
        os.close(self.end)

    def text(self) -> str:
        """What it wrote last, as far as it has."""
        while self._read():
            pass
        return self._kept.decode(errors="replace")

    def _read(self) -> bool:
        try:
            read = os.read(self._from, 1 << 16)
        except BlockingIOError:
            return False
        self._kept = (self._kept + read)[-OUTPUT_LIMIT:]
        return len(read) > OUTPUT_LIMIT


def _tail(output: str) -> str:
    """Its last lines, as part of a sentence."""
    lines = [line.strip()[-SHOWN_LINE:] for line in output.splitlines() if line.strip()]
    return " / ".join(lines[-SHOWN_LINES:]) or "it said nothing"
