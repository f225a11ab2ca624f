"""What every command of `hitless containers` needs around it: the host, a view of what goes on, and a way to be interrupted."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from hitless.change import Events, ExitCode, JournalUnwritable
from hitless.cli.container_options import Options
from hitless.cli.container_view import View, plain, unheard
from hitless.cli.output import console, errors
from hitless.config import ConfigError, Flags, load
from hitless.containers import (
    Balancer,
    ContainersError,
    Engine,
    Fleet,
    Host,
    Opening,
    Selection,
    Target,
    opened,
)
from hitless.containers.rules import Rule
from hitless.containers.said import flat
from hitless.control import ControlError


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command asks for."""

    options: Options
    selection: Selection
    is_quiet: bool = False
    """Nothing but the result is printed."""


@dataclass(frozen=True, slots=True)
class Session:
    """A host, and what was asked of it."""

    asked: Asked
    host: Host

    @property
    def engine(self) -> Engine:
        return self.host.engine

    @property
    def fleet(self) -> Fleet:
        return self.host.fleet

    async def targets(self) -> list[Target]:
        """What was selected, all of it checked before anything moves."""
        return await self.host.targets(self.asked.selection)


def run(work: Callable[[], Coroutine[Any, Any, int]]) -> None:
    """Run it, and exit with what it returns."""
    try:
        code = asyncio.run(work())
    except (ContainersError, ControlError) as error:
        errors().print(f"hitless: {plain(str(error))}", markup=False)
        raise typer.Exit(int(error.exit_code)) from error
    except ConfigError as error:
        errors().print(plain(str(error)), markup=False)
        raise typer.Exit(int(ExitCode.INVALID)) from error
    except JournalUnwritable as error:
        errors().print(f"hitless: {plain(str(error))}", markup=False)
        raise typer.Exit(int(ExitCode.FAILED)) from error
    if code:
        raise typer.Exit(code)


@asynccontextmanager
async def session(asked: Asked, *, recovers: bool = True) -> AsyncIterator[Session]:
    """Open everything; with `recovers`, first finish or undo what a killed Hitless has left."""
    options, events = asked.options, Events()
    opening = Opening(
        engine=options.engine,
        config=None if options.config is None else Path(options.config),
        allow_writable=options.allow_writable,
        state_dir=None if options.state_dir is None else Path(options.state_dir),
        given=dict(flat(load(Rule, Flags(options.given)).settings)),
        max_parallel=options.max_parallel,
        balancer=_balancer,
        recovers=asked.selection if recovers else None,
    )
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(opened(opening, tell=_tell, events=events))
        if not asked.is_quiet:
            view = stack.enter_context(View(console()))
            stack.callback(events.subscribe(view.tell))
        stack.callback(_interruptible(host.fleet))
        yield Session(asked, host)


def _balancer(name: str, table: Mapping[str, object]) -> Balancer:
    from hitless.rollout.balancers.opening import from_table  # only who has one pays for it

    return from_table(name, table)


def _tell(message: str) -> None:
    with unheard():
        errors().print(plain(message), markup=False)


def _interruptible(fleet: Fleet) -> Callable[[], None]:
    """Ctrl-C, SIGTERM and the end of a terminal cancel: containers are left as they are, and nothing is killed. Returns what ends
    that."""
    loop = asyncio.get_running_loop()

    def cancel() -> None:
        fleet.cancel()
        _tell("cancelling: no further signal is sent, nothing is killed")

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, cancel)

    def end() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    return end
