"""What is offered is published, or counted: nothing disappears without a number."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest
from tests.agent.ground import DEADLINE_S, Kept

from hitless.agent.definition import Retry
from hitless.agent.publishers.outlet import Outlet
from hitless.agent.publishers.shared import SharedPublisher
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.sample import Sample

New = Callable[..., Outlet]


def samples(count: int, first: int = 0) -> list[Sample]:
    return [Sample("m", float(number), "x", "r", 0.0) for number in range(first, first + count)]


@pytest.fixture
def kept() -> Kept:
    return Kept(PublisherUrl.parse("kept://x"))


@pytest.fixture
def counts() -> Counter[str]:
    return Counter()


@pytest.fixture
async def new(kept: Kept, counts: Counter[str]) -> AsyncIterator[New]:
    shared = SharedPublisher(kept, "kept")

    def new(
        buffer: int = 100, batch_size: int = 10, attempts: int = 3, flush_s: float = DEADLINE_S
    ) -> Outlet:
        retry = Retry(attempts=attempts, first=0.001, longest=0.002)
        return Outlet(
            shared.publish,
            counts,
            name="kept",
            buffer=buffer,
            batch_size=batch_size,
            retry=retry,
            flush_s=flush_s,
        )

    yield new
    kept.gate.set()


async def test_samples_are_published_in_order_and_in_batches(
    new: New, kept: Kept, counts: Counter[str]
) -> None:
    outlet = new()
    outlet.offer(samples(25))
    await outlet.aclose()
    assert [each.volume for each in kept.samples] == [float(number) for number in range(25)]
    assert kept.batches == [10, 10, 5]
    assert counts == Counter(offered=25, published=25)


async def test_a_full_buffer_drops_the_oldest_and_counts_them(
    new: New, kept: Kept, counts: Counter[str]
) -> None:
    outlet = new(buffer=5)
    outlet.offer(samples(12))
    await outlet.aclose()
    assert [each.volume for each in kept.samples] == [7.0, 8.0, 9.0, 10.0, 11.0]
    assert counts == Counter(offered=12, dropped=7, published=5)


async def test_offering_never_waits_for_a_publisher_that_does_not_answer(new: New, kept: Kept) -> None:
    kept.gate.clear()
    outlet = new(buffer=1000)
    for number in range(100):
        outlet.offer(samples(1, number))
        await asyncio.sleep(0)
    assert kept.samples == []
    kept.gate.set()
    await outlet.aclose()
    assert len(kept.samples) == 100


async def test_what_a_publisher_refuses_is_tried_again_in_the_same_order(
    new: New, kept: Kept, counts: Counter[str]
) -> None:
    kept.refusals = 2
    outlet = new()
    outlet.offer(samples(15))
    await outlet.aclose()
    assert [each.volume for each in kept.samples] == [float(number) for number in range(15)]
    assert counts == Counter(offered=15, published=15)


async def test_what_is_refused_too_often_is_counted_and_the_next_goes_on(
    new: New, kept: Kept, counts: Counter[str]
) -> None:
    kept.refusals = 3
    outlet = new()
    outlet.offer(samples(15))
    await outlet.aclose()
    assert [each.volume for each in kept.samples] == [10.0, 11.0, 12.0, 13.0, 14.0]
    assert counts == Counter(offered=15, failed=10, published=5)


async def test_closing_ends_even_if_the_publisher_hangs_and_says_what_is_lost(
    new: New, kept: Kept, counts: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    kept.gate.clear()
    outlet = new(flush_s=0.2)
    outlet.offer(samples(15))
    async with asyncio.timeout(DEADLINE_S):
        await outlet.aclose()
    assert counts == Counter(offered=15, failed=15)
    assert "15 are lost" in caplog.text
