"""What was broken once: by code that does what nobody expected, and by two who want the same at the same time."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr, model_validator
from tests.live.conftest import New
from tests.live.models import Database, Settings

from hitless.change import Event, Status
from hitless.config import TomlFile
from hitless.live import Runtime, Setting, Timeouts, Triggers


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
