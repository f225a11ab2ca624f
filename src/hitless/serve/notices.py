"""Tells the sinks of `[[notify]]` of the changes of a service."""

from __future__ import annotations

import asyncio
import subprocess
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hitless.change import Events
from hitless.serve.reaper import Exit, Reaper
from hitless.serve.sinks import Amqp, Command, SinkSettings, Webhook

if TYPE_CHECKING:
    from hitless.notify import Notifier, Sink

LAST_S: Final = 3.0
"""For notices that wait when the sinks change, the service ends, or another program takes over."""


class Notices:
    """Follows the settings. What is for the old sinks still goes to them, and no change waits for that."""

    def __init__(self, events: Events, service: str, reaper: Reaper) -> None:
        self._events: Final = events
        self._service: Final = service
        self._reaper: Final = reaper
        self._now: tuple[SinkSettings, ...] = ()
        self._notifier: Notifier | None = None
        self._leaving: Final[set[asyncio.Future[None]]] = set()

    def status(self) -> list[dict[str, Any]]:
        counts = () if self._notifier is None else self._notifier.counts
        return [{"sink": name, **asdict(each)} for name, each in counts]

    def follow(self, wanted: tuple[SinkSettings, ...]) -> None:
        """Tell these from now on."""
        if wanted == self._now:
            return
        self._let_go()
        self._now = wanted
        if wanted:
            from hitless.notify import Notifier  # here: most services tell nobody, and pay no memory for it

            sinks = [_sink(each, self._reaper) for each in wanted]
            self._notifier = Notifier(self._events, sinks, service=self._service)

    async def close(self) -> None:
        """Try what waits once more, for LAST_S altogether."""
        self._let_go()
        self._now = ()
        if self._leaving:
            await asyncio.wait(set(self._leaving), timeout=LAST_S + 1)

    def _let_go(self) -> None:
        notifier, self._notifier = self._notifier, None
        if notifier is None:
            return
        closing = asyncio.get_running_loop().run_in_executor(None, partial(notifier.close, LAST_S))
        self._leaving.add(closing)
        closing.add_done_callback(self._leaving.discard)


def _sink(settings: Command | Webhook | Amqp, reaper: Reaper) -> Sink:
    from hitless.notify import AmqpSink, CommandSink, Retries, WebhookSink

    retries = Retries(attempts=settings.attempts)
    match settings:
        case Command():
            return CommandSink(
                command=settings.command,
                timeout_s=settings.timeout,
                retries=retries,
                code_of=_Reaped(asyncio.get_running_loop(), reaper),
            )
        case Webhook():
            return WebhookSink(
                url=settings.url, headers=settings.headers, timeout_s=settings.timeout, retries=retries
            )
        case Amqp():
            return AmqpSink(
                url=settings.url,
                publisher_id=settings.publisher_id,
                exchange=settings.exchange,
                topic=settings.topic,
                durable=settings.durable,
                timeout_s=settings.timeout,
                retries=retries,
            )


@dataclass(frozen=True, slots=True)
class _Reaped:
    """How a command ended, in a process that waits for all its children in one place: who waits beside it may come too late,
    and would take a failure for a success.
    """

    loop: asyncio.AbstractEventLoop
    reaper: Reaper

    def __call__(self, process: subprocess.Popen[bytes], timeout_s: float) -> int:
        ended: Future[Exit] = Future()
        process.returncode = 0  # the reaper waits for it
        self.loop.call_soon_threadsafe(self.reaper.watch, process.pid, ended.set_result)
        try:
            how = ended.result(timeout_s)
        except Late:
            raise subprocess.TimeoutExpired(process.args, timeout_s) from None
        return how.code if how.code is not None else -(how.signal or 1)
