"""Code that is not ours, under a deadline: how it ended, in words. It may hang, raise, and not let itself be cancelled."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from hitless.change import Deadline, DeadlinePassed, Refused
from hitless.change.ending import CANCEL_GRACE_S, in_time, to_refusal
from hitless.change.threads import exit_refused, in_thread

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ended(Generic[T]):
    failure: Refused | None
    """None if it did what it should."""
    result: T | None
    """What it returned, even if too late; None if it did not return."""
    left_behind: asyncio.Task[T] | None = None
    """The task, if it goes on all the same."""


async def watched(work: Coroutine[Any, Any, T], deadline: Deadline, what: str) -> Ended[T]:
    """Wait for the end of `work`, no longer than the deadline: then it is cancelled, and so it is if this task is.

    A cancellation of this task is swallowed, and told as a failure: the caller has things to put back into order.
    `what` is for the message: "driver was not built".
    """
    task = asyncio.ensure_future(work)
    is_cancelled = False
    try:
        await asyncio.wait({task}, timeout=deadline.remaining())
    except asyncio.CancelledError:
        is_cancelled = True
    is_late = not task.done()
    if is_late:
        task.cancel()
        await in_time(task, Deadline.after(CANCEL_GRACE_S))
    if not task.done():
        return Ended(_given_up(is_cancelled, what, deadline), None, task)
    error = None if task.cancelled() else task.exception()
    result = None if task.cancelled() or error is not None else task.result()
    if is_cancelled or is_late:
        return Ended(_given_up(is_cancelled, what, deadline), result)
    if task.cancelled():
        return Ended(Refused("cancelled", "it was cancelled"), None)
    return Ended(None if error is None else _failed(error), result)


def _given_up(is_cancelled: bool, what: str, deadline: Deadline) -> Refused:
    if is_cancelled:
        return Refused("cancelled", f"{what}: it was cancelled")
    return Refused("deadline_passed", str(DeadlinePassed(what, deadline.seconds)))


def _failed(error: BaseException) -> Refused:
    """That foreign code raises is to be expected, other than of our own."""
    refusal = to_refusal(error)
    return Refused(
        refusal.reason, refusal.message.removeprefix("unexpected "), refusal.detail, invalid=refusal.invalid
    )


async def called(
    function: Callable[..., object],
    *given: object,
    name: str,
    over: Callable[[], None] = lambda: None,
    **named: object,
) -> object:
    """Call foreign code: a coroutine function on the loop, anything else in a thread. `over` is called when it has ended,
    which may be long after this was cancelled.
    """
    if inspect.iscoroutinefunction(function):
        try:
            return await contained(function(*given, **named))
        finally:
            over()
    result = await in_thread(partial(function, *given, **named), name, late=_unwanted, over=over)
    return await contained(result) if inspect.isawaitable(result) else result


async def contained(work: Awaitable[T]) -> T:
    """The result of foreign work that must not end the event loop.

    Raises:
        Refused: it has called `sys.exit`.
    """
    try:
        return await work
    except SystemExit as error:
        raise exit_refused(error) from error


def _unwanted(result: object) -> None:
    """Nobody waits any more for what a function returned: a coroutine that is not run would warn."""
    if inspect.iscoroutine(result):
        result.close()
