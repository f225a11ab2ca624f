"""Caches and derived values are made anew exactly when something that they read has changed; hooks are asked and told."""

from __future__ import annotations

from typing import Annotated

from tests.live.conftest import New, Told
from tests.live.models import Database, Settings, Thing, World

from hitless.change import Refused, Status
from hitless.live import Setting


class Pool(Thing): ...


async def test_a_derived_value_is_recomputed_when_what_it_reads_has_changed(new: New) -> None:
    runtime = new()
    computed: list[str] = []

    @runtime.derived
    def greeting(level: Annotated[str, Setting("level")]) -> str:
        """What to say."""
        computed.append(level)
        return f"hello {level}"

    await runtime.start(settings=Settings())
    await runtime.reload(Settings(port=1))
    assert (greeting(), computed) == ("hello info", ["info"])
    with runtime.lease():
        await runtime.reload(Settings(port=1, level="debug"))
        assert greeting() == "hello info"
    assert (greeting(), computed) == ("hello debug", ["info", "debug"])


async def test_a_cache_is_cleared_when_what_it_reads_has_changed(new: New, world: World) -> None:
    runtime = new()
    asked: list[str] = []

    @runtime.resource
    def pool(url: Annotated[str, Setting("database.url")]) -> Pool:
        return Pool(world, url)

    @runtime.cached
    def quota(project: str, pool: Pool) -> str:
        asked.append(project)
        return f"{project} {pool.use()}"

    @runtime.cached(size=1)
    async def slow(project: str, *, level: Annotated[str, Setting("level")]) -> str:
        asked.append(project)
        return f"{project} {level}"

    await runtime.start(settings=Settings())
    assert [quota("a"), quota("a"), quota("b")] == ["a db://one", "a db://one", "b db://one"]
    assert [await slow("c"), await slow("c"), await slow("d"), await slow("c")] == [
        "c info",
        "c info",
        "d info",
        "c info",
    ]
    assert asked == ["a", "b", "c", "d", "c"]
    asked.clear()
    await runtime.reload(Settings(port=1))
    assert [quota("a"), await slow("c"), asked] == ["a db://one", "c info", []]
    await runtime.reload(Settings(database=Database(url="db://two")))
    assert [quota("a"), await slow("c"), asked] == ["a db://two", "c info", ["a"]]


async def test_a_hook_may_refuse_before_and_only_see_after(new: New) -> None:
    runtime = new()
    told = Told(runtime)
    seen: list[tuple[str, str, str]] = []

    @runtime.on_change("level", when="prepare")
    def allowed(old: Settings, new: Settings) -> None:
        if new.level == "silly":
            raise ValueError("no such level")
        if new.level == "forbidden":
            raise Refused("level_forbidden", "this level is forbidden here")

    @runtime.on_change("level", "database.url")
    async def changed(old: Settings, new: Settings) -> None:
        seen.append(("level", old.level, new.level))

    @runtime.on_change()
    def fails(old: Settings, new: Settings) -> None:
        raise RuntimeError("too late")

    await runtime.start(settings=Settings())
    silly = await runtime.reload(Settings(level="silly"))
    assert (silly.status, silly.reason) == (Status.REJECTED, "hook_refused")
    assert silly.message.startswith(f"on_change hook allowed ({__file__}:")
    assert "refused: ValueError: no such level" in silly.message
    forbidden = await runtime.reload(Settings(level="forbidden"))
    assert (forbidden.reason, forbidden.message) == ("level_forbidden", "this level is forbidden here")
    assert seen == []
    assert (await runtime.reload(Settings(level="debug"))).status is Status.APPLIED
    assert (await runtime.reload(Settings(level="debug", port=1))).status is Status.APPLIED
    assert seen == [("level", "info", "debug")]
    assert [event.fields["message"] for event in told.named("hook.failed")] == ["RuntimeError: too late"] * 2
