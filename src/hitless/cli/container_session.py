"""What every command of `hitless containers` needs around it: the engine, the parameters, and a way to be interrupted."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer

from hitless.change import Events, ExitCode
from hitless.cli.container_options import Options
from hitless.cli.container_view import View
from hitless.cli.output import console, errors
from hitless.config import ConfigError, Flags, Loaded, TomlFile, load
from hitless.containers import (
    Container,
    ContainersError,
    ContainersFile,
    Engine,
    Fleet,
    Hub,
    Intents,
    KollaTimeouts,
    Parameters,
    Selection,
    Target,
    engine_address,
    parameters,
    read_kolla,
    recover,
    selected,
)
from hitless.containers.rules import Rule
from hitless.containers.said import flat
from hitless.control import ControlError

DEFAULT_FILES: Final = ("containers.toml", "/etc/hitless/containers.toml")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command asks for."""

    options: Options
    selection: Selection
    is_quiet: bool = False
    """Nothing but the result is printed."""


@dataclass(frozen=True, slots=True)
class Session:
    """An engine that answers, and what is known of the host."""

    asked: Asked
    engine: Engine
    fleet: Fleet
    given: Mapping[str, Any]
    """Parameters from the command line, by dotted key."""
    file: Loaded[ContainersFile] | None
    kolla: KollaTimeouts | None

    def parameters(self, container: Container) -> Parameters:
        return parameters(container, self.engine.dialect, given=self.given, file=self.file, kolla=self.kolla)

    async def targets(self) -> list[Target]:
        """What was selected, all of it checked before anything moves."""
        found = await selected(self.engine, self.asked.selection)
        return [Target(container, self.parameters(container)) for container in found]


def run(work: Callable[[], Coroutine[Any, Any, int]]) -> None:
    """Run it, and exit with what it returns."""
    try:
        code = asyncio.run(work())
    except (ContainersError, ControlError) as error:
        errors().print(f"hitless: {error}", markup=False)
        raise typer.Exit(int(error.exit_code)) from error
    except ConfigError as error:
        errors().print(str(error), markup=False)
        raise typer.Exit(int(ExitCode.INVALID)) from error
    if code:
        raise typer.Exit(code)


@asynccontextmanager
async def session(asked: Asked, *, recovers: bool = True) -> AsyncIterator[Session]:
    """Open everything; with `recovers`, first finish or undo what a killed Hitless has left."""
    options = asked.options
    given = dict(flat(load(Rule, Flags(options.given)).settings))
    file = _file(options)
    kolla = _kolla(file)
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(Engine(engine_address(options.engine)))
        hub = await stack.enter_async_context(Hub(engine))
        events = Events()
        intents = Intents(state_directory(options.state_dir), str(engine.path.resolve()))
        fleet = Fleet(engine, hub, intents, events=events, max_parallel=options.max_parallel)
        made = Session(asked, engine, fleet, given, file, kolla)
        if recovers:
            for message in await recover(engine, intents):
                errors().print(message, markup=False)
        view = stack.enter_context(View(console()) if not asked.is_quiet else nullcontext())
        if view is not None:
            stack.callback(events.subscribe(view.tell))
        stack.callback(_interruptible(fleet))
        yield made


def state_directory(given: str | None, environ: Mapping[str, str] | None = None) -> Path:
    """Where is written down what is under way."""
    environ = os.environ if environ is None else environ
    if given is not None:
        return Path(given)
    if said := environ.get("STATE_DIRECTORY"):
        return Path(said.split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/hitless/containers")
    home = environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(home) / "hitless" / "containers"


def _file(options: Options) -> Loaded[ContainersFile] | None:
    path = options.config or next((name for name in DEFAULT_FILES if Path(name).is_file()), None)
    if path is None:
        return None
    return load(ContainersFile, TomlFile(path, allow_writable=options.allow_writable))


def _kolla(file: Loaded[ContainersFile] | None) -> KollaTimeouts | None:
    path = file.settings.kolla.globals if file is not None else None
    return None if path is None else read_kolla(Path(path))


def _interruptible(fleet: Fleet) -> Callable[[], None]:
    """Ctrl-C and SIGTERM cancel: containers are left as they are, and nothing is killed. Returns what ends that."""
    loop = asyncio.get_running_loop()

    def cancel() -> None:
        errors().print("cancelling: no further signal is sent, nothing is killed")
        fleet.cancel()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, cancel)

    def end() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    return end
