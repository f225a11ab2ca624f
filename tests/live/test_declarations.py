"""Whatever is wrong with the declarations is told at the start, all of it, with the line that declares it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import pytest
from tests.live.conftest import New
from tests.live.models import Backend, Database, Settings, Thing

from hitless.live import DeclarationError, Each, EachKey, Needs, Runtime, Setting, UnknownResource

Declare = Callable[[Runtime[Settings]], object]


class A: ...


class B: ...


def unknown_setting(runtime: Runtime[Settings]) -> None:
    @runtime.resource
    def driver(url: Annotated[str, Setting("database.urll")]) -> None: ...


def missing(runtime: Runtime[Settings]) -> None:
    @runtime.resource
    def driver(thing: Thing) -> None: ...


def not_annotated(runtime: Runtime[Settings]) -> None:
    @runtime.resource
    def driver(thing) -> None: ...  # type: ignore[no-untyped-def]


def ambiguous(runtime: Runtime[Settings]) -> None:
    @runtime.resource
    def one() -> A:
        return A()

    @runtime.resource
    def two() -> A:
        return A()

    @runtime.resource
    def driver(a: A) -> None: ...


def circle(runtime: Runtime[Settings]) -> None:
    @runtime.resource
    def one(b: B) -> A:
        return A()

    @runtime.resource
    def two(a: A) -> B:
        return B()


def twice(runtime: Runtime[Settings]) -> None:
    runtime.resource(unknown_setting)
    runtime.resource(unknown_setting)


def each_without_per(runtime: Runtime[Settings]) -> None:
    @runtime.resource
    def driver(key: Annotated[str, EachKey()], each: Annotated[Any, Each()]) -> None: ...


def per_of_no_mapping(runtime: Runtime[Settings]) -> None:
    @runtime.resource(per="database")
    def driver(key: Annotated[str, EachKey()]) -> None: ...


def one_of_many(runtime: Runtime[Settings]) -> None:
    @runtime.resource(per="backends")
    def driver() -> A:
        return A()

    @runtime.resource
    def manager(a: A) -> None: ...


def misnamed(runtime: Runtime[Settings]) -> None:
    @runtime.resource
    def driver() -> None: ...

    @runtime.resource
    def manager(driver: Annotated[Any, Needs("drivr")]) -> None: ...


def update_of_nothing(runtime: Runtime[Settings]) -> None:
    @runtime.resource(update=lambda driver, pool: None)
    def driver(url: Annotated[str, Setting("database.url")]) -> None: ...


def exclusive_of_nothing(runtime: Runtime[Settings]) -> None:
    @runtime.resource(exclusive="port:{port}")
    def driver(url: Annotated[str, Setting("database.url")]) -> None: ...


def unreadable(runtime: Runtime[Settings]) -> None:
    @runtime.resource
    def driver(thing: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def hook_of_nothing(runtime: Runtime[Settings]) -> None:
    @runtime.on_change("levle")
    def hook(old: Settings, new: Settings) -> None: ...


@pytest.mark.parametrize(
    ("declare", "messages"),
    [
        (unknown_setting, ["driver: url: there is no setting database.urll; did you mean database.url?"]),
        (missing, ["driver: thing: no resource and no table of settings is a Thing; declare one"]),
        (not_annotated, ["driver: thing: has no annotation; say what it is"]),
        (
            ambiguous,
            [r'driver: a: A is provided by one (.*), two (.*); say which with Needs("one") or Needs("two")'],
        ),
        (circle, [r"one (.*) needs two (.*) needs one (.*): a circle"]),
        (twice, [r"unknown_setting is declared at .* already; give it a name="]),
        (
            each_without_per,
            ["driver: key: Each and EachKey need per=", "driver: each: Each and EachKey need per="],
        ),
        (per_of_no_mapping, ["driver: per: database is no mapping"]),
        (one_of_many, [r"manager: a: driver (.*) has one instance per key of backends; ask for a Mapping"]),
        (misnamed, ["manager: driver: there is no resource named drivr; did you mean driver?"]),
        (update_of_nothing, ["driver: update takes pool, which it is not built from"]),
        (exclusive_of_nothing, ["driver: exclusive names {port}, which it does not read from settings"]),
        (unreadable, ["driver: an annotation cannot be read: name 'Nowhere' is not defined"]),
        (hook_of_nothing, ["on_change: there is no setting levle; did you mean level?"]),
    ],
)
async def test_what_does_not_fit_is_told_with_its_line(
    new: New, declare: Declare, messages: list[str]
) -> None:
    runtime = new()
    declare(runtime)
    with pytest.raises(DeclarationError) as caught:
        await runtime.start(settings=Settings())
    assert len(caught.value.problems) == len(messages)
    for problem, message in zip(caught.value.problems, messages, strict=True):
        pattern = re.escape(message).replace(r"\.\*", ".*")
        assert re.match(rf"{re.escape(__file__)}:\d+: {pattern}", problem), problem


async def test_inputs_are_found_by_path_by_table_by_type_and_by_name(new: New) -> None:
    runtime = new()

    @runtime.resource(per="backends")
    class Driver:
        def __init__(
            self, backend: Annotated[Backend, Each()], key: Annotated[str, EachKey()], database: Database
        ) -> None:
            self.all = (backend.url, key, database.url)

    @runtime.resource(per="backends", name="watcher")
    def watch(driver: Driver) -> A:
        a = A()
        a.driver = driver  # type: ignore[attr-defined]
        return a

    @runtime.resource
    def manager(
        whole: Settings,
        drivers: Mapping[str, Driver],
        watchers: Annotated[dict[str, A], Needs("watcher")],
        chosen: Annotated[Driver | None, Needs(key_from="default_backend")],
        port: Annotated[int, Setting("port")],
        spare: int = 7,
    ) -> B:
        b = B()
        b.all = (whole.level, drivers, watchers, chosen, port, spare)  # type: ignore[attr-defined]
        return b

    backends = {"x": Backend(url="1"), "y": Backend(url="2")}
    await runtime.start(settings=Settings(backends=backends, default_backend="y"))
    async with runtime.lease() as generation:
        drivers = {key: generation.get(Driver, key) for key in backends}
        level, given, watchers, chosen, port, spare = generation.get(manager).all
    assert drivers["x"].all == ("1", "x", "db://one")
    assert given == drivers
    assert {key: each.driver for key, each in watchers.items()} == drivers
    assert (level, chosen, port, spare) == ("info", drivers["y"], 80, 7)


async def test_a_lease_of_what_does_not_exist_says_what_does(new: New) -> None:
    runtime = new()

    @runtime.resource(per="backends")
    def driver() -> A:
        return A()

    await runtime.start(settings=Settings(backends={"x": Backend(), "y": Backend()}))
    with pytest.raises(UnknownResource, match="no resource is a B; there are: driver"):
        runtime.lease(B)
    with pytest.raises(UnknownResource, match=r"there is no driver\[z\] in generation 1; there are: x, y"):
        async with runtime.lease(A, key="z"):
            pass
    with (
        pytest.raises(UnknownResource, match=r"driver has one instance per key; say key=, one of: x, y"),
        runtime.lease(A),
    ):
        pass
