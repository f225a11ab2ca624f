"""Three agents share the polling of this machine while it changes what they poll by, for good and for bad, and one is killed:
every resource is polled once in each tick.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hitless.agent.definition import PollingSource
from hitless.agent.group.document import Document
from hitless.agent.group.epochs import look
from hitless.agent.group.options import GroupSettings
from hitless.agent.group.state import GroupState
from hitless.demo.group_audit import Absence, Findings, assignments, audit, diary, lapses, samples, takeover_s
from hitless.demo.narrator import Narrator
from hitless.demo.place import temporary
from hitless.demo.report import DemoReport, StepReport
from hitless.demo.service import clean_environ, end

TITLE: Final = "hitless demo agent: three agents share the polling of this machine while it changes"
NAMES: Final = ("one", "two", "three")
GROUP: Final = "demo"
TIMES: Final = {"lease": 2.0, "look": 0.1, "lead": 0.6, "prepare": 20.0}
PROCESSES: Final = tuple(
    f"process://{name}"
    for name in ["init", "systemd", "python3", "bash", "sshd", "cron", "dbus-daemon", "nginx"]
)
LOAD: Final = {"name": "load", "meters": ["host.load.1min"], "interval": 2}
COUNTS: Final = {
    "name": "processes",
    "meters": ["process.count"],
    "interval": 2,
    "resources": list(PROCESSES),
}
WRITTEN_S: Final = 1.0
"""After a tick its samples are in the file."""
DEADLINE_S: Final = 60.0
COMMAND_S: Final = 60.0


class Unexpected(Exception):
    """A step came out otherwise than it should."""


def missing() -> str | None:
    """This part needs the agent's extra."""
    try:
        import psutil  # noqa: F401
        import yaml  # noqa: F401
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed (pip install 'hitless[agent]')"
    return None


async def play(narrator: Narrator) -> DemoReport:
    """Run it all, in a temporary folder."""
    with temporary() as folder:
        async with AsyncExitStack() as stack:
            job = Job(folder, narrator, stack)
            await job.run()
        return DemoReport("agent", tuple(job.steps))


