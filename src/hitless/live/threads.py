"""Foreign code that may block, in threads that can be left behind.

Not in an executor: its threads are joined when the interpreter ends, so one that hangs would keep the program from ending.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T], name: str, *, late: Callable[[T], None] | None = None) -> T:
    """The result of `work`, run in a thread of its own with this task's context variables.

    Work cannot be broken off. If this task is cancelled, `late` is called with the result when there is one.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def deliver(result: list[T], error: BaseException | None) -> None:
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
            failure = (
                error
                if not isinstance(error, StopIteration)
                else RuntimeError(f"{name} raised StopIteration")
            )
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            loop.call_soon_threadsafe(deliver, result, failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
