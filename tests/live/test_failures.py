"""Whatever fails: the generation before goes on, what was built for nothing is closed once, and the outcome says why."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from tests.live.conftest import New, Told
from tests.live.models import Backend, Database, Settings, Thing, World, settings

from hitless.change import Status
from hitless.config import TomlFile
from hitless.live import Each, EachKey, Needs, Runtime, Setting, StartFailed, Timeouts, Triggers

QUICK = Timeouts(build_s=0.1, warm_s=0.1, update_s=0.1, close_s=0.1)


class Driver(Thing): ...


class Pool(Thing): ...


def declare(runtime: Runtime[Settings], world: World) -> None:
    """A pool that is always built, and drivers whose URL says what goes wrong."""

    @runtime.resource
    class OfPool(Pool):
        def __init__(self, url: Annotated[str, Setting("database.url")]) -> None:
            super().__init__(world, url)

    @runtime.resource(per="backends", timeouts=QUICK)
    class OfDriver(Driver):
        def __init__(
            self, key: Annotated[str, EachKey()], backend: Annotated[Backend, Each()], pool: Pool
        ) -> None:
            if backend.url == "raises":
                raise ConnectionError("cannot connect to db://user:hunter22@host")
            super().__init__(world, f"{key} {backend.url}")
            self.url = backend.url

        async def warm(self) -> bool | None:
            match self.url:
                case "unhealthy":
                    return False
                case "warm raises":
                    raise OSError("no route")
                case "warm hangs":
                    await asyncio.Event().wait()
            return None


async def failed(runtime: Runtime[Settings], world: World, wanted: Settings) -> tuple[str | None, str]:
    """The reason and message of a change that must leave everything as it is."""
    before = world.still_open.copy()
    outcome = await runtime.reload(wanted)
    assert outcome.status is Status.REJECTED
    assert world.still_open == before
    async with runtime.lease(Driver, key="a") as driver:
        assert driver.use() == "a 1"
    assert runtime.generation == 1
    return outcome.reason, outcome.message


@pytest.mark.parametrize(
    ("url", "reason", "message"),
    [
        (
            "raises",
            "build_failed",
            "OfDriver[a] could not be built: ConnectionError: cannot connect to db://user:***@host",
        ),
        ("unhealthy", "unhealthy", "OfDriver[a] is not healthy: warm returned False"),
        ("warm raises", "unhealthy", "OfDriver[a] is not healthy: OSError: no route"),
        ("warm hangs", "deadline_passed", "OfDriver[a] did not become healthy within 0.1 s"),
    ],
)
async def test_a_build_that_fails_changes_nothing(
    new: New, world: World, url: str, reason: str, message: str
) -> None:
    runtime = new()
    declare(runtime, world)
    await runtime.start(settings=settings(a="1"))
    wanted = settings(a=url, b="fine").model_copy(update={"database": Database(url="db://two")})
    found, text = await failed(runtime, world, wanted)
    assert found == reason
    assert text.startswith(message)
    assert __file__ in text


async def test_a_build_that_hangs_in_a_thread_is_given_up_and_closed_when_it_comes(
    new: New, world: World
) -> None:
    runtime = new()
    go_on, closed = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    @runtime.resource(timeouts=QUICK)
    class Slow(Thing):
        def close(self) -> None:
            super().close()
            loop.call_soon_threadsafe(closed.set)

        def __init__(self, url: Annotated[str, Setting("database.url")]) -> None:
            if url == "hangs":
                go_on.wait(10)
            super().__init__(world, url)

    await runtime.start(settings=Settings())
    outcome = await runtime.reload(Settings(database=Database(url="hangs")))
    assert (outcome.reason, runtime.generation) == ("deadline_passed", 1)
    assert outcome.message.startswith("Slow was not built within 0.1 s")
    go_on.set()
    async with asyncio.timeout(5):
        await closed.wait()
    assert world.still_open == {"db://one": 1}


async def test_a_build_that_hangs_in_a_task_is_cancelled(new: New, world: World) -> None:
    runtime = new()

    @runtime.resource(timeouts=QUICK)
    async def slow(url: Annotated[str, Setting("database.url")]) -> AsyncIterator[Thing]:
        thing = Thing(world, url)
        try:
            if url == "hangs":
                await asyncio.Event().wait()
            yield thing
        finally:
            thing.close()

    await runtime.start(settings=Settings())
    outcome = await runtime.reload(Settings(database=Database(url="hangs")))
    assert outcome.reason == "deadline_passed"
    assert world.still_open == {"db://one": 1}


async def test_a_close_that_raises_or_hangs_is_reported_and_holds_up_nothing(new: New, world: World) -> None:
    runtime = new()
    told = Told(runtime)
    stuck = asyncio.Event()

    @runtime.resource
    class Below(Thing):
        def __init__(self, url: Annotated[str, Setting("database.url")]) -> None:
            super().__init__(world, f"below {url}")

    @runtime.resource(per="backends", timeouts=QUICK)
    async def driver(key: Annotated[str, EachKey()], below: Below) -> AsyncIterator[str]:
        yield key
        if key == "raises":
            raise OSError("the wire is cut")
        await stuck.wait()

    await runtime.start(settings=settings(raises="", hangs=""))
    outcome = await runtime.reload(
        settings(raises="", hangs="").model_copy(update={"database": Database(url="db://two")})
    )
    await runtime.drained()
    assert outcome.status is Status.APPLIED
    assert world.closed == {"below db://one": 1}
    messages = sorted(str(event.fields["message"]) for event in told.named("resource.close_failed"))
    assert messages[0].startswith("driver[hangs] was not closed within 0.1 s")
    assert messages[1].startswith("driver[raises] was not closed well: OSError: the wire is cut")
    stuck.set()


async def test_a_circle_that_the_settings_make_is_refused(new: New, world: World) -> None:
    runtime = new()

    @runtime.resource(per="backends")
    class Replica(Driver):
        def __init__(
            self,
            key: Annotated[str, EachKey()],
            backend: Annotated[Backend, Each()],
            source: Annotated[Replica | None, Needs("Replica", key_from="each.replica_of")],
        ) -> None:
            super().__init__(world, f"{key} {backend.url}")

    def wanted(**sources: str | None) -> Settings:
        return Settings(
            backends={key: Backend(url="1", replica_of=source) for key, source in sources.items()}
        )

    await runtime.start(settings=wanted(a=None, b="a"))
    assert world.steps == ["open a 1", "open b 1"]
    assert await failed(runtime, world, wanted(a="b", b="a")) == (
        "circle",
        "these settings make a circle: Replica[a] needs Replica[b] needs Replica[a]",
    )
    assert await failed(runtime, world, wanted(a="z", b="a")) == (
        "unknown_key",
        "each.replica_of of Replica[a] names z, and there is no Replica[z]; there are: a, b",
    )


async def test_an_update_is_taken_back_when_a_later_one_fails(new: New, world: World) -> None:
    runtime = new()
    seen: list[tuple[str, int]] = []

    @runtime.resource(per="backends", timeouts=QUICK)
    class Updated(Driver):
        def __init__(
            self, key: Annotated[str, EachKey()], pool: Annotated[int, Setting("database.pool")]
        ) -> None:
            super().__init__(world, f"{key} 1")
            self.key, self.pool = key, pool

        def update(self, pool: int) -> None:
            seen.append((self.key, pool))
            self.pool = pool
            if self.key == "b" and pool == 13:
                raise ValueError("unlucky")

    await runtime.start(settings=settings(a="", b=""))
    outcome = await runtime.reload(settings(a="", b="").model_copy(update={"database": Database(pool=13)}))
    assert (outcome.status, outcome.reason) == (Status.ROLLED_BACK, "update_failed")
    assert seen == [("a", 13), ("b", 13), ("b", 1), ("a", 1)]
    async with runtime.lease() as generation:
        assert [generation.get(Updated, key).pool for key in "ab"] == [1, 1]


async def test_what_could_not_be_taken_back_is_rebuilt_by_the_next_change(new: New, world: World) -> None:
    runtime = new()

    @runtime.resource(timeouts=QUICK)
    class Updated(Thing):
        def __init__(self, pool: Annotated[int, Setting("database.pool")]) -> None:
            super().__init__(world, f"pool {pool}")

        def update(self, pool: int) -> None:
            raise ValueError("never")

    await runtime.start(settings=Settings())
    outcome = await runtime.reload(Settings(database=Database(pool=2)))
    assert (outcome.status, outcome.reason) == (Status.ROLLED_BACK, "undo_failed")
    plan = runtime.plan(Settings())
    assert plan.steps == ("rebuild Updated: its last update failed and could not be taken back",)
    assert (await runtime.reload(Settings())).status is Status.APPLIED
    await runtime.drained()
    assert world.steps == ["open pool 1", "open pool 1", "close pool 1"]


async def test_a_first_generation_that_cannot_be_built_leaves_nothing(new: New, world: World) -> None:
    runtime = new()
    declare(runtime, world)
    with pytest.raises(StartFailed, match="could not be built") as caught:
        await runtime.start(settings=settings(a="1", b="raises"))
    assert caught.value.outcome.reason == "build_failed"
    assert not world.still_open


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[database]\nurl = 'two'\npassword = 'file:/nowhere/secret'\n",
            ":3: database.password: the secret file",
        ),
        ("[database]\nurl = 'two", ":2: is not TOML"),
        ("", ": is empty; it was perhaps cut off"),
        ("port = 'http'\nlevel = 3\n", ":1: port: expected a whole number"),
    ],
)
async def test_a_file_that_is_no_good_changes_nothing(
    new: New, world: World, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "service.toml"
    path.write_text("[backends.a]\nurl = '1'\n")
    path.chmod(0o600)
    runtime = new()
    declare(runtime, world)
    await runtime.start(TomlFile(path))
    path.write_text(text)
    outcome = await runtime.reload()
    assert (outcome.status, outcome.reason, outcome.invalid) == (
        Status.REJECTED,
        "configuration_invalid",
        True,
    )
    assert outcome.message.startswith(f"{path}{message}")
    async with runtime.lease(Driver, key="a") as driver:
        assert driver.use() == "a 1"
    path.write_text("[backends.a]\nurl = '2'\n")
    assert (await runtime.reload()).status is Status.APPLIED


async def test_secrets_are_in_no_log_no_difference_and_no_journal(
    new: New, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = new()
    told = Told(runtime)
    caplog.set_level("DEBUG")

    @runtime.resource
    def pool(database: Database) -> Iterator[Any]:
        assert database.password is not None
        if database.url == "bad":
            raise ConnectionError(f"refused {database.password.get_secret_value()}")
        yield object()

    def wanted(url: str, password: str) -> Settings:
        return Settings.model_validate({"database": {"url": url, "password": password}})

    await runtime.start(
        settings=wanted("db://u:correct-horse@h", "correct-horse"), triggers=Triggers(state_dir=tmp_path)
    )
    await runtime.reload(wanted("db://u:battery-staple@h", "battery-staple"))
    outcome = await runtime.reload(wanted("bad", "battery-staple"))
    await runtime.stop()
    everything = (
        json.dumps([event.to_json() for event in told.events], default=str) + caplog.text + str(outcome)
    )
    everything += "".join(path.read_bytes().decode("latin1") for path in tmp_path.iterdir())
    assert "refused ***" in everything
    assert "correct-horse" not in everything
    assert "battery-staple" not in everything


EXITS = (
    "plain",
    "coroutine",
    "generator",
    "async generator",
    "warm",
    "hook",
    "async hook",
    "close",
    "async close",
)


@pytest.mark.parametrize("place", EXITS)
async def test_code_that_calls_sys_exit_does_not_end_the_process(new: New, place: str) -> None:
    """An event loop that sees SystemExit ends, and every request and action with it."""
    runtime = new()
    URL = Annotated[str, Setting("database.url")]

    def leave(url: str) -> str:
        if url == "exit":
            sys.exit("no such database")
        return url

    class Resource:
        def __init__(self, url: str) -> None:
            self.url = url

    match place:
        case "plain":

            @runtime.resource
            def resource(url: URL) -> Resource:
                return Resource(leave(url))
        case "coroutine":

            @runtime.resource
            async def resource(url: URL) -> Resource:
                return Resource(leave(url))
        case "generator":

            @runtime.resource
            def resource(url: URL) -> Iterator[Resource]:
                yield Resource(leave(url))
        case "async generator":

            @runtime.resource
            async def resource(url: URL) -> AsyncIterator[Resource]:
                yield Resource(leave(url))
        case _:

            @runtime.resource
            class _Resource(Resource):
                def __init__(self, url: URL) -> None:
                    super().__init__(url)

                async def warm(self) -> None:
                    if place == "warm":
                        leave(self.url)

                if place == "close":

                    def close(self) -> None:
                        sys.exit("no such database")
                else:

                    async def close(self) -> None:
                        if place == "async close":
                            sys.exit("no such database")

    if place == "hook":

        @runtime.on_change("database.url", when="prepare")
        def hook(old: Settings, new: Settings) -> None:
            leave(new.database.url)
    elif place == "async hook":

        @runtime.on_change("database.url", when="prepare")
        async def hook(old: Settings, new: Settings) -> None:
            leave(new.database.url)

    await runtime.start(settings=Settings(database=Database(url="1")))
    outcome = await runtime.reload(Settings(database=Database(url="exit")))
    if "close" in place:
        assert outcome.status is Status.APPLIED
        await runtime.drained()
    else:
        assert outcome.status is Status.REJECTED
        assert "SystemExit: no such database" in outcome.message
    assert (await runtime.reload(Settings(database=Database(url="2")))).status is Status.APPLIED
