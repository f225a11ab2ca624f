"""From messages to publishers: parse, convert in a thread, publish through the pipelines of one generation.

A batch that a publisher does not take is tried again for as long as it takes: through the pipelines that are in force by then, so
that a change may mend it. Nothing else is taken from the broker meanwhile. But what a publisher refuses while it takes what stands
beside it is put aside: one bad message must not hold up the others for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, Protocol

from hitless.agent.event import Event
from hitless.agent.notifications.broker import Received
from hitless.agent.notifications.converter import Converted, Converter
from hitless.agent.notifications.endpoint import EndpointFailed
from hitless.agent.notifications.notification import Unparsable, parse
from hitless.agent.notifications.spec import ListenerSpec
from hitless.agent.notifications.verdict import Dead, Reason, Verdict
from hitless.agent.publishers.receipt import NotTaken
from hitless.agent.sample import Sample
from hitless.change.threads import in_thread

log = logging.getLogger(__name__)

AGAIN_FIRST_S: Final = 0.05
"""Before a message that an endpoint did not understand is tried again; twice as long each time."""
RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 30.0
"""Before a batch that was not taken is published again."""


class Pipelines(Protocol):
    """One generation, as a listener sees it."""

    @property
    def converter(self) -> Converter: ...

    @property
    def room(self) -> int:
        """How many samples or events can wait in the smallest buffer."""

    async def publish(self, samples: Sequence[Sample]) -> None:
        """Raises NotTaken."""

    async def publish_events(self, events: Sequence[Event]) -> None:
        """Raises NotTaken."""


Enter = Callable[[], AbstractAsyncContextManager[Pipelines]]


class Delivery:
    """A `Take`. Owned by the event loop."""

    def __init__(self, enter: Enter, spec: ListenerSpec, counts: Counter[str]) -> None:
        self._enter: Final = enter
        self._spec: Final = spec
        self._counts: Final = counts
        self.trouble: str | None = None
        """Why the batch in hand has not been taken yet."""
        self._changed: Final = asyncio.Event()
        self._failures = 0
        self._wait_s = RETRY_FIRST_S

    def hurry(self) -> None:
        """Other pipelines are in force: do not wait to try them."""
        self._changed.set()

    async def __call__(self, batch: Sequence[Received]) -> Sequence[Verdict]:
        """Raises NotTaken: all of the batch is refused, each by itself; beside others it can be told whose fault that is."""
        while True:
            try:
                return self._taken(await self._once(batch))
            except NotTaken as error:
                await self._refused(error)
            if self._failures >= self._spec.attempts:
                depth = self._failures - self._spec.attempts + 2
                if (verdicts := await self._apart(batch, depth)) is not None:
                    return self._taken(verdicts)
                if depth >= len(batch):
                    raise NotTaken(f"none of {len(batch)} messages is taken")

    def _taken(self, verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
        self._failures, self._wait_s, self.trouble = 0, RETRY_FIRST_S, None
        return verdicts

    async def _refused(self, error: NotTaken) -> None:
        self._counts["not_taken"] += 1
        self._failures += 1
        self.trouble = str(error)
        log.warning("%s: %s; trying again in %g s", self._spec.key, error, self._wait_s)
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wait_s):
                await self._changed.wait()
        self._wait_s = min(2 * self._wait_s, RETRY_LONGEST_S)

    async def _apart(self, batch: Sequence[Received], depth: int) -> Sequence[Verdict] | None:
        """One by one, in order, to find those that a publisher refuses while it takes others: they are put aside.

        None: of the first `depth` nothing was taken, as when a publisher is down. The depth grows with each attempt, for
        several bad ones may stand at the beginning.
        """
        verdicts: list[Verdict] = []
        refused: list[int] = []
        for at, message in enumerate(batch):
            try:
                verdicts += await self._once([message])
            except NotTaken as error:
                refused.append(at)
                verdicts.append(Dead(Reason.NOT_TAKEN, str(error), self._failures))
                if len(refused) > at and at + 1 >= min(depth, len(batch)):
                    return None
        for at in refused:  # once more, now that others are taken: the publisher may just have come back
            with suppress(NotTaken):
                (verdicts[at],) = await self._once([batch[at]])
        return verdicts

    async def _once(self, batch: Sequence[Received]) -> Sequence[Verdict]:
        async with self._enter() as pipelines:
            conversion = _Conversion(pipelines.converter, batch)
            await self._convert(conversion)
            made = [each for each in conversion.results if isinstance(each, Converted)]
            samples = [sample for each in made for sample in each.samples]
            events = [event for each in made for event in each.events]
            # Not more at once than can wait: what is dropped for want of room would be for ever.
            for begin in range(0, len(samples), pipelines.room):
                await pipelines.publish(samples[begin : begin + pipelines.room])
            for begin in range(0, len(events), pipelines.room):
                await pipelines.publish_events(events[begin : begin + pipelines.room])
        self._counts["samples"] += len(samples)
        self._counts["events"] += len(events)
        return [each if isinstance(each, Dead) else None for each in conversion.results]

    async def _convert(self, conversion: _Conversion) -> None:
        for attempt in range(1, self._spec.attempts + 1):
            if attempt > 1:
                await asyncio.sleep(AGAIN_FIRST_S * 2 ** (attempt - 2))
            await self._pass(conversion, attempt)
            if not conversion.failed:
                return
        conversion.give_up(self._spec.attempts)

    async def _pass(self, conversion: _Conversion, attempt: int) -> None:
        """Once over what has no result; a message in which an endpoint hangs is put aside."""
        while (work := conversion.work(attempt)) is not None:
            thread = asyncio.ensure_future(in_thread(work.run, "convert notifications"))
            at = -1
            while at != work.at:
                at = work.at
                done, _ = await asyncio.wait({thread}, timeout=self._spec.endpoint_timeout)
                if done:
                    thread.result()
                    return
            thread.add_done_callback(lambda each: each.cancelled() or each.exception())
            work.abandon(self._spec.endpoint_timeout)


class _Conversion:
    """The results of one batch, by its messages."""

    def __init__(self, converter: Converter, batch: Sequence[Received]) -> None:
        self.converter: Final = converter
        self.batch: Final = batch
        self.results: Final[list[Converted | Dead | EndpointFailed | None]] = [None] * len(batch)

    @property
    def failed(self) -> list[int]:
        return [at for at, each in enumerate(self.results) if isinstance(each, EndpointFailed)]

    def work(self, attempt: int) -> _Work | None:
        """What there is to do in this attempt; None if nothing."""
        todo = self.failed if attempt > 1 else [at for at, each in enumerate(self.results) if each is None]
        return _Work(self, todo) if todo else None

    def give_up(self, attempts: int) -> None:
        for at in self.failed:
            self.results[at] = Dead(Reason.ENDPOINT_FAILED, str(self.results[at]), attempts)


class _Work:
    """Runs in a thread, which may be left to itself: then what it still finds is of no interest."""

    def __init__(self, conversion: _Conversion, todo: Sequence[int]) -> None:
        self._conversion: Final = conversion
        self._todo: Final = todo
        self._is_abandoned = False
        self.at = todo[0]

    def run(self) -> None:
        conversion = self._conversion
        for at in self._todo:
            self.at = at
            result = _converted(conversion.converter, conversion.batch[at])
            if self._is_abandoned:
                return
            conversion.results[at] = result

    def abandon(self, after_s: float) -> None:
        self._is_abandoned = True
        self._conversion.results[self.at] = Dead(
            Reason.ENDPOINT_HANGS, f"an endpoint has not ended after {after_s:g} s"
        )


def _converted(converter: Converter, message: Received) -> Converted | Dead | EndpointFailed:
    try:
        return converter.convert(parse(message.body))
    except Unparsable as error:
        return Dead(Reason.UNPARSABLE, str(error))
    except EndpointFailed as error:
        return error
