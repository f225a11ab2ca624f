"""The main job: an image store under live load; storage, workers and code are changed, broken changes
refused, a change rolled back, and the service stopped, and no client notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Final

from hitless.demo.narrator import Narrator
from hitless.demo.place import Place, place
from hitless.demo.report import DemoReport, StepReport
from hitless.demo.service import Answer, Service, ServiceFailed, serving
from hitless.load import Load, Report, Request, RequestFailed, Share, ask, get, round_trip
from hitless.load import StepReport as Seen
from hitless.load.long import Ending, slow_upload

NAME: Final = "imagestore"
TITLE: Final = "hitless demo serve: an image store is changed in every way while clients use it"
CLIENTS: Final = 32
THINK: Final = (0.0, 0.8)
MIX: Final = (
    Share(6, get("/images")),
    Share(2, get("/version")),
    Share(3, round_trip("/images/", sizes=(1024, 65536))),
)
UPLOAD_BYTES: Final = 1024 * 1024
UPLOAD_S: Final = 2.0
START_S: Final = 20.0
WARM_S: Final = 10.0
KEPT: Final = Request(
    "/images/kept", "PUT", body=Random(1).randbytes(100_000), headers=(("Connection", "close"),)
)


class Unexpected(Exception):
    """A step came out otherwise than it should."""


def missing() -> str | None:
    """This part needs nothing but Python."""
    return None


async def play(narrator: Narrator) -> DemoReport:
    """Run it all, in a temporary folder, on a free port."""
    with place() as made:
        made.configure(
            bind=[f"127.0.0.1:{made.port}"],
            directory=str(made.root),
            env__IMAGESTORE_DATA=str(made.data("disk1")),
            env__IMAGESTORE_DB=str(made.root / "catalog.sqlite"),
        )
        made.append(f'state_dir = "{made.root / "state"}"')
        async with serving(NAME, made.config, log=made.log) as service:
            job = Job(made, service, narrator)
            await job.run()
        return DemoReport("serve", tuple(job.steps))


@dataclass(slots=True)
class Job:
    """The steps, in order, against one running service."""

    place: Place
    service: Service
    narrator: Narrator
    steps: list[StepReport] = field(default_factory=list)
    uploads: int = 0
    generation: object = None
    """The one that the last applied change made."""
    endings: dict[str, Ending] = field(default_factory=dict)

    async def run(self) -> None:
        """Every step, or until one goes so wrong that the next make no sense."""
        if not await self._start():
            return
        load = Load(self.place.url, clients=CLIENTS, think=THINK, mix=MIX, step="steady")
        async with load:
            await load.warm(WARM_S)
            for name, about, act in (
                ("steady", f"{CLIENTS} keep-alive clients list, upload, compare, delete", self.steady),
                ("storage path and workers", "edit hitless.toml, reload", self.storage),
                ("new code", "write another version, reload", self.code),
                ("broken configuration", "misspell a key, reload", self.broken_configuration),
                ("broken code", "write a version that raises, reload", self.broken_code),
                ("rollback", "back to the generation before", self.rollback),
            ):
                await self._step(load, name, about, act)
        self._settle(await load.stop())
        await self._stop()

    # the steps; each returns its outcome or raises Unexpected

    async def steady(self) -> str:
        await ask(self.place.url, KEPT)
        return "unchanged"

    async def storage(self) -> str:
        disk1, disk2 = self.place.data("disk1"), self.place.data("disk2")
        self.place.configure(workers=3, env__IMAGESTORE_DATA=f"{disk2}:{disk1}")
        self.narrator.said("workers 2 -> 3; IMAGESTORE_DATA: a second disk in front of the first")
        outcome = await self._change("reload")
        await self._expect("1.0", [str(disk2), str(disk1)])
        workers = await self._workers()
        if workers != 3:
            raise Unexpected(f"{workers} workers serve, not 3")
        await ask(self.place.url, Request("/images/second", "PUT", body=b"x", headers=KEPT.headers))
        if not (disk2 / "second").is_file():
            raise Unexpected("a new image did not go to the new storage path")
        return outcome

    async def code(self) -> str:
        self.place.release("2.0")
        self.narrator.said('imagestore/version.py: VERSION = "1.0" -> "2.0"')
        outcome = await self._change("reload")
        await self._expect("2.0")
        return outcome

    async def broken_configuration(self) -> str:
        before = self.place.append("wrokers = 4")
        try:
            outcome = await self._refused("reload", codes=(2, 3))
        finally:
            self.place.config.write_text(before)
        await self._expect("2.0")
        return outcome

    async def broken_code(self) -> str:
        self.place.release("3.0", also='raise RuntimeError("this release is broken")\n')
        try:
            outcome = await self._refused("reload", codes=(3,))
        finally:
            self.place.release("2.0")
        await self._expect("2.0")
        return outcome

    async def rollback(self) -> str:
        outcome = await self._change("rollback")
        await self._expect("1.0")
        return outcome

    # beginning and end, without load

    async def _start(self) -> bool:
        self.narrator.began("start", "hitless serve -c hitless.toml")
        try:
            await self._answering()
        except (ServiceFailed, RequestFailed, TimeoutError) as error:
            self._end(StepReport("start", f"not serving: {error}", as_expected=False))
            return False
        self._end(StepReport("start", "serving"))
        return True

    async def _answering(self) -> None:
        """Until the service answers; its listening socket tells nothing before a worker serves."""
        async with asyncio.timeout(START_S):
            while True:
                self.service.check_alive()
                try:
                    await ask(f"{self.place.url}/healthz")
                    return
                except RequestFailed:
                    await asyncio.sleep(0.05)

    async def _stop(self) -> None:
        """The clients have gone; one upload is under way."""
        self.narrator.began("stop", "hitless stop, with an upload under way")
        expected, outcome = True, "stopped"
        upload = await self._upload()
        try:
            answer = await self.service.command("stop")
            code = await self.service.exited()
            if (answer.code, code) != (0, 0):
                expected, outcome = False, f"stop: {answer}; the service ended with {code}"
        except ServiceFailed as error:
            expected, outcome = False, str(error)
        ending = await upload
        self._report_upload(ending)
        self._end(_counted(StepReport("stop", outcome, as_expected=expected), None, ending))

    # what steps share

    async def _step(self, load: Load, name: str, about: str, act: Callable[[], Awaitable[str]]) -> None:
        """Do it with an upload under way, and count what the clients see until that has ended."""
        self.narrator.began(name, about)
        load.step(name)
        upload = await self._upload()
        expected = True
        try:
            outcome = await act()
            await self._kept_is_readable()
        except (Unexpected, ServiceFailed, RequestFailed, TimeoutError) as error:
            expected, outcome = False, str(error)
        ending = await upload
        self._report_upload(ending)
        for failed in load.report().failed_requests:
            if failed.step == name:
                self.narrator.said(f"failed: {failed}")
        self.endings[name] = ending
        self._end(_counted(StepReport(name, outcome, as_expected=expected), load.stats(name), ending))

    def _settle(self, report: Report) -> None:
        """The last word on the load's steps: what was under way when a step was told ended after it."""
        self.steps = [
            _counted(step, report.step(step.name), self.endings[step.name])
            if step.name in self.endings
            else step
            for step in self.steps
        ]

    async def _upload(self) -> asyncio.Task[Ending]:
        """An upload that takes its time; returned when its first bytes are out."""
        self.uploads += 1
        under_way = asyncio.Event()
        task = asyncio.create_task(
            slow_upload(
                f"{self.place.url}/images/slow-{self.uploads}",
                size=UPLOAD_BYTES,
                seconds=UPLOAD_S,
                on_progress=lambda _: under_way.set(),
            )
        )
        task.add_done_callback(lambda _: under_way.set())
        await under_way.wait()
        return task

    def _report_upload(self, ending: Ending) -> None:
        how = "arrived whole" if ending.survived else f"was cut after {ending.size} bytes: {ending.reason}"
        self.narrator.said(f"an upload of 1 MiB that was under way {how}")

    def _end(self, step: StepReport) -> None:
        self.steps.append(step)
        self.narrator.ended(step)

    async def _change(self, verb: str) -> str:
        answer = await self._command(verb)
        if answer.code != 0 or answer.outcome.get("status") != "applied":
            raise Unexpected(f"{verb} was not applied: {answer}{self.service.tail()}")
        self.generation = answer.outcome.get("generation")
        return f"applied, generation {self.generation}"

    async def _refused(self, verb: str, *, codes: tuple[int, ...]) -> str:
        """A change that must not happen."""
        answer = await self._command(verb)
        if answer.code not in codes:
            raise Unexpected(f"{verb} should have been refused: {answer}")
        if answer.outcome.get("generation") != self.generation:
            raise Unexpected(f"generation {self.generation} should still serve: {answer.outcome}")
        return f"{answer.outcome.get('status')}: {answer.outcome.get('reason')}"

    async def _command(self, verb: str) -> Answer:
        self.narrator.said(f"$ hitless {verb} {NAME}")
        answer = await self.service.command(verb)
        self.narrator.said(str(answer).splitlines()[0])
        return answer

    async def _expect(self, version: str, data: list[str] | None = None) -> None:
        """That the service says it is what it should be."""
        said = json.loads((await ask(f"{self.place.url}/version")).body)
        if said["version"] != version:
            raise Unexpected(f"version {said['version']} answers, not {version}")
        if data is not None and said["data"] != data:
            raise Unexpected(f"images are stored in {said['data']}, not {data}")

    async def _kept_is_readable(self) -> None:
        """The image stored before the first change is still what it was."""
        digest = sha256(KEPT.body).hexdigest()
        await ask(self.place.url, Request(KEPT.path, headers=KEPT.headers, expect_sha256=digest))

    async def _workers(self) -> int:
        status = (await self.service.command("status")).data
        rows = status.get("generations")
        current = (
            [row for row in rows if row["number"] == status["generation"]] if isinstance(rows, list) else []
        )
        return sum(len(row["workers"]) for row in current)


def _counted(step: StepReport, seen: Seen | None, ending: Ending) -> StepReport:
    """The step with what the load saw, and its upload, whose wait is the time from the last byte to the
    answer."""
    return StepReport(
        step.name,
        step.outcome,
        requests=(seen.requests if seen else 0) + 1,
        failed=(seen.failed if seen else 0) + (not ending.survived),
        closed_by_server=seen.closed_by_server if seen else 0,
        max_ms=max(seen.latency.max_ms if seen else 0.0, ending.answer_s * 1000),
        as_expected=step.as_expected,
    )
