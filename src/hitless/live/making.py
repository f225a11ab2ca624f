"""Runs the code of resources: builds, warms, updates, adopts and closes one, each under its deadline.

Sync code runs in threads. An async generator runs in one task from its build to its close, so that it may hold task groups,
timeouts and cancel scopes across its yield. Whatever comes too late is closed when it comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from hitless.change import Deadline, Refused
from hitless.change.threads import in_thread
from hitless.live.declaration import Declaration, Style
from hitless.live.foreign import called, contained, watched

log = logging.getLogger(__name__)

T = TypeVar("T")

TWICE: Final = "it yielded a second time; a resource yields once"
NOTHING: Final = object()


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A resource's object, and how it is closed."""

    object: Any
    end: Callable[[Callable[[], None]], Awaitable[object]]
    """Closes it; what it is given is called when that has really ended, even if nobody waits any more."""
    keeper: asyncio.Task[None] | None = None
    """The task that an async generator lives in: it ends early if something in it failed."""

    @property
    def failure(self) -> BaseException | None:
        """What has ended it before its close."""
        keeper = self.keeper
        if keeper is None or not keeper.done():
            return None
        return asyncio.CancelledError("it was cancelled") if keeper.cancelled() else keeper.exception()


class Stragglers:
    """Tasks that nobody waits for, kept so that they are not collected half-way."""

    def __init__(self) -> None:
        self._tasks: Final[set[asyncio.Future[Any]]] = set()

    def add(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("what was left behind failed: %s", error, exc_info=error)

    async def settled(self, deadline: Deadline) -> None:
        """Wait for those that there are, no longer than the deadline."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=deadline.remaining())


class Maker:
    """Runs the code of resources and says in words what went wrong."""

    def __init__(self, stragglers: Stragglers) -> None:
        self._stragglers: Final = stragglers

    async def build(self, declaration: Declaration, inputs: Mapping[str, Any], label: str) -> Made:
        """The object, built.

        Raises:
            Refused: it could not be built in time; nothing is left of it.
        """
        begin = partial(_begin, declaration, inputs, f"build {label}", self._too_late)
        seconds = declaration.timeouts.build_s
        ended = await self._ended(begin(), Deadline.after(seconds), f"{label} was not built")
        if ended[0] is None:
            assert ended[1] is not None
            return ended[1]
        if ended[1] is not None:
            self._too_late(ended[1])
        raise _refused("build_failed", f"{label} could not be built", declaration, ended[0])

    async def warm(self, declaration: Declaration, made: Made, label: str) -> None:
        """Ask whether the object is healthy.

        Raises:
            Refused: it is not, or did not say so in time.
        """
        if declaration.warm is None:
            return
        deadline = Deadline.after(declaration.timeouts.warm_s)
        failure, answer = await self._ended(
            called(declaration.warm, made.object, name=f"warm {label}"),
            deadline,
            f"{label} did not become healthy",
        )
        if failure is not None:
            raise _refused("unhealthy", f"{label} is not healthy", declaration, failure)
        if answer is False:
            raise Refused("unhealthy", f"{label} is not healthy: warm returned False ({declaration.place})")

    async def update(
        self, declaration: Declaration, made: Made, inputs: Mapping[str, Any], label: str
    ) -> None:
        """Give the object new inputs in place. Raises Refused."""
        assert declaration.update is not None
        named = {name: inputs[name] for name in declaration.updatable}
        work = called(declaration.update, made.object, name=f"update {label}", **named)
        failure, _ = await self._ended(
            work, Deadline.after(declaration.timeouts.update_s), f"{label} was not updated"
        )
        if failure is not None:
            raise _refused("update_failed", f"{label} could not be updated", declaration, failure)

    async def adopt(self, declaration: Declaration, made: Made, old: Made, label: str) -> None:
        """Let the new object take over what it wants of the old one. Raises Refused."""
        assert declaration.adopt is not None
        work = called(declaration.adopt, made.object, old.object, name=f"adopt {label}")
        failure, _ = await self._ended(
            work, Deadline.after(declaration.timeouts.update_s), f"{label} did not adopt"
        )
        if failure is not None:
            raise _refused(
                "adopt_failed", f"{label} could not adopt the old one's state", declaration, failure
            )

    async def close(
        self, declaration: Declaration, made: Made, label: str, over: Callable[[], None]
    ) -> Refused | None:
        """Close the object; what went wrong with that, if something did. `over` is called when the close has ended, even if
        it was given up before.
        """
        deadline = Deadline.after(declaration.timeouts.close_s)
        failure, _ = await self._ended(_awaited(made.end(over)), deadline, f"{label} was not closed")
        return (
            None
            if failure is None
            else _refused("close_failed", f"{label} was not closed well", declaration, failure)
        )

    async def _ended(
        self, work: Coroutine[Any, Any, T], deadline: Deadline, what: str
    ) -> tuple[Refused | None, T | None]:
        """What went wrong, and what came of it."""
        ended = await watched(work, deadline, what)
        if ended.left_behind is not None:
            log.error("%s, and it does not let itself be cancelled; it is left behind", what)
            ended.left_behind.add_done_callback(self._took_too_long)
        return ended.failure, ended.result

    def _took_too_long(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._too_late(task.result())

    def _too_late(self, result: object) -> None:
        if isinstance(result, Made):
            self._stragglers.add(_awaited(result.end(_ignore)))


async def _begin(
    declaration: Declaration, inputs: Mapping[str, Any], name: str, late: Callable[[Made], None]
) -> Made:
    make, close = partial(declaration.maker, **inputs), declaration.close
    match declaration.style:
        case Style.PLAIN:
            return await in_thread(lambda: _made(make(), close), name, late=late)
        case Style.COROUTINE:
            return _made(await contained(make()), close)
        case Style.GENERATOR:
            return await in_thread(lambda: _first(make()), name, late=late)
        case Style.ASYNC_GENERATOR:
            return await _kept(make())


def _made(object: Any, close: Callable[[Any], object] | None) -> Made:  # noqa: A002
    if close is None:
        return Made(object, _nothing)
    return Made(object, lambda over: called(close, object, name="close", over=over))


def _first(generator: Generator[Any, None, None]) -> Made:
    def finish() -> None:
        if next(generator, NOTHING) is not NOTHING:
            generator.close()
            raise RuntimeError(TWICE)

    return Made(_next(generator), lambda over: in_thread(finish, "close", over=over))


def _next(generator: Generator[Any, None, None]) -> Any:
    found = next(generator, NOTHING)
    if found is NOTHING:
        raise RuntimeError("it ended without a yield; a resource yields its object")
    return found


async def _kept(generator: AsyncGenerator[Any, None]) -> Made:
    """Runs the generator in a task that lives as long as the resource."""
    ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    closing = asyncio.Event()
    keeper = asyncio.ensure_future(contained(_keep(generator, ready, closing)))
    try:
        await asyncio.wait({ready, keeper}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        if not ready.done():
            keeper.cancel()
            await asyncio.wait({keeper})
            raise
    if not ready.done():
        await keeper
        raise RuntimeError("it ended without a yield; a resource yields its object")

    async def end(over: Callable[[], None]) -> None:
        try:
            if not keeper.done():  # else it has failed, which was told
                closing.set()
                await keeper
        finally:
            over()

    return Made(ready.result(), end, keeper)


async def _keep(
    generator: AsyncGenerator[Any, None], ready: asyncio.Future[Any], closing: asyncio.Event
) -> None:
    async with aclosing(generator):
        async for found in generator:
            if closing.is_set():
                raise RuntimeError(TWICE)
            ready.set_result(found)
            try:
                await closing.wait()
            except asyncio.CancelledError as cancelled:
                # To where it waits, as if it did itself: a task group in it has cancelled this task to tell that it failed.
                with suppress(StopAsyncIteration):
                    await generator.athrow(cancelled)
                raise


async def _awaited(work: Awaitable[T]) -> T:
    return await work


async def _nothing(over: Callable[[], None]) -> None:
    """The close of a resource that has none."""
    over()


def _ignore() -> None:
    """Nobody waits for it."""


def _refused(reason: str, what: str, declaration: Declaration, failure: Refused) -> Refused:
    """The failure with who it was; what foreign code refused with words of its own keeps them."""
    if failure.reason == "deadline_passed":
        return Refused("deadline_passed", f"{failure.message} ({declaration.place})", failure.detail)
    if failure.reason not in ("internal_error", "cancelled"):
        return failure
    return Refused(reason, f"{what}: {failure.message} ({declaration.place})", failure.detail)
