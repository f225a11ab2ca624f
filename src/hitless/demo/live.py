"""Configuration changed in a running process: a volume service whose backends are added, moved, broken and removed while volumes
are copied from one to another, and no copy notices.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hitless.demo.configuration import Configuration, Table
from hitless.demo.narrator import Narrator
from hitless.demo.place import temporary
from hitless.demo.report import DemoReport, StepReport
from hitless.demo.service import Answer, Service, ServiceFailed
from hitless.demo.storage import Target, target, volume_service
from hitless.demo.volume_client import Lost, Pending, VolumeClient
from hitless.demo.volume_load import Seen, VolumeLoad

TITLE: Final = "hitless demo live: a volume service's backends change while volumes are copied"
CLIENTS: Final = 6
SIZES: Final = (50_000, 250_000)
CONFIG: Final = "volumes.toml"
LONG_BYTES: Final = 500_000
BYTES_PER_S: Final = 400_000
ENOUGH: Final = 20
"""Requests that a step waits for after its change."""
THIN: Final[Table] = {"kind": "pool", "path": "thin.pool", "size": "256MiB"}
FIRST: Final = Configuration(
    backends={"disk": {"kind": "directory", "path": "disk"}, "thin": THIN},
    copying={"at_once": 16, "chunk": "64KiB", "bytes_per_s": BYTES_PER_S},
    top={"default_backend": "disk", "requests": "unix:volumes.sock"},
)


class Unexpected(Exception):
    """A step came out otherwise than it should."""


def missing() -> str | None:
    """This part needs nothing but Python."""
    return None


async def play(narrator: Narrator) -> DemoReport:
    """Run it all, in a temporary folder."""
    with temporary() as folder:
        async with AsyncExitStack() as stack:
            job = Job(folder, narrator)
            await job.run(stack)
        return DemoReport("live", tuple(job.steps))


@dataclass(slots=True)
class Job:
    """The steps, in order, against one running service."""

    folder: Path
    narrator: Narrator
    steps: list[StepReport] = field(default_factory=list)
    configuration: Configuration = FIRST
    generation: object = None
    torn: int = 0
    """Connections that were counted as torn."""
    longs: int = 0
    service: Service = field(init=False)
    target: Target = field(init=False)
    load: VolumeLoad = field(init=False)
    client: VolumeClient = field(init=False)

    async def run(self, stack: AsyncExitStack) -> None:
        """Every step."""
        self.narrator.began("start", "python -m volumes volumes.toml, with a directory and a thin pool")
        try:
            await self._start(stack)
        except (ServiceFailed, OSError, TimeoutError) as error:
            self._end(StepReport("start", f"not serving: {error}", as_expected=False))
            return
        self._end(StepReport("start", "serving"))
        async with self.load:
            for name, about, act in (
                ("steady", f"{CLIENTS} clients write volumes, copy them, compare, delete", self.steady),
                ("backend added", "a storage target, reload", self.added),
                ("address changed", "the target's other portal, reload", self.moved),
                ("options changed", "connections, copies at once, chunk; reload", self.options),
                ("unreachable address", "a port where nobody listens, reload", self.unreachable),
                ("bad directory", "a backend in a file, reload", self.bad_directory),
                ("wrong type", 'size = "much", reload', self.wrong_type),
                ("rollback", "the options before", self.rollback),
                ("backend removed", "while volumes are copied to it, reload", self.removed),
                ("backend back", "as it was, reload", self.added),
            ):
                await self._step(name, about, act)
            await self._compare()
        await self._stop()

    # the steps; each returns its outcome or raises Unexpected

    async def steady(self) -> str:
        return "unchanged"

    async def added(self) -> str:
        san = {"kind": "target", "address": self.target.portals[0], "connections": 4}
        self._configure(self.configuration.but(san=san))
        outcome = await self._change("reload")
        self.load.backends = ("disk", "thin", "san")
        return outcome

    async def moved(self) -> str:
        self._configure(self.configuration.but(san=self._san(address=self.target.portals[1])))
        outcome = await self._change("reload")
        await self._closed(self.target.portals[0])
        return outcome

    async def options(self) -> str:
        copying = {"at_once": 64, "chunk": "32KiB"}
        self._configure(self.configuration.but(san=self._san(connections=2), copying=copying))
        return await self._change("reload")

    async def unreachable(self) -> str:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))  # so that nobody else listens there, and neither does this
            address = f"127.0.0.1:{nobody.getsockname()[1]}"
            return await self._refused(self.configuration.but(san=self._san(address=address)))

    async def bad_directory(self) -> str:
        more = {"kind": "directory", "path": CONFIG}
        return await self._refused(self.configuration.but(more=more))

    async def wrong_type(self) -> str:
        return await self._refused(self.configuration.but(thin={**THIN, "size": "much"}))

    async def rollback(self) -> str:
        return await self._change("rollback")

    async def removed(self) -> str:
        self.load.backends = ("disk", "thin")
        self._configure(self.configuration.but(san=None))
        outcome = await self._change("reload")
        await self._closed(self.target.portals[1])
        return outcome

    # beginning and end

    async def _start(self, stack: AsyncExitStack) -> None:
        self.target = await stack.enter_async_context(target(self.folder / "san", portals=2))
        (self.folder / "disk").mkdir()
        self._configure(self.configuration)
        self.service = await stack.enter_async_context(volume_service(self.folder / CONFIG))
        door = self.folder / "volumes.sock"
        self.client = await VolumeClient.to(door, "long")
        self.load = VolumeLoad(door, clients=CLIENTS, backends=("disk", "thin"), sizes=SIZES)

    async def _stop(self) -> None:
        """The clients have gone, and the target's connections are closed as well as those before."""
        self.narrator.began("stop", "SIGTERM")
        self.service.process.terminate()
        expected, outcome = True, "stopped"
        try:
            code = await self.service.exited()
            for portal in self.target.portals:
                await self._closed(portal)
            if code != 0:
                expected, outcome = False, f"the service ended with {code}{self.service.tail()}"
        except (ServiceFailed, Unexpected) as error:
            expected, outcome = False, str(error)
        self._end(self._report("stop", outcome, Seen(), as_expected=expected))

    async def _compare(self) -> None:
        """When the clients have ended their rounds, nothing is lost if every volume that there should be holds what was written
        to it.
        """
        self.narrator.began("compare", "every volume with what was written to it, when the clients have gone")
        seen, outcome = self.load.step("compare"), "as written"
        try:
            await self.load.stop()
            self.narrator.said(f"{await self.load.verify()} volumes were compared")
        except OSError as error:  # a TimeoutError too
            outcome = f"not compared: {error or type(error).__name__}"
        self._end(self._report("compare", outcome, seen, as_expected=outcome == "as written"))
        await self.client.close()

    # what steps share

    async def _step(self, name: str, about: str, act: Callable[[], Awaitable[str]]) -> None:
        """Do it while a long copy goes on, and count what the clients see until that has ended."""
        self.narrator.began(name, about)
        seen, expected = self.load.step(name), True
        try:
            source, copy, under_way = await self._long_copy()
            outcome = await act()
            await self.load.more(ENOUGH)
            ended = await self.client.end_of(under_way)
            self.narrator.said(f"the copy of 500 kB that was under way: {ended}")
            seen.requests += 1
            if ended.state != "done":
                self.load.failed(f"copy {source} to {copy}", str(ended))
        except (Unexpected, ServiceFailed, Lost, OSError, TimeoutError) as error:
            expected, outcome = False, str(error) or type(error).__name__
        if seen.refused:
            self.narrator.said(f"{seen.refused} requests refused: their backend is not there now")
        self._end(self._report(name, outcome, seen, as_expected=expected))

    def _report(self, name: str, outcome: str, seen: Seen, *, as_expected: bool) -> StepReport:
        for failure in seen.failures:
            self.narrator.said(f"failed: {failure}")
        torn, self.torn = len(self.target.torn()) - self.torn, len(self.target.torn())
        return StepReport(
            name,
            outcome,
            requests=seen.requests,
            failed=len(seen.failures),
            closed_by_server=torn,
            max_ms=seen.max_ms,
            as_expected=as_expected,
        )

    async def _long_copy(self) -> tuple[str, str, Pending]:
        """A copy that takes its time, to the newest backend; returned when it is accepted.

        Raises:
            Unexpected: it is not.
        """
        self.longs += 1
        source, copy, home, away = f"long-{self.longs}", f"long-{self.longs}.copy", *self._ends()
        made = await self.client.ask("create", source, size=LONG_BYTES, backend=home)
        pending = self.client.begin("copy", source, to=copy, backend=away)
        await pending.accepted.wait()
        if made.state != "done" or pending.end.done():
            raise Unexpected(f"a volume could not be copied from {home} to {away}: {made}")
        return source, copy, pending

    def _ends(self) -> tuple[str, str]:
        first, *_, last = self.configuration.backends
        return first, last

    def _san(self, **changed: object) -> Table:
        return {**self.configuration.backends["san"], **changed}

    async def _closed(self, portal: str) -> None:
        """Until the target has seen the end of every connection to the portal.

        Raises:
            Unexpected: one is still open.
        """
        try:
            await self.target.closed(portal)
        except TimeoutError:
            raise Unexpected(f"connections to {portal} are still open") from None
        ended = Counter(each.ended for each in self.target.to(portal))
        told = ", ".join(f"{count} by {how}" for how, count in ended.items())
        self.narrator.said(f"connections to {portal} ended: {told}")

    def _end(self, step: StepReport) -> None:
        self.steps.append(step)
        self.narrator.ended(step)

    def _configure(self, new: Configuration) -> None:
        self.configuration = new
        new.write(self.folder / CONFIG)

    async def _change(self, verb: str) -> str:
        answer = await self._command(verb)
        if answer.code != 0 or answer.outcome.get("status") != "applied":
            raise Unexpected(f"{verb} was not applied: {answer}{self.service.tail()}")
        self.generation = answer.outcome.get("generation")
        return f"applied, generation {self.generation}"

    async def _refused(self, new: Configuration) -> str:
        """A change that must not happen."""
        new.write(self.folder / CONFIG)
        try:
            answer = await self._command("reload")
        finally:
            self.configuration.write(self.folder / CONFIG)
        if answer.code not in (2, 3):
            raise Unexpected(f"reload should have been refused: {answer}")
        if answer.outcome.get("generation") != self.generation:
            raise Unexpected(f"generation {self.generation} should still serve: {answer.outcome}")
        return f"{answer.outcome.get('status')}: {answer.outcome.get('reason')}"

    async def _command(self, verb: str) -> Answer:
        self.narrator.said(f"$ hitless {verb} {self.service.name}")
        answer = await self.service.command(verb)
        self.narrator.said(str(answer).splitlines()[0])
        return answer
