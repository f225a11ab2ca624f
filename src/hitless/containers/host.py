"""Everything that is needed to stop and replace containers of this machine, opened with one call.

async with opened() as host:
    outcome = await host.stop("glance_api")
    changed = await host.replace("glance_api", "glance:2")
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from hitless.change import Events
from hitless.config import Loaded, TomlFile, load
from hitless.containers.address import engine_address
from hitless.containers.changed import ChangeOutcome
from hitless.containers.container import Container
from hitless.containers.drain import Balancer, Drain
from hitless.containers.engine import Engine
from hitless.containers.errors import InvalidParameters, NoSuchContainer
from hitless.containers.fleet import MAX_PARALLEL, Fleet
from hitless.containers.hub import Hub
from hitless.containers.intents import Intents
from hitless.containers.kolla import KollaTimeouts, read_kolla
from hitless.containers.outcome import StopOutcome
from hitless.containers.parameters import Parameters, parameters
from hitless.containers.records import Records
from hitless.containers.recovery import recovering
from hitless.containers.replacement import Wish
from hitless.containers.rules import ContainersFile
from hitless.containers.selection import Selection, may_mean, selected
from hitless.containers.target import Target, Unclear

DEFAULT_FILES: Final = ("containers.toml", "/etc/hitless/containers.toml")


def no_balancer(name: str, table: Mapping[str, object]) -> Balancer:  # noqa: ARG001
    """Raises InvalidParameters."""
    raise InvalidParameters(
        f"nothing here can open the balancer {name} of containers.toml; use hitless containers"
    )


@dataclass(frozen=True, slots=True)
class Opening:
    """What a host is opened with; everything has a default."""

    engine: str | None = None
    """The engine's socket, `unix://PATH`; HITLESS_ENGINE, DOCKER_HOST, CONTAINER_HOST or the usual ones if not given."""
    config: Path | None = None
    """containers.toml; the one here or in /etc/hitless, if there is one, if not given."""
    allow_writable: bool = False
    state_dir: Path | None = None
    """Where is written down what is under way and what was done."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """Parameters by dotted key (`{"wait": 600.0, "drain.inside": ("hitless", "stop")}`) that win over all others."""
    max_parallel: int = MAX_PARALLEL
    balancer: Callable[[str, Mapping[str, object]], Balancer] = no_balancer
    """What opens a [balancer.NAME] of the file: balancers are known above (`hitless.rollout.balancers`)."""
    requested_by: str | None = None
    """Who asks, for the journal; the user and the process if not given."""
    recovers: Selection | None = field(default_factory=Selection)
    """What a killed Hitless has left is put right first; what is selected is about to be stopped or replaced anyway. A container
    that is still ending is waited for on closing, so that it can be started again. None: this only looks."""


@dataclass(frozen=True, slots=True)
class Host:
    """An engine that answers, and what is known of its containers."""

    engine: Engine
    fleet: Fleet
    given: Mapping[str, Any]
    file: Loaded[ContainersFile] | None
    kolla: KollaTimeouts | None
    balancers: Mapping[str, Balancer] = field(default_factory=dict)

    def parameters(self, container: Container) -> Parameters:
        """What applies to it.

        Raises:
            InvalidParameters: its labels make no sense.
        """
        return parameters(
            container,
            self.engine.dialect,
            given=self.given,
            file=self.file,
            kolla=self.kolla,
            balancers=self.balancers,
        )

    async def looked(self, selection: Selection) -> list[Target | Unclear]:
        """What is selected, for those who only look: one whose parameters make no sense hides no other.

        Raises:
            NoSuchContainer: one that was named is not there.
        """
        return [self._looked(container) for container in await selected(self.engine, selection)]

    def _looked(self, container: Container) -> Target | Unclear:
        try:
            return Target(container, self.parameters(container))
        except InvalidParameters as error:
            return Unclear(container, str(error))

    async def targets(self, selection: Selection) -> list[Target]:
        """What is selected, all of it checked before anything moves.

        Raises:
            NoSuchContainer: one that was named is not there.
            InvalidParameters: what applies to one makes no sense.
        """
        found = await selected(self.engine, selection)
        return [Target(container, self.parameters(container)) for container in found]

    async def target(self, name: str, *, drains: tuple[Drain, ...] = ()) -> Target:
        """The container of this name or id; `drains` come before those that its parameters say (a balancer of the caller's).

        Raises:
            NoSuchContainer: there is none.
            InvalidParameters: what applies to it makes no sense.
        """
        found = await self.engine.find(name)
        if found is None:
            raise NoSuchContainer(404, f"there is no container {name}")
        applied = self.parameters(found)
        sequence = replace(applied.sequence, drains=(*drains, *applied.sequence.drains))
        return Target(found, replace(applied, sequence=sequence))

    async def stop(self, name: str, *, drains: tuple[Drain, ...] = ()) -> StopOutcome:
        """Stop it by its sequence; see `target`."""
        return await self.fleet.stop_one(await self.target(name, drains=drains))

    async def restart(self, name: str, *, drains: tuple[Drain, ...] = ()) -> ChangeOutcome:
        """Stop it by its sequence, and start it again; see `target`."""
        return (await self.fleet.restart([await self.target(name, drains=drains)]))[0]

    async def replace(
        self, name: str, image: str | None = None, *, drains: tuple[Drain, ...] = (), new_first: bool = False
    ) -> ChangeOutcome:
        """Replace it by one of `image` (by its like, if none is given); if that fails, the old one serves again. See `target`."""
        target = await self.target(name, drains=drains)
        return await self.fleet.replace_one(target, Wish(image or target.container.image, new_first))


def _silent(message: str) -> None:
    """Nobody listens."""


@asynccontextmanager
async def opened(
    opening: Opening | None = None, *, tell: Callable[[str], None] = _silent, events: Events | None = None
) -> AsyncIterator[Host]:
    """Open everything; `tell` gets sentences for people: what was put right, and what could not be recorded.

    Raises:
        EngineUnreachable: there is no engine, or it does not answer.
        ConfigError: containers.toml, or Kolla's globals.yml, is not valid.
    """
    opening = opening or Opening()
    file = _file(opening)
    kolla = _kolla(file)
    tables = file.settings.balancer if file is not None else {}
    balancers = {name: opening.balancer(name, table) for name, table in tables.items()}
    directory = state_directory(opening.state_dir)
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(Engine(engine_address(opening.engine)))
        hub = await stack.enter_async_context(Hub(engine))
        intents = Intents(directory, str(engine.path.resolve()), tell=tell)
        records = None
        if (meant := opening.recovers) is not None:
            records = Records(directory, tell=tell, requested_by=opening.requested_by)
            stack.callback(records.close)
            await stack.enter_async_context(
                recovering(engine, hub, intents, tell=tell, is_taken_over=lambda name: may_mean(meant, name))
            )
        fleet = Fleet(engine, hub, intents, events=events, max_parallel=opening.max_parallel, records=records)
        yield Host(engine, fleet, opening.given, file, kolla, balancers)


def state_directory(given: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """Where is written down what is under way, and what was done."""
    environ = os.environ if environ is None else environ
    if given is not None:
        return given
    if said := environ.get("STATE_DIRECTORY"):
        return Path(said.split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/hitless/containers")
    home = environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(home) / "hitless" / "containers"


def _file(opening: Opening) -> Loaded[ContainersFile] | None:
    usual = (Path(name) for name in DEFAULT_FILES)
    path = opening.config or next((each for each in usual if each.is_file()), None)
    if path is None:
        return None
    return load(ContainersFile, TomlFile(str(path), allow_writable=opening.allow_writable))


def _kolla(file: Loaded[ContainersFile] | None) -> KollaTimeouts | None:
    path = file.settings.kolla.globals if file is not None else None
    return None if path is None else read_kolla(Path(path))
