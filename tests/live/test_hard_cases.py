"""What was broken once: by code that does what nobody expected, and by two who want the same at the same time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr, model_validator
from tests.live.conftest import New, Told
from tests.live.models import Database, Settings

from hitless.change import ChangeInProgress, Event, Status
from hitless.config import TomlFile
from hitless.config.sources import Layer, Origin
from hitless.live import Limits, Needs, Runtime, Setting, Timeouts, Triggers
from hitless.live.status import generations_of


class Odd(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    level: int = 0
    ratio: float = 0.0
    key: SecretStr = SecretStr("none-yet")

    @model_validator(mode="after")
    def known(self) -> Odd:
        if self.level == 13:
            raise KeyError("thirteen")
        return self


async def test_a_validator_that_fails_in_its_own_way_is_a_refusal_and_the_watch_goes_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "odd.toml"
    path.write_text("level = 1\n")
    path.chmod(0o644)
    runtime = Runtime(Odd)
    await runtime.start(TomlFile(path), triggers=Triggers(watch_interval_s=0.05, watch_settle_s=0.0))
    refused, applied = asyncio.Event(), asyncio.Event()

    def note(event: Event) -> None:
        if event.name == "change.rejected":
            refused.set()
        elif event.name == "change.committed":
            applied.set()

    runtime.subscribe(note)
    async with asyncio.timeout(60):
        path.write_text("level = 13\n")
        await refused.wait()
        path.write_text("level = 2\n")
        await applied.wait()
    assert runtime.settings.level == 2
    await runtime.stop()


async def test_settings_that_cannot_be_compared_are_refused() -> None:
    runtime = Runtime(Odd)
    await runtime.start(settings=Odd())
    outcome = await runtime.reload(Odd(ratio=float("nan")))
    assert outcome.status is Status.REJECTED
    assert runtime.settings.ratio == 0.0
    await runtime.stop()


async def test_a_stop_that_is_not_waited_for_is_made_all_the_same_and_is_one(new: New) -> None:
    runtime = new()
    leave = asyncio.Event()

    async def use() -> None:
        async with runtime.lease():
            await leave.wait()

    await runtime.start(settings=Settings())
    used = asyncio.create_task(use())
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await runtime.stop()
    second = asyncio.create_task(runtime.stop())
    await asyncio.sleep(0)
    assert not second.done(), "it waits for what the first one waits for"
    leave.set()
    async with asyncio.timeout(30):
        await second
    await used


async def test_a_hook_that_fails_tells_no_secret() -> None:
    runtime = Runtime(Odd)

    @runtime.on_change("key")
    def tell(old: Odd, new: Odd) -> None:
        raise ConnectionError(f"cannot log in with {new.key.get_secret_value()!r}")

    events: list[Event] = []
    await runtime.start(settings=Odd())
    runtime.subscribe(events.append)
    for secret in ("hunter22", "hunter22-and-more", "two\nlines"):
        await runtime.reload(Odd(key=SecretStr(secret)))
    failed = [event for event in events if event.name == "hook.failed"]
    assert len(failed) == 3
    assert not [word for word in ("hunter", "more", "lines") if word in str(failed).replace("on_change", "")]
    await runtime.stop()


async def test_what_an_update_may_still_do_after_its_deadline_is_undone_by_the_next_change(new: New) -> None:
    runtime, go_on, is_late = new(), threading.Event(), threading.Event()

    @runtime.resource(timeouts=Timeouts(update_s=0.05))
    class Limited:
        def __init__(self, size: Annotated[int, Setting("database.pool")]) -> None:
            self.size = size

        def update(self, size: int) -> None:
            if size == 13:
                go_on.wait(30)
            self.size = size
            if size == 13:
                is_late.set()

    await runtime.start(settings=Settings(database=Database(pool=1)))
    outcome = await runtime.reload(Settings(database=Database(pool=13)))
    assert outcome.status is Status.ROLLED_BACK
    go_on.set()
    await asyncio.to_thread(is_late.wait, 30)
    assert (await runtime.reload(Settings(database=Database(pool=1)))).status is Status.APPLIED
    async with runtime.lease(Limited) as limited:
        assert limited.size == 1


def test_sighup_reaches_a_runtime_in_a_thread(tmp_path: Path) -> None:
    path = tmp_path / "odd.toml"
    path.write_text("level = 1\n")
    path.chmod(0o644)
    runtime, applied = Runtime(Odd), threading.Event()
    before = signal.getsignal(signal.SIGHUP)
    with runtime.run_in_thread(TomlFile(path), triggers=Triggers(sighup=True)):
        runtime.subscribe(lambda event: applied.set() if event.name == "change.committed" else None)
        path.write_text("level = 2\n")
        os.kill(os.getpid(), signal.SIGHUP)
        assert applied.wait(30)
    assert signal.getsignal(signal.SIGHUP) == before


async def test_hooks_of_two_changes_do_not_overlap(new: New) -> None:
    runtime, told, begun, go_on = new(), list[str](), asyncio.Event(), asyncio.Event()

    @runtime.on_change("level")
    async def hook(old: Settings, new: Settings) -> None:
        told.append(f"begin {new.level}")
        begun.set()
        await go_on.wait()
        told.append(f"end {new.level}")

    await runtime.start(settings=Settings())
    first = asyncio.create_task(runtime.reload(Settings(level="one")))
    await begun.wait()
    second = asyncio.create_task(runtime.reload(Settings(level="two")))
    async with asyncio.timeout(30):
        while runtime.settings.level != "two":  # noqa: ASYNC110 - the swap, before the hooks
            await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(first, second)
    assert told == ["begin one", "end one", "begin two", "end two"]


async def test_a_hook_may_make_a_change_of_its_own(new: New) -> None:
    runtime, told, done = new(), list[str](), asyncio.Event()

    @runtime.on_change("level")
    async def hook(old: Settings, new: Settings) -> None:
        told.append(new.level)
        if new.level == "one":
            assert (await runtime.reload(Settings(level="two"))).status is Status.APPLIED
            told.append("made")
        else:
            done.set()

    await runtime.start(settings=Settings())
    async with asyncio.timeout(30):
        await runtime.reload(Settings(level="one"))
        await done.wait()
    assert told == ["one", "made", "two"]


async def test_what_runs_because_of_a_change_is_in_no_lease_of_who_asked_for_it(new: New) -> None:
    runtime, seen = new(), list[str]()

    @runtime.resource
    def pool(url: Annotated[str, Setting("database.url")]) -> Iterator[object]:
        if runtime.generation:
            seen.append(f"build with {runtime.settings.database.url}")
        yield object()
        seen.append(f"close {url} with {runtime.settings.database.url}")

    @runtime.on_change("database", when="prepare")
    def before(old: Settings, new: Settings) -> None:
        seen.append(f"prepare with {runtime.settings.database.url}")

    @runtime.on_change("database")
    def after(old: Settings, new: Settings) -> None:
        seen.append(f"hook with {runtime.settings.database.url}")

    await runtime.start(settings=Settings(level="1", database=Database(url="one")))
    seen.clear()
    async with runtime.lease():
        await runtime.reload(Settings(level="2", database=Database(url="one")))
        await runtime.reload(Settings(level="3", database=Database(url="two")))
        assert runtime.settings.level == "1", "who asked is still in it"
    await runtime.drained()
    assert seen == ["prepare with one", "build with one", "hook with two", "close one with two"]


class Hanging:
    """A source on a dead network file system: once it hangs, it does until the test ends."""

    name = "hanging"

    def __init__(self) -> None:
        self.hangs, self.released, self.readers = False, threading.Event(), 0

    def layer(self, model: type[BaseModel]) -> Layer:
        self.readers += 1
        if self.hangs:
            self.released.wait(60)
        return Layer({}, lambda _: Origin("default"), "hanging")


async def test_a_source_that_hangs_holds_up_neither_a_stop_nor_more_than_one_thread() -> None:
    source = Hanging()
    runtime = Runtime(Settings, limits=Limits(read_s=0.05))
    await runtime.start(source)
    source.hangs = True
    outcomes = [await runtime.reload() for _ in range(2)]
    assert {(each.status, each.reason) for each in outcomes} == {(Status.REJECTED, "source_unreachable")}
    assert "the sources were not read within 0.05 s" in outcomes[0].message
    assert source.readers == 2
    source.released.set()
    source.hangs = False
    async with asyncio.timeout(30):
        while (await runtime.reload()).status is not Status.UNCHANGED:
            pass
    await runtime.stop()


async def test_a_stop_does_not_wait_for_a_source_that_is_being_read() -> None:
    source = Hanging()
    runtime = Runtime(Settings, limits=Limits(read_s=3600))
    await runtime.start(source)
    source.hangs = True
    change = asyncio.create_task(runtime.reload())
    async with asyncio.timeout(30):
        while source.readers < 2:  # noqa: ASYNC110 - a thread that nobody waits for
            await asyncio.sleep(0.001)
        await runtime.stop()
    source.released.set()
    with pytest.raises(ChangeInProgress, match="the stop of the runtime"):
        await change


WATCHING = """
import asyncio, threading, time
from pathlib import Path
from pydantic import BaseModel
from hitless.config import TomlFile
from hitless.live import Runtime, Triggers

