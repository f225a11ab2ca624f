"""What only one can have at a time: the old is stopped when its users have left, the new started, and users wait for it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Annotated, Any

import pytest
from tests.live.conftest import New, Told
from tests.live.models import Database, Settings, Thing, World

from hitless.change import DeadlinePassed, Status
from hitless.live import QueueFull, Quiesce, Replaced, Runtime, Setting, Timeouts, WouldBlock
from hitless.live.status import generations_of


class Listener(Thing): ...


class Server(Thing):
    listener: Listener


class Other(Thing): ...


def declare(runtime: Runtime[Settings], world: World, **quiesce: Any) -> None:
    """A listener that has its port alone, a server on it, and something that has nothing to do with them."""

    @runtime.resource(exclusive="port:{port}", quiesce=Quiesce(**quiesce), timeouts=Timeouts(build_s=1))
    class OfListener(Listener):
        def __init__(
            self, port: Annotated[int, Setting("port")], level: Annotated[str, Setting("level")]
        ) -> None:
            assert not any(name.startswith(f"port {port}") for name in world.still_open), "the port is in use"
            if level == "bad":
                raise OSError("cannot listen")
            super().__init__(world, f"port {port} {level}")

    @runtime.resource
    class OfServer(Server):
        def __init__(self, listener: Listener) -> None:
            super().__init__(world, f"server on {listener.name}")

    @runtime.resource
    class OfOther(Other):
        def __init__(self, database: Database) -> None:
            super().__init__(world, f"other {database.url}")


async def test_the_old_is_stopped_before_the_new_starts(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    await runtime.start(settings=Settings())
    world.steps.clear()
    assert runtime.plan(Settings(level="debug")).steps == (
        "rebuild OfListener: level changed",
        "rebuild OfServer: it needs OfListener, which is rebuilt",
        "stop OfServer first: it needs OfListener",
        "stop OfListener first: OfListener needs port:80",
        "keep 1 resources as they are",
    )
    outcome = await runtime.reload(Settings(level="debug"))
    assert outcome.status is Status.APPLIED
    assert world.steps == [
        "close server on port 80 info",
        "close port 80 info",
        "open port 80 debug",
        "open server on port 80 debug",
    ]


async def test_without_a_conflict_the_new_is_built_beside_the_old(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    await runtime.start(settings=Settings())
    world.steps.clear()
    await runtime.reload(Settings(port=81))
    await runtime.drained()
    assert world.steps[:2] == ["open port 81 info", "open server on port 81 info"]


async def test_the_old_is_opened_again_when_the_new_does_not_start(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    await runtime.start(settings=Settings())
    outcome = await runtime.reload(Settings(level="bad", database=Database(url="db://two")))
    assert (outcome.status, outcome.reason) == (Status.ROLLED_BACK, "build_failed")
    assert world.still_open == {"port 80 info": 1, "server on port 80 info": 1, "other db://one": 1}
    async with runtime.lease(Server) as server:
        assert server.use()
    assert (await runtime.reload(Settings(level="debug"))).status is Status.APPLIED


async def test_users_finish_first_and_new_ones_wait_for_the_new(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    told = Told(runtime)
    await runtime.start(settings=Settings())
    seen: list[str] = []

    async def use() -> None:
        async with runtime.lease(Server) as server:
            seen.append(server.use())

    def use_in_thread() -> None:
        with runtime.lease(Listener) as listener:
            seen.append(listener.use())

    lease = runtime.action("serving", Server)
    async with lease as server:
        change = asyncio.create_task(runtime.reload(Settings(level="debug")))
        await told.wait_for("resource.quiescing")
        with runtime.lease(Listener) as inside:
            assert inside.use()  # nested in a user: it must be able to finish
        async with asyncio.timeout(5):
            async with asyncio.TaskGroup() as group:
                users = [_elsewhere(use()) for _ in range(3)]
                users.append(_elsewhere(asyncio.to_thread(use_in_thread)))
                await _until(lambda: runtime.leases.gate is not None and runtime.leases.gate.waiting == 4)
                async with runtime.lease(Other) as other:
                    assert other.use()  # has nothing to do with it
                group.create_task(asyncio.sleep(0))
        assert (server.use(), seen) == ("server on port 80 info", [])
    assert (await change).status is Status.APPLIED
    await asyncio.gather(*users)
    assert sorted(seen) == ["port 80 debug", *["server on port 80 debug"] * 3]


async def test_users_that_do_not_finish_are_named_and_nothing_is_stopped(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world, drain_s=0.05)
    await runtime.start(settings=Settings())
    async with runtime.action("copy volume") as generation:
        outcome = await runtime.reload(Settings(level="debug", database=Database(url="db://two")))
        assert generation.get(Server).use()
    assert (outcome.status, outcome.reason) == (Status.REJECTED, "still_used")
    assert f"copy volume (the generation) at {__file__}:" in outcome.message
    assert world.still_open == {"port 80 info": 1, "server on port 80 info": 1, "other db://one": 1}
    assert (await runtime.reload(Settings(level="debug"))).status is Status.APPLIED


async def test_the_queue_of_those_who_wait_is_bounded_in_length_and_in_time(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world, queue_limit=1, wait_s=0.05, drain_s=5.0)
    told = Told(runtime)
    await runtime.start(settings=Settings())

    async def use() -> None:
        async with runtime.lease(Listener):
            pass

    async with runtime.lease(Listener):
        change = asyncio.create_task(runtime.reload(Settings(level="debug")))
        await told.wait_for("resource.quiescing")
        first = _elsewhere(use())
        await _until(lambda: runtime.leases.gate is not None and runtime.leases.gate.waiting == 1)
        with pytest.raises(QueueFull, match="1 wait already for OfListener, OfServer"):
            await _elsewhere(use())
        with pytest.raises(DeadlinePassed, match=r"OfListener, OfServer were not replaced within 0.05 s"):
            await first
        with pytest.raises(WouldBlock):
            await _elsewhere(_in_loop(runtime))
    assert (await change).status is Status.APPLIED


async def _in_loop(runtime: Runtime[Settings]) -> None:
    with runtime.lease(Listener):
        pass


async def test_an_action_that_did_not_name_it_is_told_that_it_was_replaced(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    await runtime.start(settings=Settings())
    async with runtime.lease(Other):
        await runtime.reload(Settings(level="debug"))
        with pytest.raises(
            Replaced, match="OfListener of generation 1 was stopped while this action went on"
        ):
            async with runtime.lease(Listener):
                pass
    async with runtime.lease(Listener) as listener:
        assert listener.use() == "port 80 debug"


async def test_one_that_still_drains_is_waited_for_when_its_port_is_wanted_again(
    new: New, world: World
) -> None:
    runtime = new()
    declare(runtime, world)
    told = Told(runtime)
    await runtime.start(settings=Settings())
    async with runtime.lease(Listener) as old:
        await runtime.reload(Settings(port=81))
        back = asyncio.create_task(runtime.reload(Settings(port=80)))
        await told.wait_for("resource.quiescing")
        assert old.use()
    assert (await back).status is Status.APPLIED
    await told.wait_for("generation.drained", 2)
    assert world.still_open == {"port 80 info": 1, "server on port 80 info": 1, "other db://one": 1}


async def test_two_that_exclude_each_other_are_refused(new: New) -> None:
    runtime = new()
    for name in ("one", "two"):

        @runtime.resource(name=name, exclusive="port:{port}")
        def listener(port: Annotated[int, Setting("port")]) -> None: ...

    with pytest.raises(Exception, match="one and two both need port:80 alone"):
        await runtime.start(settings=Settings())


@pytest.mark.parametrize("is_async", [False, pytest.param(True, marks=pytest.mark.soak)])
async def test_while_a_close_hangs_it_is_not_opened_a_second_time(
    new: New, world: World, is_async: bool
) -> None:
    runtime, hung = new(), threading.Event()

    async def shielded() -> None:
        while not hung.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.to_thread(hung.wait, 0.05)

    def close_sync(thing: Thing) -> None:
        hung.wait(30)
        thing.close()

    async def close_async(thing: Thing) -> None:
        await shielded()
        thing.close()

    close = close_async if is_async else close_sync

    @runtime.resource(exclusive="port:{port}", timeouts=Timeouts(close_s=0.05), close=close)
    def listener(port: Annotated[int, Setting("port")], level: Annotated[str, Setting("level")]) -> Listener:
        assert not world.still_open, "the port is in use"
        return Listener(world, f"port {port} {level}")

    @runtime.resource(exclusive="other", quiesce=Quiesce())
    def other(level: Annotated[str, Setting("level")]) -> Other:
        return Other(World(), level)

    await runtime.start(settings=Settings())
    outcome = await runtime.reload(Settings(level="debug"))
    assert (outcome.status, outcome.reason) == (Status.ROLLED_BACK, "undo_failed")
    assert "the close of listener did not end" in outcome.message
    assert (
        "listener needs port:80 alone, and the close of listener, which had it, has hung" in outcome.message
    )
    async with runtime.lease(Other) as one:
        assert one.name == "info", "what is not concerned was opened again"
    with pytest.raises(Replaced, match="listener was stopped for a change that was taken back"):
        async with runtime.lease(Listener):
            pass
    assert generations_of(runtime.leases)[0]["missing"] == ["listener"]
    refused = await runtime.reload(Settings(level="warning"))
    assert (refused.status, refused.reason) == (Status.REJECTED, "still_open")
    assert world.opened.total() == 1
    hung.set()
    async with asyncio.timeout(30):
        while world.still_open:  # noqa: ASYNC110 - a thread that nobody waits for
            await asyncio.sleep(0.01)
    assert await _applied(runtime, Settings(level="warning"))
    async with runtime.lease(Listener) as again:
        assert again.use() == "port 80 warning"


async def _applied(runtime: Runtime[Settings], settings: Settings) -> bool:
    """The loop hears of a thread's end a moment after it."""
    async with asyncio.timeout(30):
        while (await runtime.reload(settings)).reason == "still_open":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return runtime.settings == settings


def _elsewhere(work: Any) -> asyncio.Task[None]:
    """A task that is in no lease of ours, as another request would be."""
    import contextvars

    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())


async def _until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - yields only: who waits at a gate tells nobody
            await asyncio.sleep(0)
