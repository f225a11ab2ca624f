"""From a request to serve to a running supervisor."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hitless.change import ExitCode, Journal, JournalUnwritable, Refused
from hitless.config import ConfigError, Environment, Flags, Loaded, Source, TomlFile, load
from hitless.config.sources import RESERVED as OURS
from hitless.control import ControlError, ControlServer, socket_path
from hitless.serve import faults
from hitless.serve.commands import Commands
from hitless.serve.settings import ServeSettings
from hitless.serve.supervisor import Supervisor
from hitless.serve.systemd import Notifier, listen_fds
from hitless.serve.upgrade import own, resumed

RESERVED = (*OURS, faults.VARIABLE)
"""Environment variables of ours that are no settings."""


@dataclass(frozen=True, slots=True)
class Request:
    """What `hitless serve` was asked for."""

    config: str | None
    flags: Mapping[str, str] = field(default_factory=dict)
    allow_writable: bool = False


def read(request: Request, environ: Mapping[str, str]) -> Loaded[ServeSettings]:
    """The settings as they stand now: what `serve`, `reload`, `check` and `diff` all call.

    Raises:
        ConfigError: with every problem, one line each.
    """
    sources: list[Source] = [
        *([TomlFile(Path(request.config), allow_writable=request.allow_writable)] if request.config else []),
        Environment("HITLESS", environ, reserved=RESERVED),
        Flags(request.flags),
    ]
    return load(ServeSettings, *sources)


def source(request: Request, environ: Mapping[str, str]) -> Loaded[ServeSettings]:
    """As `read`, for a change: raises Refused instead."""
    try:
        return read(request, environ)
    except ConfigError as error:
        raise Refused("configuration_invalid", str(error), invalid=True) from error


async def run(request: Request, environ: dict[str, str]) -> int:
    """Serves until told to stop; returns the exit code. Says on standard error why it could not."""
    request = Request(
        os.path.abspath(request.config) if request.config else None, request.flags, request.allow_writable
    )
    try:
        settings = source(request, environ).settings
        supervisor = _supervisor(request, settings, environ, open_journal(settings))
        code = await supervisor.run(settings, _control(settings, environ, supervisor))
        if code and (outcome := supervisor.last_outcome) is not None:
            told = f"hitless: not started ({outcome.reason})\n{outcome.message}\n{outcome.detail or ''}"
            supervisor.log_file.tell_starter(told.rstrip() + "\n")
        return code
    except Refused as error:
        print(f"hitless: {error.message}", file=sys.stderr)
        return int(ExitCode.INVALID if error.invalid else ExitCode.FAILED)
    except ControlError as error:
        print(f"hitless: {error.message}", file=sys.stderr)
        return int(ExitCode.FAILED)


async def resume(fd: int, environ: dict[str, str], *, rehearse: bool) -> int:
    """Goes on with the service that another program has served in this process; or looks whether this one could.

    Raises:
        ValueError: it could not.
    """
    state = resumed(fd)
    settings = {
        each["number"]: ServeSettings.model_validate(each["settings"])
        for each in state["fleet"]["generations"]
    }
    request = Request(**state["request"])
    if rehearse:
        return int(ExitCode.DONE)
    own(state)
    current = settings[state["fleet"]["current"]]
    supervisor = _supervisor(request, current, environ, _journal_at(Path(state["journal"])))
    control = _control(current, environ, supervisor, inherited=(state["control"][0], state["control"][1]))
    return await supervisor.resume(state, control)


def _supervisor(
    request: Request, settings: ServeSettings, environ: dict[str, str], journal: Journal
) -> Supervisor:
    return Supervisor(
        asyncio.get_running_loop(),
        settings,
        lambda: source(request, environ),
        journal=journal,
        notifier=Notifier(environ),
        systemd_fds=listen_fds(environ, os.getpid()),
        config_file=Path(request.config) if request.config else None,
        request=asdict(request),
    )


def _control(
    settings: ServeSettings,
    environ: Mapping[str, str],
    supervisor: Supervisor,
    *,
    inherited: tuple[int, int] | None = None,
) -> ControlServer:
    path = Path(settings.control) if settings.control else socket_path(settings.name, environ)
    return ControlServer(path, Commands(supervisor).handlers(), inherited=inherited)


def state_directory(settings: ServeSettings, environ: Mapping[str, str]) -> Path:
    """Where the journal is: `state_dir`, systemd's STATE_DIRECTORY, /var/lib/hitless/NAME, or below the user's home."""
    if settings.state_dir is not None:
        return Path(settings.state_dir)
    if given := environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/hitless") / settings.name
    home = environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(home) / "hitless" / settings.name


def open_journal(settings: ServeSettings) -> Journal:
    """The journal of the service. Where it cannot be written, a temporary one: a full disk must not keep a service down."""
    return _journal_at(state_directory(settings, os.environ) / "journal.sqlite")


def _journal_at(path: Path) -> Journal:
    try:
        return Journal(path)
    except JournalUnwritable as error:
        substitute = Path(tempfile.mkdtemp(prefix="hitless-journal-")) / "journal.sqlite"
        print(f"hitless: {error}; this run's journal is {substitute}", file=sys.stderr)
        return Journal(substitute)