class Files(TomlFile):
    hangs, hung = False, threading.Event()
    def files(self):
        if Files.hangs:
            Files.hung.set()
            time.sleep(3600)
        return [Path(self.path)]

async def main():
    runtime = Runtime(type("Settings", (BaseModel,), {}))
    await runtime.start(Files("none.toml"), triggers=Triggers(watch_interval_s=0.01))
    Files.hangs = True
    await asyncio.to_thread(Files.hung.wait)
    await runtime.stop()

asyncio.run(main())
"""


def test_a_program_ends_though_its_watch_looks_at_files_that_hang(tmp_path: Path) -> None:
    (tmp_path / "none.toml").write_text("# nothing\n")
    (tmp_path / "none.toml").chmod(0o600)
    done = subprocess.run([sys.executable, "-c", WATCHING], cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0


async def test_a_resource_whose_task_group_fails_is_told_and_built_anew_by_the_next_reload(new: New) -> None:
    runtime, built, fail = new(), list[int](), asyncio.Event()

    async def broken() -> None:
        await fail.wait()
        raise ConnectionError("the broker has gone")

    @runtime.resource
    async def consumer() -> AsyncIterator[int]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(broken() if not built else asyncio.sleep(0))
            built.append(len(built))
            yield len(built)
            task.cancel()

    told = Told(runtime)
    await runtime.start(settings=Settings())
    fail.set()
    event = await told.wait_for("resource.failed")
    assert event.fields["resource"] == "consumer"
    assert str(event.fields["message"]).startswith("ConnectionError: the broker has gone")
    (shown,) = generations_of(runtime.leases)
    assert (shown["failed"], shown["missing"]) == (["consumer"], [])
    assert runtime.plan(Settings()).steps == ("rebuild consumer: it has failed",)
    assert (await runtime.reload(Settings())).status is Status.APPLIED
    await runtime.drained()
    async with runtime.lease("consumer") as number:
        assert number == 2
    assert not told.named("resource.close_failed")


async def test_a_resource_that_fails_before_the_swap_fails_the_change(new: New) -> None:
    runtime = new()

    @runtime.resource
    async def consumer(level: Annotated[str, Setting("level")]) -> AsyncIterator[object]:
        async with asyncio.TaskGroup() as group:
            if level == "bad":
                group.create_task(asyncio.to_thread(int, "no number"))
            yield object()

    @runtime.resource
    async def slow(
        level: Annotated[str, Setting("level")], consumer: Annotated[object, Needs("consumer")]
    ) -> None:
        if level == "bad":
            await asyncio.sleep(0.2)

    await runtime.start(settings=Settings())
    outcome = await runtime.reload(Settings(level="bad"))
    assert outcome.status in (Status.REJECTED, Status.ROLLED_BACK)
    assert outcome.reason == "build_failed"
    assert "consumer failed: ValueError: invalid literal" in outcome.message
