"""With a buffer on disk nothing that was offered is lost: not in an outage, not by a kill, not when there is no memory left."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.agent.ground import DEADLINE_S, Ground, Kept, running
from tests.agent.receivers import receiving
from tests.agent.test_formats import written
from tests.agent.test_outlets import samples
from tests.servers.ports import free_port

from hitless.agent.definition import Disk, Retry, WhenFull
from hitless.agent.event import Event
from hitless.agent.publishers.encoding import (
    decoded_event,
    decoded_sample,
    encoded_event,
    encoded_sample,
)
from hitless.agent.publishers.failures import Rejected
from hitless.agent.publishers.receipt import Receipt
from hitless.agent.publishers.shared import SharedPublisher
from hitless.agent.publishers.spool import Spool
from hitless.agent.publishers.spooled import SpooledOutlet
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.reading import read
from hitless.agent.sample import Sample
from hitless.change import Status
from hitless.config import ConfigError

New = Callable[..., Awaitable[SpooledOutlet[Sample]]]


@pytest.fixture
def kept() -> Kept:
    return Kept(PublisherUrl.parse("kept://x"))


@pytest.fixture
def counts() -> Counter[str]:
    return Counter()


@pytest.fixture
def new(kept: Kept, counts: Counter[str], tmp_path: Path) -> New:
    shared = SharedPublisher(kept, "kept")

    async def new(
        *, buffer: int = 100, when_full: WhenFull = "drop_oldest", size: int = 1 << 30, flush_s: float = 0.2
    ) -> SpooledOutlet[Sample]:
        spool: Spool[Sample] = Spool(
            tmp_path / "disk", size=size, sync="always", encode=encoded_sample, decode=decoded_sample
        )
        return await SpooledOutlet.opened(
            spool,
            shared.publish,
            counts,
            name="kept",
            buffer=buffer,
            batch_size=10,
            retry=Retry(attempts=2, first=0.001, longest=0.002),
            when_full=when_full,
            flush_s=flush_s,
        )

    return new


def volumes(kept: Kept) -> list[float]:
    return [each.volume for each in kept.samples]


def down(kept: Kept) -> None:
    kept.refusals = 1 << 30


def up(kept: Kept) -> None:
    kept.refusals = 0


@pytest.mark.parametrize("when_full", ["drop_oldest", "block", "spill"])
async def test_an_outage_that_is_longer_than_all_retries_loses_nothing_and_keeps_the_order(
    new: New, kept: Kept, counts: Counter[str], when_full: WhenFull
) -> None:
    outlet = await new(when_full=when_full, buffer=20, flush_s=DEADLINE_S)
    down(kept)
    for first in range(0, 300, 10):
        outlet.offer(samples(10, first))
        async with asyncio.timeout(DEADLINE_S):
            await outlet.room()
        await asyncio.sleep(0)
        while outlet._stage:  # noqa: ASYNC110 - a poller has seconds between its ticks
            await asyncio.sleep(0.001)
    assert kept.samples == []
    up(kept)
    await outlet.aclose()
    if outlet.waiting:  # the outage had not ended for it yet
        outlet = await new(when_full=when_full, flush_s=DEADLINE_S)
        await kept.has(300)
        await outlet.aclose()
    assert sorted(volumes(kept)) == [float(number) for number in range(300)]
    if when_full != "spill":
        assert volumes(kept) == sorted(volumes(kept))
    assert counts["dropped"] == counts["failed"] == 0


async def test_what_is_not_published_when_it_closes_is_published_by_the_next(
    new: New, kept: Kept, counts: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    outlet = await new()
    down(kept)
    receipt = Receipt()
    outlet.offer(samples(25), receipt)
    receipt.sent()
    async with asyncio.timeout(DEADLINE_S):
        await receipt.taken()  # it is on disk
        await outlet.aclose()
    assert "25 stay in" in caplog.text
    up(kept)
    after = await new(flush_s=DEADLINE_S)
    await kept.has(25)
    await after.aclose()
    assert volumes(kept) == [float(number) for number in range(25)]
    assert counts == Counter(offered=25, restored=25, published=25)


async def test_a_publisher_that_hangs_while_it_closes_takes_nothing_with_it(new: New, kept: Kept) -> None:
    outlet = await new(when_full="spill", buffer=8)
    kept.gate.clear()
    outlet.offer(samples(5))
    for _ in range(10):
        await asyncio.sleep(0.001)
    outlet.offer(samples(20, 5))
    async with asyncio.timeout(DEADLINE_S):
        await outlet.aclose()
    kept.gate.set()
    after = await new(flush_s=DEADLINE_S)
    await kept.has(25)
    await after.aclose()
    assert set(volumes(kept)) == {float(number) for number in range(25)}


async def test_what_is_refused_for_good_is_counted_and_the_rest_goes_on(
    new: New, kept: Kept, counts: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = kept.publish

    def picky(batch: list[Sample]) -> None:
        if batch[0].volume == 0:
            raise Rejected("400")
        publish(batch)

    monkeypatch.setattr(kept, "publish", picky)
    outlet = await new(flush_s=DEADLINE_S)
    outlet.offer(samples(25))
    await outlet.aclose()
    assert volumes(kept) == [float(number) for number in range(10, 25)]
    assert counts == Counter(offered=25, failed=10, published=15)


async def test_a_full_disk_buffer_blocks_who_offers_and_drops_nothing(
    new: New, kept: Kept, counts: Counter[str]
) -> None:
    outlet = await new(when_full="block", buffer=10, size=1, flush_s=DEADLINE_S)
    kept.gate.clear()

    async def offer() -> None:
        for first in range(0, 60, 10):
            outlet.offer(samples(10, first))
            await outlet.room()

    offering = asyncio.create_task(offer())
    await asyncio.sleep(0.1)
    assert not offering.done()
    kept.gate.set()
    async with asyncio.timeout(DEADLINE_S):
        await offering
        await outlet.aclose()
    assert volumes(kept) == [float(number) for number in range(60)]
    assert counts["dropped"] == 0


def test_samples_and_events_come_back_from_disk_as_they_were() -> None:
    import json
    from datetime import UTC, datetime

    sample = Sample("m", 1.5, "B", "r", 10.25, "delta", "s", {"a": [1, {"b": None}]}, "p", "u", 3.5)
    assert decoded_sample(json.loads(json.dumps(encoded_sample(sample)))) == sample
    when = datetime(2026, 1, 2, tzinfo=UTC)
    event = Event("1", "a.b", 2.5, {"n": 1, "f": 1.5, "t": "x", "w": when}, {"raw": True})
    assert decoded_event(json.loads(json.dumps(encoded_event(event)))) == event


async def test_a_change_of_bounds_and_a_change_of_publishers_lose_nothing(tmp_path: Path) -> None:
    ground = Ground()
    disk = Disk(path=str(tmp_path / "disk"))
    sinks = {"s": ("kept://a",)}
    agent = ground.agent(running({}, sinks, disk=disk))
    await agent.start()
    kept = ground.one("kept://a")
    down(kept)
    async with asyncio.timeout(DEADLINE_S), agent.enter() as generation:
        await generation.publish(samples(10))
    for changed in (
        running({}, sinks, disk=disk, batch_size=3),
        running({}, {"s": ("kept://a", "kept://b")}, disk=disk),
    ):
        assert (await agent.reload(changed)).status is Status.APPLIED
    up(kept)
    await kept.has(10)
    await agent.stop()
    assert volumes(kept) == [float(number) for number in range(10)]
    assert kept.opened == kept.closed == 1


def test_a_sink_that_spills_must_say_where(tmp_path: Path) -> None:
    text = "sources: []\nsinks:\n  - name: s\n    publishers: [log]\n    when_full: spill\n"
    with pytest.raises(ConfigError, match=r"pipeline\.yaml:5: .*spill needs a place"):
        read([written(tmp_path, text, "pipeline.yaml")])


AGENT = """
import asyncio, sys
from hitless.agent.agent import Agent
from hitless.agent.definition import Definition, Disk, Retry, Route, Sink
from hitless.agent.running import Running
from hitless.agent.sample import Sample

