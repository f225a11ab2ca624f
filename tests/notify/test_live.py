"""The notices of a live runtime: start and end of every change, without secrets, and without any delay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from tests.live.models import Settings
from tests.notify.notices import Box, opened

from hitless.control import ControlClient
from hitless.live import Runtime, Setting, Triggers
from hitless.notify import Notice, Phase, SinkFailed

New = Callable[..., Runtime[Settings]]


@pytest.fixture
async def new() -> AsyncIterator[New]:
    made: list[Runtime[Settings]] = []

    def new(*sinks: Box) -> Runtime[Settings]:
        runtime = Runtime(Settings, name="volumes", notify=sinks)

        @runtime.resource
        def pool(
            url: Annotated[str, Setting("database.url")],
            password: Annotated[Any, Setting("database.password")],
        ) -> object:
            if url == "bad":
                raise ConnectionError(f"refused with {password.get_secret_value()}")
            return object()

        made.append(runtime)
        return runtime

    yield new
    for runtime in made:
        if runtime.leases.current is not None:
            await runtime.stop()


def settings(url: str, password: str = "correct-horse") -> Settings:
    return Settings.model_validate({"database": {"url": url, "password": password}})


async def taken(box: Box) -> Notice:
    return await asyncio.to_thread(box.take)


async def test_start_and_end_are_told_with_the_differences_and_the_outcome(new: New, tmp_path: Path) -> None:
    box = opened()
    runtime = new(box)
    await runtime.start(settings=settings("one"), triggers=Triggers(state_dir=tmp_path))
    await runtime.reload(settings("two"), requested_by="the night shift")
    start, end = await taken(box), await taken(box)
    assert (start.event_type, start.service, start.requested_by) == (
        "service.reload.start",
        "volumes",
        "the night shift",
    )
    assert start.differences == ({"key": "database.url", "old": "one", "new": "two"},)
    assert (end.event_type, end.status, end.change, end.differences) == (
        "service.reload.end",
        "applied",
        start.change,
        start.differences,
    )
    await runtime.rollback()
    assert [(await taken(box)).event_type for _ in range(2)] == [
        "service.rollback.start",
        "service.rollback.end",
    ]


async def test_a_change_that_fails_is_an_error_and_secrets_are_in_no_notice(new: New, tmp_path: Path) -> None:
    box = opened()
    runtime = new(box)
    await runtime.start(settings=settings("one"), triggers=Triggers(state_dir=tmp_path))
    await runtime.reload(settings("bad", password="battery-staple"))
    told = [await taken(box), await taken(box)]
    assert (told[1].phase, told[1].status, told[1].reason) == (Phase.ERROR, "rejected", "build_failed")
    assert "refused with ***" in told[1].message
    assert {"key": "database.password", "old": "***", "new": "***"} in told[0].differences
    everything = str([each.to_json() for each in told])
    assert "correct-horse" not in everything
    assert "battery-staple" not in everything


async def test_a_sink_that_hangs_or_is_down_delays_neither_changes_nor_other_sinks(
    new: New, tmp_path: Path
) -> None:
    hanging, down, well = (
        Box("hanging"),
        opened(*[SinkFailed("is down")] * 100, name="down"),
        opened(name="well"),
    )
    runtime = new(hanging, down, well)
    path = tmp_path / "s.sock"
    await runtime.start(settings=settings("0"), triggers=Triggers(state_dir=tmp_path, control=path))
    for number in range(1, 6):
        assert (await runtime.reload(settings(str(number)))).generation == number + 1
    assert [(await taken(well)).phase for _ in range(10)] == [Phase.START, Phase.END] * 5

    def status() -> Any:
        with ControlClient(path) as service:
            return service.call("status")

    counts = {each["sink"]: each for each in (await asyncio.to_thread(status))["notify"]}
    assert (counts["hanging"]["delivered"], counts["hanging"]["waiting"]) == (0, 10)
    assert counts["well"]["delivered"] >= 9
    hanging.open.set()
    assert [(await taken(hanging)).change for _ in range(2)] == [2, 2]


async def test_what_was_not_sent_is_sent_when_the_runtime_stops(new: New, tmp_path: Path) -> None:
    box = Box()
    runtime = new(box)
    await runtime.start(settings=settings("one"), triggers=Triggers(state_dir=tmp_path))
    await runtime.reload(settings("two"))
    asyncio.get_running_loop().call_soon(box.open.set)
    await runtime.stop()
    assert [(await taken(box)).phase for _ in range(2)] == [Phase.START, Phase.END]
