"""Exactly what reads something that changed is built, updated or closed; everything else is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Annotated, Any

from tests.live.conftest import New, Told
from tests.live.models import Backend, Database, Settings, Thing, World, settings

from hitless.change import Status
from hitless.live import Each, EachKey, Runtime, Setting


class Pool(Thing): ...


class Driver(Thing):
    pool: Pool


def declare(runtime: Runtime[Settings], world: World) -> None:
    @runtime.resource
    def pool(url: Annotated[str, Setting("database.url")]) -> Iterator[Pool]:
        made = Pool(world, f"pool {url}")
        yield made
        made.close()

    @runtime.resource(per="backends")
    async def driver(
        backend: Annotated[Backend, Each()], key: Annotated[str, EachKey()], pool: Pool
    ) -> AsyncIterator[Driver]:
        made = Driver(world, f"driver {key} {backend.url}")
        made.pool = pool
        yield made
        made.close()


async def test_only_the_resource_whose_settings_changed_is_rebuilt(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    await runtime.start(settings=settings(a="1", b="2"))
    world.steps.clear()
    outcome = await runtime.reload(settings(a="1", b="3"))
    await runtime.drained()
    assert outcome.status is Status.APPLIED
    assert world.steps == ["open driver b 3", "close driver b 2"]


async def test_what_was_built_with_a_rebuilt_resource_is_rebuilt_and_closed_before_it(
    new: New, world: World
) -> None:
    runtime = new()
    declare(runtime, world)
    await runtime.start(settings=settings(a="1"))
    world.steps.clear()
    await runtime.reload(settings(a="1").model_copy(update={"database": Database(url="db://two")}))
    await runtime.drained()
    assert world.steps == ["open pool db://two", "open driver a 1", "close driver a 1", "close pool db://one"]


async def test_a_plan_says_what_would_be_done_and_why_and_does_nothing(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    await runtime.start(settings=settings(a="1", b="2", c="3"))
    world.steps.clear()
    plan = runtime.plan(settings(a="1", b="9", d="4"))
    assert plan.lines() == (
        "reload: generation 1 → 2",
        '  backends.b.url: "2" → "9"',
        '  backends.d.url: (not set) → "4"',
        "  backends.d.size: (not set) → 1",
        '  backends.c.url: "3" → (not set)',
        "  backends.c.size: 1 → (not set)",
        "  - rebuild driver[b]: backends.b changed",
        "  - build driver[d]: it is new",
        "  - close driver[c]: c is no longer in backends",
        "  - keep 2 resources as they are",
    )
    assert world.steps == []
    assert runtime.generation == 1


async def test_settings_that_are_equal_change_nothing(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    await runtime.start(settings=settings(a="1"))
    outcome = await runtime.reload(settings(a="1"))
    assert (outcome.status, outcome.generation) == (Status.UNCHANGED, 1)


async def test_an_option_that_is_only_read_applies_by_snapshot_alone(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    await runtime.start(settings=settings(a="1"))
    world.steps.clear()
    async with runtime.lease() as generation:
        outcome = await runtime.reload(settings(a="1").model_copy(update={"level": "debug"}))
        assert (generation.settings.level, runtime.settings.level) == ("info", "info")
    assert (outcome.status, runtime.settings.level, world.steps) == (Status.APPLIED, "debug", [])


async def test_an_old_instance_is_closed_when_its_last_user_has_left(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    told = Told(runtime)
    await runtime.start(settings=settings(a="1"))
    async with runtime.lease(Driver, key="a") as old:
        await runtime.reload(settings(a="2"))
        async with runtime.lease(Driver, key="a") as same:
            assert same is old
        assert old.use() == "driver a 1"
        assert old.pool.use()
    await told.wait_for("generation.drained")
    assert not old.is_open
    async with runtime.lease(Driver, key="a") as fresh:
        assert fresh.use() == "driver a 2"
        assert fresh.pool is old.pool


async def test_an_instance_that_two_generations_share_outlives_the_older_one(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    told = Told(runtime)
    await runtime.start(settings=settings(a="1", b="1"))
    first, second = runtime.lease(), runtime.lease()
    with first as one:
        await runtime.reload(settings(a="1", b="2"))
        # Not nested: a context of its own, as another request would have.
        with_second = asyncio.create_task(_held(second))
        entered, leave, task = await with_second
        await runtime.reload(settings(a="3", b="2"))
        assert one.get(Driver, "a").use() == "driver a 1"
    await told.wait_for("generation.drained")
    assert world.closed == {"driver b 1": 1}
    assert entered.get(Driver, "a").use() == "driver a 1"
    leave.set()
    await task
    await runtime.drained()
    assert world.closed == {"driver b 1": 1, "driver a 1": 1}


async def _held(lease: Any) -> tuple[Any, asyncio.Event, asyncio.Task[None]]:
    """Takes the lease in a task without any context of ours, and holds it until told."""
    import contextvars

    taken: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    async def hold() -> None:
        async with lease as found:
            taken.set_result(found)
            await leave.wait()

    task = asyncio.get_running_loop().create_task(hold(), context=contextvars.Context())
    return await taken, leave, task


async def test_a_cheap_change_is_made_in_place(new: New, world: World) -> None:
    runtime = new()

    @runtime.resource
    class Updated(Thing):
        def __init__(
            self,
            url: Annotated[str, Setting("database.url")],
            pool: Annotated[int, Setting("database.pool")],
        ) -> None:
            super().__init__(world, url)
            self.pool = pool

        async def update(self, pool: int) -> None:
            self.pool = pool

    await runtime.start(settings=Settings())
    with runtime.lease(Updated) as old:
        pass
    await runtime.reload(Settings(database=Database(pool=5)))
    with runtime.lease(Updated) as same:
        assert same is old
        assert same.pool == 5
    outcome = await runtime.reload(Settings(database=Database(pool=6, url="db://two")))
    with runtime.lease(Updated) as other:
        assert other is not old
        assert (other.pool, outcome.generation) == (6, 3)


async def test_state_that_should_survive_is_adopted_before_the_swap(new: New, world: World) -> None:
    runtime = new()

    @runtime.resource
    class Counter(Thing):
        def __init__(self, url: Annotated[str, Setting("database.url")]) -> None:
            super().__init__(world, url)
            self.count = 0

        def adopt(self, old: Counter) -> None:
            assert old.is_open
            self.count = old.count

    await runtime.start(settings=Settings())
    with runtime.lease(Counter) as counter:
        counter.count = 41
    await runtime.reload(Settings(database=Database(url="db://two")))
    with runtime.lease(Counter) as counter:
        assert (counter.count, counter.name) == (41, "db://two")


async def test_independent_resources_are_built_at_the_same_time(new: New) -> None:
    runtime = new()
    both = asyncio.Barrier(2)

    @runtime.resource(per="backends")
    async def driver(key: Annotated[str, EachKey()]) -> str:
        await both.wait()
        return key

    assert (await runtime.start(settings=settings(a="", b=""))).status is Status.APPLIED


async def test_a_rollback_is_a_change_back_to_the_settings_before(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    await runtime.start(settings=settings(a="1"))
    nothing = await runtime.rollback()
    assert (nothing.status, nothing.reason) == (Status.REJECTED, "nothing_to_roll_back_to")
    await runtime.reload(settings(a="2"))
    outcome = await runtime.rollback()
    assert (outcome.status, outcome.generation) == (Status.APPLIED, 3)
    async with runtime.lease(Driver, key="a") as driver:
        assert driver.use() == "driver a 1"


async def test_stopping_closes_everything_once_in_reverse_order(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    await runtime.start(settings=settings(a="1"))
    await runtime.stop()
    assert world.steps == ["open pool db://one", "open driver a 1", "close driver a 1", "close pool db://one"]


async def test_an_async_generator_may_hold_a_task_group_across_its_yield(new: New) -> None:
    runtime = new()
    ended = []

    @runtime.resource
    async def worker(level: Annotated[str, Setting("level")]) -> AsyncIterator[str]:
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.Event().wait())
            yield level
            task.cancel()
        ended.append(level)

    await runtime.start(settings=Settings())
    await runtime.reload(Settings(level="debug"))
    await runtime.drained()
    assert ended == ["info"]


async def test_of_a_thousand_resources_one_is_rebuilt_when_one_has_changed(new: New) -> None:
    runtime = new()
    built: list[str] = []

    @runtime.resource(per="backends")
    async def driver(key: Annotated[str, EachKey()], backend: Annotated[Backend, Each()]) -> Driver:
        built.append(key)
        return object.__new__(Driver)

    @runtime.derived
    def count(drivers: Mapping[str, Driver]) -> int:
        return len(drivers)

    many = {f"b{number}": "x" for number in range(1000)}
    await runtime.start(settings=settings(**many))
    built.clear()
    await runtime.reload(settings(**{**many, "b7": "y"}))
    assert (built, count()) == (["b7"], 1000)
