"""How a piece of foreign work ended: well, or with a reason in words. Watching it never raises and always ends."""

from __future__ import annotations

import asyncio
import errno
import logging
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from hitless.change.deadline import Deadline, DeadlinePassed
from hitless.change.outcome import Refused

log = logging.getLogger(__name__)

T = TypeVar("T")

OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})
CANCEL_GRACE_S: Final = 5.0
"""How long cancelled work may take to end; after it, it is left behind."""


@dataclass(frozen=True, slots=True)
class Ended(Generic[T]):
    failure: Refused | None
    """None if the work did what it should."""
    result: T | None
    """What it returned, even if too late; None if it did not return."""
    seconds: float


async def the_end_of(task: asyncio.Task[T], deadline: Deadline, what: str) -> Ended[T]:
    """Wait until `task` is done, and no longer than the deadline: then it is cancelled.

    A cancellation of the waiting task is swallowed: the caller has things to put back into order. `what` is
    for the message: "the commit did not end".
    """
    began = time.monotonic()
    failure: Refused | None
    if not await in_time(task, deadline):
        task.cancel()
        await in_time(task, Deadline.after(CANCEL_GRACE_S))
        failure = Refused("deadline_passed", str(DeadlinePassed(what, deadline.seconds)))
    else:
        failure = _failure(task)
    if not task.done():
        log.error("%s, and it does not let itself be cancelled; it is left behind", what)
    returned = task.done() and not task.cancelled() and task.exception() is None
    return Ended(failure, task.result() if returned else None, time.monotonic() - began)


async def in_time(future: asyncio.Future[T], deadline: Deadline) -> bool:
    """Wait for `future` until the deadline, however often the waiting task is cancelled; whether it is done."""
    while not future.done() and not deadline.expired:
        with suppress(asyncio.CancelledError):
            await asyncio.wait({future}, timeout=deadline.remaining())
    return future.done()


def _failure(task: asyncio.Task[T]) -> Refused | None:
    if task.cancelled():
        return Refused("cancelled", "it was cancelled before the change was committed")
    error = task.exception()
    return None if error is None else to_refusal(error)


def to_refusal(error: BaseException) -> Refused:
    """The reason that an exception stands for; one that nobody foresaw is an internal error with its traceback."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, DeadlinePassed):
        return Refused("deadline_passed", str(error))
    if is_out_of_descriptors(error):
        return Refused(
            "descriptors_exhausted",
            f"there are no file descriptors left ({error}); raise the limit (LimitNOFILE=, ulimit -n) and try again",
        )
    message = f"unexpected {type(error).__name__}: {error}"
    return Refused("internal_error", message, "".join(traceback.format_exception(error)))


def is_out_of_descriptors(error: BaseException) -> bool:
    """Whether nothing was wrong but that this process, or this machine, may open no more files at this moment."""
    return isinstance(error, OSError) and error.errno in OUT_OF_DESCRIPTORS
