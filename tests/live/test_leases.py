"""Every action sees one generation, however it is spread over tasks and threads; leases that leak are found."""

from __future__ import annotations

import asyncio
import inspect
import threading
from contextvars import Context
from typing import Annotated

import pytest
from tests.live.conftest import New, Told
from tests.live.models import Settings, Thing, World

from hitless.live import Limits, NotRunning, Runtime, Setting


class Driver(Thing): ...


def declare(runtime: Runtime[Settings], world: World) -> None:
    @runtime.resource
    class OfDriver(Driver):
        def __init__(self, level: Annotated[str, Setting("level")]) -> None:
            super().__init__(world, level)


async def seen(runtime: Runtime[Settings]) -> tuple[str, str]:
    async with runtime.lease(Driver) as driver:
        return driver.use(), runtime.settings.level


def seen_in_thread(runtime: Runtime[Settings]) -> tuple[str, str]:
    with runtime.lease(Driver) as driver:
        return driver.use(), runtime.settings.level


async def test_nested_leases_and_child_tasks_see_the_same_generation(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    await runtime.start(settings=Settings())
    async with runtime.action("long work"):
        assert (await runtime.reload(Settings(level="debug"))).generation == 2
        child = asyncio.create_task(seen(runtime))
        assert await seen(runtime) == await child == ("info", "info")
        assert await asyncio.to_thread(seen_in_thread, runtime) == ("info", "info")
        other = asyncio.get_running_loop().create_task(seen(runtime), context=Context())
        assert await other == ("debug", "debug")
    assert await seen(runtime) == ("debug", "debug")


async def test_a_child_task_keeps_what_it_uses_when_its_parent_has_left(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    await runtime.start(settings=Settings())
    go_on, inside = asyncio.Event(), asyncio.Event()

    async def child() -> list[str]:
        async with runtime.lease(Driver) as driver:
            inside.set()
            await go_on.wait()
            found = [driver.use()]
        return [*found, (await seen(runtime))[0]]

    async with runtime.lease(Driver):
        task = asyncio.create_task(child())
        await inside.wait()
        await runtime.reload(Settings(level="debug"))
    assert not world.closed
    go_on.set()
    assert await task == ["info", "debug"]


async def test_a_lease_is_given_back_when_its_block_fails_or_is_cancelled(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    await runtime.start(settings=Settings())
    with pytest.raises(ZeroDivisionError):
        async with runtime.lease(Driver):
            _ = 1 / 0
    inside = asyncio.Event()

    async def work() -> None:
        async with runtime.lease(Driver):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    await asyncio.wait({task})
    await runtime.reload(Settings(level="debug"))
    await runtime.drained()
    assert world.closed == {"info": 1}


async def test_a_leaked_lease_is_reported_with_the_line_that_took_it_and_waited_for(
    new: New, world: World
) -> None:
    runtime = new(limits=Limits(drain_s=0.05))
    declare(runtime, world)
    told = Told(runtime)
    await runtime.start(settings=Settings())
    lease = runtime.action("backup", Driver)
    line = inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]
    async with lease as driver:
        await runtime.reload(Settings(level="debug"))
        overdue = await told.wait_for("lease.overdue")
        assert overdue.fields["where"] == f"{__file__}:{line}"
        assert (overdue.fields["what"], overdue.fields["then"]) == ("backup (OfDriver)", "waited for")
        assert driver.use()
    await told.wait_for("generation.drained")
    assert world.closed == {"info": 1}


async def test_a_leaked_lease_may_be_closed_anyway(new: New, world: World) -> None:
    runtime = new(limits=Limits(drain_s=0.05), overdue="close")
    declare(runtime, world)
    told = Told(runtime)
    await runtime.start(settings=Settings())
    async with runtime.lease(Driver) as driver:
        await runtime.reload(Settings(level="debug"))
        drained = await told.wait_for("generation.drained")
        assert (drained.fields["cut"], driver.is_open) == (1, False)
        with pytest.raises(Exception, match="OfDriver of generation 1 was stopped while this action went on"):
            async with runtime.lease(Driver):
                pass
    assert await seen(runtime) == ("debug", "debug")


async def test_a_stop_closes_under_leases_that_are_not_given_back_in_time(new: New, world: World) -> None:
    runtime = new(limits=Limits(drain_s=0.05))
    declare(runtime, world)
    await runtime.start(settings=Settings())
    with runtime.lease(Driver):
        await runtime.reload(Settings(level="debug"))
        await runtime.stop()
        assert world.closed == world.opened
        with pytest.raises(NotRunning, match="has been started already"):
            await runtime.start(settings=Settings())
        with pytest.raises(NotRunning):
            await asyncio.get_running_loop().create_task(seen(runtime), context=Context())


async def test_a_lease_is_taken_once(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    await runtime.start(settings=Settings())
    with runtime.lease(Driver) as driver, runtime.lease(Driver) as same:
        assert same is driver
    lease = runtime.lease(Driver)
    with lease, pytest.raises(RuntimeError, match="is held already"), lease:
        pass


async def test_without_a_runtime_there_is_no_lease(new: New) -> None:
    runtime = new()
    with pytest.raises(NotRunning, match="start it first"):
        runtime.lease(Driver)
    with pytest.raises(NotRunning, match="start it first"):
        _ = runtime.settings


def test_a_program_without_an_event_loop_leases_and_reloads(world: World) -> None:
    runtime = Runtime(Settings)
    declare(runtime, world)
    with runtime.run_in_thread(settings=Settings()):
        with runtime.lease(Driver) as driver:
            assert driver.use() == "info"
            assert runtime.reload_sync(Settings(level="debug")).generation == 2
            assert driver.use() == "info"
        threads = [threading.Thread(target=seen_in_thread, args=(runtime,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen_in_thread(runtime) == ("debug", "debug")
        assert runtime.rollback_sync().generation == 3
    assert not world.still_open
    assert world.closed == world.opened


def test_a_start_that_fails_in_a_thread_is_told_where_it_was_asked_for() -> None:
    runtime = Runtime(Settings)

    @runtime.resource
    def broken() -> None:
        raise OSError("no")

    with pytest.raises(Exception, match="broken could not be built: OSError: no"):
        runtime.run_in_thread(settings=Settings())
