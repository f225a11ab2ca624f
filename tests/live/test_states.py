"""Whatever fails, and whenever, and whoever holds on: nothing is used after its close, everything is closed exactly once, and
every action sees one generation.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Annotated, Any

from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from tests.live.models import Backend, Database, Settings, Thing, World

from hitless.change import Outcome, Status
from hitless.live import Each, EachKey, Lease, Limits, Quiesce, Runtime, Setting, Snapshot

KEYS = ("a", "b", "c")
BUILDS = ("pool", "driver a", "driver b", "driver c")
"""Those that are built beside the old: a cancellation during the commit is not heeded."""
faults = st.dictionaries(
    st.sampled_from(["pool", "listener", "driver a", "driver b", "driver c", "reader"]),
    st.sampled_from(["build raises", "warm raises", "update raises", "close raises", "adopt raises"]),
    max_size=2,
)
wanted = st.builds(
    Settings,
    database=st.builds(Database, url=st.sampled_from(["one", "two"]), pool=st.integers(1, 3)),
    backends=st.dictionaries(
        st.sampled_from(KEYS), st.builds(Backend, url=st.sampled_from(["x", "y"])), max_size=3
    ),
    port=st.sampled_from([80, 81]),
    level=st.sampled_from(["info", "debug"]),
)


class Fragile(Thing):
    """Fails as it is told to."""

    def __init__(self, machine: Changes, name: str) -> None:
        self.machine, self.kind = machine, name
        machine.number += 1
        super().__init__(machine.world, f"{name} {machine.number}")

    def is_to(self, fault: str) -> bool:
        return self.machine.faults.get(self.kind) == fault

    async def warm(self) -> None:
        if self.is_to("warm raises"):
            raise RuntimeError("not well")

    def adopt(self, old: Any) -> None:
        if self.is_to("adopt raises"):
            raise RuntimeError("cannot adopt")

    async def aclose(self) -> None:
        super().close()
        if self.is_to("close raises"):
            raise RuntimeError("cannot close")


class Pool(Fragile):
    url: str
    pool: int

    async def update(self, pool: int) -> None:
        self.pool = pool
        if self.is_to("update raises") and pool != self.machine.applied.database.pool:
            raise RuntimeError("cannot update")


class Listener(Fragile):
    port: int
    level: str


class Driver(Fragile):
    pool: Pool
    url: str


class Reader(Fragile):
    listener: Listener


class Changes(RuleBasedStateMachine):
    leases = Bundle("leases")

    @initialize(first=wanted)
    def start(self, first: Settings) -> None:
        self.loop = asyncio.new_event_loop()
        self.world, self.number = World(), 0
        self.faults: dict[str, str] = {}
        self.change: asyncio.Task[Outcome] | None = None
        self.cancel_in: str | None = None
        self.applied, self.before = first, None
        self.runtime = Runtime(Settings, limits=Limits(drain_s=30))
        self.held: dict[Lease[Any], tuple[Context, Snapshot[Settings]]] = {}
        self._declare()
        self.loop.run_until_complete(self.runtime.start(settings=first))

    def _declare(self) -> None:
        runtime = self.runtime

        async def begin(name: str) -> None:
            if self.faults.get(name) == "build raises":
                raise RuntimeError("cannot build")
            if name == self.cancel_in:
                assert self.change is not None
                self.change.cancel()
                await asyncio.Event().wait()

        shared: Any = {
            "adopt": Fragile.adopt,
            "warm": Fragile.warm,
            "close": Fragile.aclose,
        }

        @runtime.resource(name="pool", update=Pool.update, **shared)
        async def pool(
            url: Annotated[str, Setting("database.url")], pool: Annotated[int, Setting("database.pool")]
        ) -> Pool:
            await begin("pool")
            made = Pool(self, "pool")
            made.url, made.pool = url, pool
            return made

        @runtime.resource(name="driver", per="backends", **shared)
        async def driver(
            key: Annotated[str, EachKey()], backend: Annotated[Backend, Each()], pool: Pool
        ) -> Driver:
            await begin(f"driver {key}")
            made = Driver(self, f"driver {key}")
            made.pool, made.url = pool, backend.url
            return made

        @runtime.resource(
            name="listener", exclusive="port:{port}", quiesce=Quiesce(drain_s=0.01, wait_s=0.01), **shared
        )
        async def listener(
            port: Annotated[int, Setting("port")], level: Annotated[str, Setting("level")]
        ) -> Listener:
            await begin("listener")
            others = [each for each in self.open_listeners if each.is_open and each.port == port]
            assert not others, "two have the port"
            made = Listener(self, "listener")
            made.port, made.level = port, level
            self.open_listeners.append(made)
            return made

        @runtime.resource(name="reader", **shared)
        async def reader(listener: Listener) -> Reader:
            await begin("reader")
            made = Reader(self, "reader")
            made.listener = listener
            return made

        self.open_listeners: list[Listener] = []

    @rule(new=wanted, faults=faults, cancel_in=st.sampled_from([None, None, *BUILDS]))
    def reload(self, new: Settings, faults: dict[str, str], cancel_in: str | None) -> None:
        self._change(new, faults, cancel_in, self.runtime.reload(new))

    @rule(faults=faults)
    def roll_back(self, faults: dict[str, str]) -> None:
        if self.before is not None:
            self._change(self.before, faults, None, self.runtime.rollback())

    def _change(self, new: Settings, faults: dict[str, str], cancel_in: str | None, change: Any) -> None:
        generation, self.faults, self.cancel_in = self.runtime.generation, faults, cancel_in
        self.change = self.loop.create_task(change)
        self.loop.run_until_complete(asyncio.wait({self.change}))
        outcome: Outcome | None = None if self.change.cancelled() else self.change.result()
        self.faults, self.cancel_in = {}, None
        if outcome is not None and outcome.status is Status.APPLIED:
            self.applied, self.before = new, self.applied
            assert self.runtime.generation == generation + 1
        else:
            assert self.runtime.generation == generation
        assert self.runtime.settings == self.applied

    @rule(target=leases, what=st.sampled_from([None, "pool", "reader"]))
    def take(self, what: str | None) -> Lease[Any]:
        lease = self.runtime.lease() if what is None else self.runtime.lease(what)
        context = Context()
        try:
            context.run(lease.__enter__)
        except Exception:  # noqa: BLE001 - the listener could not be opened again: it is missing until the next change
            return lease
        assert lease.generation is not None
        self.held[lease] = (context, lease.generation)
        return lease

    @rule(lease=consumes(leases))
    def give_back(self, lease: Lease[Any]) -> None:
        if lease in self.held:
            context, generation = self.held.pop(lease)
            assert lease.generation is generation
            context.run(lease.__exit__, None, None, None)

    @rule()
    def let_it_drain(self) -> None:
        if not self.held:
            self.loop.run_until_complete(asyncio.wait_for(self.runtime.drained(), 5))

    @invariant()
    def what_is_held_is_open_and_of_one_generation(self) -> None:
        for lease, (_, generation) in getattr(self, "held", {}).items():
            assert lease.generation is generation
            for (name, key), instance in generation.instances.items():
                if lease.id is None or lease.id == (name, key) or name == "pool":
                    assert instance.object.is_open
                if name == "driver":
                    assert instance.object.pool is generation.instances["pool", None].object
                    assert instance.object.url == generation.settings.backends[str(key)].url

    @invariant()
    def the_current_generation_is_what_its_settings_say(self) -> None:
        current = self.runtime.leases.current if hasattr(self, "runtime") else None
        if current is None:
            return
        found = {name: instance.object for (name, key), instance in current.instances.items() if key is None}
        assert all(each.is_open for each in found.values())
        assert {key for name, key in current.instances if name == "driver"} == set(self.applied.backends)
        assert found["pool"].url == self.applied.database.url
        if "listener" in found:
            assert (found["listener"].port, found["listener"].level) == (
                self.applied.port,
                self.applied.level,
            )
        assert self.runtime.leases.gate is None

    def teardown(self) -> None:
        if not hasattr(self, "runtime"):
            return
        for lease, (context, _) in self.held.items():
            context.run(lease.__exit__, None, None, None)
        self.loop.run_until_complete(self.runtime.stop())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        assert self.world.closed == self.world.opened
        assert set(self.world.closed.values()) <= {1}


TestChanges = Changes.TestCase
TestChanges.settings = profile(max_examples=60, stateful_step_count=20, deadline=None)