async def main():
    sink = Sink(publishers=(sys.argv[1],), disk=Disk(path=sys.argv[2]), batch_size=7, retry=Retry(first=0.01))
    routes = {"all": Route(names=("*",), sinks=("s",))}
    agent = Agent(Running.of(Definition(samples=routes, sinks={"s": sink})))
    await agent.start()
    number = int(sys.argv[3])
    async with agent.enter() as generation:
        while True:
            await generation.publish([Sample("m", float(number + each), "x", "r", 0.0) for each in range(5)])
            number += 5
            print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.timeout(300)
def test_a_kill_of_the_agent_at_any_instant_loses_nothing_that_it_said_was_taken(tmp_path: Path) -> None:
    """The receiver is away for half of the time."""
    port = free_port()
    url, disk = f"http://127.0.0.1:{port}/", str(tmp_path / "disk")
    said, arrived = 0, set[float]()
    for round_ in range(3):
        with receiving(port) as receiver:
            said = killed(url, disk, said, enough=60 * (round_ + 1))
            arrived |= found(receiver.taken)
        said = killed(url, disk, said, enough=60 * (round_ + 1) + 30)
    with receiving(port) as receiver:
        command = [sys.executable, "-c", AGENT, url, disk, "1000000"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = DEADLINE_S / 0.05
        while not {float(number) for number in range(said)} <= arrived | found(receiver.taken) and deadline:
            deadline -= 1
            signal.sigtimedwait([], 0.05)  # nothing tells this process that a request came in
        process.kill()
        process.wait()
        arrived |= found(receiver.taken)
    assert {float(number) for number in range(said)} - arrived == set()


def killed(url: str, disk: str, first: int, *, enough: int) -> int:
    """How far an agent that was killed in the middle said that it had come."""
    process = subprocess.Popen(
        [sys.executable, "-c", AGENT, url, disk, str(first)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = first
    for line in process.stdout:
        said = int(line)
        if said >= enough:
            os.kill(process.pid, signal.SIGKILL)
            break
    rest = process.stdout.read().split("\n")[:-1]
    process.wait()
    process.stdout.close()
    return int(rest[-1]) if rest else said


def found(requests: list[object]) -> set[float]:
    import json

    return {each["counter_volume"] for request in requests for each in json.loads(request.plain)}  # type: ignore[attr-defined]


def test_events_are_a_thing_of_their_own() -> None:
    assert Event("1", "a", 0.0).name == "a"


async def test_what_cannot_be_written_is_counted_and_holds_up_nothing_beside_it(
    new: New, kept: Kept, counts: Counter[str]
) -> None:
    outlet = await new(flush_s=DEADLINE_S)
    odd: Any = {"of": object()}
    receipts = [Receipt() for _ in range(3)]
    for receipt, batch in zip(
        receipts, (samples(5), [samples(1, 5)[0]._replace(metadata=odd)], samples(5, 6)), strict=True
    ):
        outlet.offer(batch, receipt)
        receipt.sent()
    await kept.has(10)
    outlet.offer(samples(5, 11))
    await outlet.aclose()
    assert volumes(kept) == [float(number) for number in range(16) if number != 5]
    assert counts == Counter(offered=16, failed=1, published=15)
    assert [each.lost for each in receipts] == [0, 1, 0]
    assert all(each.is_done for each in receipts)


async def test_a_buffer_that_cannot_be_understood_is_said_and_stays(
    new: New, kept: Kept, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As that of a later version, after a downgrade."""
    later: Spool[Sample] = Spool(
        tmp_path / "disk",
        size=1 << 30,
        sync="never",
        encode=lambda sample: [*encoded_sample(sample), "new"] * 2,
        decode=decoded_sample,
    )
    later.open()
    later.append(samples(3))
    later.close()
    outlet = await new()
    async with asyncio.timeout(DEADLINE_S):
        while "cannot be read: TypeError" not in caplog.text:  # noqa: ASYNC110 - a log wakes nobody
            await asyncio.sleep(0.001)
    await outlet.aclose()
    assert outlet.waiting == 3
    assert list((tmp_path / "disk").iterdir())
    assert kept.samples == []


async def test_what_was_stored_before_the_disk_was_full_is_not_stored_again(
    new: New, kept: Kept, counts: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    append, calls = Spool.append, []

    def full_at_times(spool: Spool[Sample], items: list[Sample], **more: Any) -> int:
        calls.append(len(items))
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "no space left on device")
        return append(spool, items, **more)

    monkeypatch.setattr(Spool, "append", full_at_times)
    outlet = await new(flush_s=DEADLINE_S)
    outlet.offer(samples(60))
    await kept.has(60)
    await outlet.aclose()
    assert volumes(kept) == [float(number) for number in range(60)]
    assert counts["failed"] == 0


async def test_what_waits_for_room_when_it_closes_is_kept(new: New, kept: Kept, counts: Counter[str]) -> None:
    outlet = await new(when_full="block", buffer=100, size=1)
    kept.gate.clear()
    outlet.offer(samples(40))
    for _ in range(100):
        await asyncio.sleep(0.001)
    async with asyncio.timeout(DEADLINE_S):
        await outlet.aclose()
    kept.gate.set()
    after = await new(flush_s=DEADLINE_S)
    async with asyncio.timeout(DEADLINE_S):
        while set(volumes(kept)) != {float(number) for number in range(40)}:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    await after.aclose()
