"""Foreign code that may block, in threads that can be left behind.

Not in an executor: its threads are joined when the interpreter ends, so one that hangs would keep the program from ending.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from hitless.change.outcome import Refused

T = TypeVar("T")


async def in_thread(
    work: Callable[[], T],
    name: str,
    *,
    late: Callable[[T], None] | None = None,
    over: Callable[[], None] = lambda: None,
) -> T:
    """The result of `work`, run in a thread of its own with this task's context variables.

    Work cannot be broken off. If this task is cancelled, `late` is called with the result when there is one. `over` is called
    when the work has ended, however.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def deliver(result: list[T], error: BaseException | None) -> None:
        over()
        if future.done():
            if late is not None and result:
                late(result[0])
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(result[0])

    def run() -> None:
        result: list[T] = []
        failure: BaseException | None = None
        try:
            result.append(context.run(work))
        except BaseException as error:  # noqa: BLE001 - whatever foreign code raises belongs to who waits for it
            failure = _told(error, name)
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            loop.call_soon_threadsafe(deliver, result, failure)

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except BaseException:  # there can be no more threads
        over()
        raise
    return await future


def _told(error: BaseException, name: str) -> BaseException:
    """The error as a task can pass it on."""
    if isinstance(error, StopIteration):
        return RuntimeError(f"{name} raised StopIteration")
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        return exit_refused(error)
    return error


def exit_refused(error: SystemExit | KeyboardInterrupt) -> Refused:
    """For foreign code that wants to end the process: an event loop that sees such an exception ends, and all work with it."""
    return Refused(
        "internal_error", f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
    )
