"""Threads and tasks that lease without a pause see one generation each, through every change, good or bad."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated

import pytest
from tests.live.models import Backend, Database, Settings, Thing, World

from hitless.change import Status
from hitless.live import Each, EachKey, Limits, Runtime, Setting

THREADS, TASKS = 8, 200
SWITCH_S = 0.0002
KEYS = ("a", "b", "c", "d")


class Pool(Thing):
    url: str


class Driver(Thing):
    url: str
    pool: Pool


async def many_users(changes: int, seconds: float, seed: int) -> Counter[str]:
    """Lease in threads and tasks until the changes are made, or the time is over; how often what happened."""
    chosen, world = random.Random(seed), World()
    lock = threading.Lock()
    runtime = Runtime(Settings, limits=Limits(drain_s=60))
    number = iter(range(10**9))

    @runtime.resource
    async def pool(url: Annotated[str, Setting("database.url")]) -> AsyncIterator[Pool]:
        made = Pool(world, f"pool {next(number)}")
        made.url = url
        yield made
        with lock:
            made.close()

    @runtime.resource(per="backends")
    async def driver(
        key: Annotated[str, EachKey()], backend: Annotated[Backend, Each()], pool: Pool
    ) -> AsyncIterator[Driver]:
        if backend.url == "bad":
            raise ConnectionError("bad")
        made = Driver(world, f"driver {key} {next(number)}")
        made.url, made.pool = backend.url, pool
        yield made
        with lock:
            made.close()

    def wanted() -> Settings:
        urls = [str(chosen.randint(0, 3)) for _ in KEYS]
        if chosen.random() < 0.2:
            urls[chosen.randrange(4)] = "bad"
        backends = {key: Backend(url=url) for key, url in zip(KEYS, urls, strict=True)}
        return Settings(backends=backends, database=Database(url=str(chosen.randint(0, 9))))

    found: Counter[str] = Counter()
    errors: list[BaseException] = []
    is_over = threading.Event()

    def look(driver: Driver, key: str) -> None:
        seen = runtime.settings
        assert driver.use()
        assert driver.pool.use()
        assert driver.url == seen.backends[key].url
        assert driver.pool.url == seen.database.url

    def in_thread() -> None:
        count = 0
        try:
            while not is_over.is_set():
                key = KEYS[count % 4]
                with runtime.lease(Driver, key=key) as driver:
                    look(driver, key)
                    with runtime.lease(Pool) as pool:
                        assert pool is driver.pool
                count += 1
        except BaseException as error:  # noqa: BLE001 - told by the test
            errors.append(error)
        with lock:
            found["in threads"] += count

    async def in_task(place: int) -> None:
        while not is_over.is_set():
            key = KEYS[place % 4]
            async with runtime.lease(Driver, key=key) as driver:
                look(driver, key)
                await asyncio.sleep(0)
                async with runtime.lease(Pool) as pool:
                    assert pool is driver.pool
                look(driver, key)
            found["in tasks"] += 1

    # Threads that never wait hold the interpreter for this long each, and the loop stands behind all of them; and the
    # shorter it is, the more often they meet half-way.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    first = wanted().model_copy(update={"backends": {key: Backend() for key in KEYS}})
    threads = [threading.Thread(target=in_thread) for _ in range(THREADS)]
    try:
        await runtime.start(settings=first)
        for thread in threads:
            thread.start()
        async with asyncio.TaskGroup() as group:
            for place in range(TASKS):
                group.create_task(in_task(place))
            end = time.monotonic() + seconds
            while found["changes"] < changes and time.monotonic() < end and not errors:
                outcome = await (runtime.rollback() if chosen.random() < 0.1 else runtime.reload(wanted()))
                assert outcome.status in (Status.APPLIED, Status.REJECTED, Status.UNCHANGED), outcome
                found["changes"] += 1
                found[outcome.status.value] += 1
            is_over.set()
    finally:
        is_over.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            if thread.ident is not None:
                await asyncio.to_thread(thread.join)
    assert not errors, errors
    await runtime.stop()
    assert world.opened == world.closed
    assert set(world.closed.values()) == {1}
    return found


async def test_eight_threads_and_two_hundred_tasks_lease_through_changes() -> None:
    found = await many_users(changes=40, seconds=8, seed=1)
    assert found["applied"]
    assert found["rejected"]
    assert found["in threads"] > THREADS
    assert found["in tasks"] > TASKS


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a_thousand_changes_lose_nothing() -> None:
    found = await many_users(changes=1000, seconds=3300, seed=2)
    assert found["changes"] == 1000
    print(dict(found))