@dataclass(slots=True)
class Job:
    """The steps, in order, against one group."""

    folder: Path
    narrator: Narrator
    stack: AsyncExitStack
    steps: list[StepReport] = field(default_factory=list)
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    absences: list[Absence] = field(default_factory=list)
    sources: dict[str, dict[str, PollingSource]] = field(default_factory=dict)
    counted: int = 0
    failures: int = 0
    excused: int = 0

    async def run(self) -> None:
        """Every step."""
        polling, pipeline = _polling(LOAD, COUNTS), self._pipeline()
        self._write(polling, pipeline)
        steps: Sequence[tuple[str, str, Callable[[], Awaitable[str]]]] = (
            ("start", "three agents that meet in a directory", self.begun),
            ("resources changed", "fewer processes to be counted", self.good(
                _polling(LOAD, {**COUNTS, "resources": list(PROCESSES[:5])}), pipeline)),
            ("meter added", "host.memory.available", self.good(_polling(LOAD, COUNTS, _memory(2)), pipeline)),
            ("no such meter", "host.lod.1min", self.bad(
                _polling({**LOAD, "meters": ["host.lod.1min"]}), pipeline, 2)),
            ("interval changed", "memory every 4 s", self.good(_polling(LOAD, COUNTS, _memory(4)), pipeline)),
            ("half a file", "sources:\\n  - {name: lo", self.bad("sources:\n  - {name: lo", pipeline, 2)),
            ("sink that cannot be", "a folder that is not there", self.bad(
                polling, self._pipeline(f"file://{self.folder}/missing/samples"), 3)),
            ("kill -9", "agent two, and what they poll by changes meanwhile", self.killed),
            ("agent two again", "it catches up before it polls", self.back),
            ("sink added", "samples into SQLite as well", self.good(
                polling, self._pipeline(f"sqlite://{self.folder}/samples.sqlite"))),
            ("interval 0", "refused before anybody sees it", self.bad(
                _polling({**LOAD, "interval": 0}), pipeline, 2)),
            ("sink removed", "as at the beginning", self.good(polling, pipeline)),
            ("stop", "one after the other hands over", self.stopped),
        )  # fmt: skip
        for name, about, act in steps:
            await self._step(name, about, act)

    # the steps; each returns its outcome or raises Unexpected

    async def begun(self) -> str:
        for name in NAMES:
            await self._start(name)
        await self._shared(*NAMES)
        return "three share the work"

    def good(self, polling: str, pipeline: str) -> Callable[[], Awaitable[str]]:
        async def act() -> str:
            self._write(polling, pipeline)
            code, told = await self._propose()
            if code != 0:
                raise Unexpected(f"the change should have been made: {told}")
            state = await self._shared(*self.processes)
            return f"committed, epoch {state.epoch}"

        return act

    def bad(self, polling: str, pipeline: str, expected: int) -> Callable[[], Awaitable[str]]:
        async def act() -> str:
            before = (await self._state()).config
            self._write(polling, pipeline, counts=False)
            code, told = await self._propose()
            if code != expected or (await self._state()).config != before:
                raise Unexpected(f"the change should have been refused ({expected}): {code}: {told}")
            return "refused by an agent" if code == 3 else "refused: not valid"

        return act

    async def killed(self) -> str:
        process = self.processes.pop("two")
        absence = Absence("two", time.time())
        self.absences.append(absence)
        process.kill()
        await process.wait()
        self._write(_polling(LOAD, COUNTS), self._pipeline())
        code, told = await self._propose()
        if code != 0:
            raise Unexpected(f"two agents should have gone on: {told}")
        await self._shared(*self.processes)
        seconds = takeover_s(absence, assignments(self._diaries(), Findings()))
        return f"the others had its share after {seconds:.1f} s" if seconds else "nobody has its share"

    async def back(self) -> str:
        await self._start("two")
        await self._shared(*NAMES)
        return "three share the work"

    async def stopped(self) -> str:
        await asyncio.sleep(WRITTEN_S)
        self._count(until=time.time() - WRITTEN_S)
        for name, process in list(self.processes.items()):
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(DEADLINE_S):
                code = await process.wait()
            if code != 0:
                raise Unexpected(f"agent {name} ended with {code}: {self._log(name)}")
        return "stopped"

    # what steps share

    async def _step(self, name: str, about: str, act: Callable[[], Awaitable[str]]) -> None:
        self.narrator.began(name, about)
        expected = True
        try:
            outcome = await act()
        except (Unexpected, OSError, TimeoutError) as error:
            expected, outcome = False, str(error) or type(error).__name__
        polls, failed = self._count(until=time.time() - WRITTEN_S) if name != "stop" else (0, 0)
        step = StepReport(name, outcome, requests=polls, failed=failed, as_expected=expected)
        self.steps.append(step)
        self.narrator.ended(step)

    def _count(self, *, until: float) -> tuple[int, int]:
        """Samples, and those missing or doubled, since the last count."""
        findings = Findings()
        shares = assignments(self._diaries(), findings)
        polls = samples([self.folder / "samples.jsonl"])
        audit(
            polls,
            shares,
            self.sources,
            absences=[*self.absences, *lapses(self._diaries())],
            until=until,
            findings=findings,
        )
        new = findings.polls - self.counted, findings.failed - self.failures
        self.counted, self.failures = findings.polls, findings.failed
        if new[1]:
            self.narrator.said(f"failed: {findings}")
        if findings.excused > self.excused:
            self.narrator.said(
                f"{findings.excused - self.excused} polls fell into the window of the dead agent"
            )
            self.excused = findings.excused
        return new

    def _diaries(self) -> list[list[Mapping[str, Any]]]:
        return [diary(self.folder / name / "state" / "group.jsonl") for name in NAMES]

    async def _shared(self, *names: str) -> GroupState:
        """Until exactly these share the work by the latest configuration, and nothing is under way.

        Raises:
            Unexpected: they do not.
        """
        deadline = time.monotonic() + DEADLINE_S
        while True:
            state = await self._state()
            polling = {each.name for each in state.members if each.role == "polling" and not each.drifts}
            if polling == set(names) and not state.missing and not state.under_way:
                return state
            for name, process in self.processes.items():
                if process.returncode is not None:
                    raise Unexpected(f"agent {name} has ended: {self._log(name)}")
            if time.monotonic() > deadline:
                raise Unexpected(f"{', '.join(names)} do not share the work: {state}")
            await asyncio.sleep(0.05)

    async def _state(self) -> GroupState:
        settings = GroupSettings(name=GROUP, url=self._url, **TIMES)
        return await asyncio.to_thread(look, settings)

    @property
    def _url(self) -> str:
        return f"file://{self.folder}/groups"

    async def _propose(self) -> tuple[int, str]:
        self.narrator.said("$ hitless agent epoch propose")
        command = (sys.executable, "-m", "hitless", "agent", "epoch", "propose")
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder / NAMES[0],
            env=clean_environ(self.folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(COMMAND_S):
                told = (await process.communicate())[0].decode(errors="replace").strip()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        self.narrator.said(told.replace(str(self.folder), "…"))
        return process.returncode or 0, told

    async def _start(self, name: str) -> None:
        home = self.folder / name
        home.mkdir(exist_ok=True)
        group = {"name": GROUP, "url": self._url, "member": name, **TIMES}
        lines = [
            f'name = "{name}"',
            f"files = {json.dumps(self._files)}",
            f'state_dir = "{home}/state"',
            "[group]",
        ]
        lines += [f"{key} = {json.dumps(value)}" for key, value in group.items()]
        (home / "agent.toml").write_text("\n".join(lines) + "\n")
        (home / "agent.toml").chmod(0o600)
        self.narrator.said(f"$ hitless agent run  # in {name}/")
        self.processes[name] = await self.stack.enter_async_context(_agent(home, self.folder))

    @property
    def _files(self) -> list[str]:
        return [str(self.folder / name) for name in ("polling.yaml", "pipeline.yaml")]

    def _write(self, polling: str, pipeline: str, *, counts: bool = True) -> None:
        """With an editor, as it were. What is good is expected in the samples."""
        for file, text in (("polling.yaml", polling), ("pipeline.yaml", pipeline)):
            (self.folder / file).write_text(text)
            (self.folder / file).chmod(0o600)
        if counts:
            document = Document((("polling.yaml", polling), ("pipeline.yaml", pipeline)))
            self.sources[document.hash] = {
                each["name"]: _expected(each) for each in json.loads(polling)["sources"]
            }

    def _pipeline(self, *more: str) -> str:
        sinks = [{"name": "archive", "publishers": [f"file://{self.folder}/samples.jsonl", *more]}]
        return json.dumps(
            {"sources": [{"name": "all", "meters": ["*"], "sinks": ["archive"]}], "sinks": sinks}
        )

    def _log(self, name: str) -> str:
        return (self.folder / name / "log").read_text()[-1000:]


def _polling(*sources: Mapping[str, Any]) -> str:
    """YAML, as JSON is."""
    return json.dumps({"sources": [{"jitter": 0, **each} for each in sources]}, indent=1)


def _memory(interval: int) -> dict[str, Any]:
    return {"name": "memory", "meters": ["host.memory.available"], "interval": interval}


def _expected(source: Mapping[str, Any]) -> PollingSource:
    """What names no resources is of this machine."""
    is_local = "resources" not in source
    return PollingSource(
        interval=source["interval"],
        meters=tuple(source["meters"]),
        resources=(socket.gethostname(),) if is_local else tuple(source["resources"]),
        discovery=("local_node",) if is_local else (),
        jitter=0.0,
    )


@asynccontextmanager
async def _agent(home: Path, folder: Path) -> Any:
    """One agent in a session of its own, ended on leaving."""
    with (home / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hitless", "agent", "run", "--unsupervised"),
            cwd=home,
            env=clean_environ(folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        await asyncio.shield(end(process))
