"""`hitless agent status | epoch`: look at a group of agents, and change what it polls by."""

from __future__ import annotations

import getpass
import socket
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.table import Table

from hitless.change import ExitCode
from hitless.cli.output import console, errors, print_json
from hitless.config import ConfigError

if TYPE_CHECKING:
    from hitless.agent.group.epochs import Proposal
    from hitless.agent.group.state import GroupState
    from hitless.agent.settings import AgentSettings

Config = Annotated[
    str,
    typer.Option("--config", "-c", help="agent.toml of any member: it says which group, and where it meets"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]
Writable = Annotated[bool, typer.Option("--allow-writable", help="accept files that others may write")]
SHOWN = 12
OUTCOMES = 10


def add_to(group: typer.Typer) -> None:
    group.command()(status)
    epochs = typer.Typer(no_args_is_help=True, help="What a group polls by: propose another configuration.")
    epochs.command()(propose)
    epochs.command("status")(epoch_status)
    group.add_typer(epochs, name="epoch")


def status(
    config: Config = "agent.toml",
    as_json: AsJson = False,
    prometheus: Annotated[bool, typer.Option("--prometheus", help="print metrics")] = False,
    allow_writable: Writable = False,
) -> None:
    """Show the members of a group: who polls, by which configuration, and who is not like the others."""
    state = _look(_settings(config, allow_writable=allow_writable))
    if prometheus:
        from hitless.agent.group.metrics import exposition

        typer.echo(exposition(state), nl=False)
        return
    if as_json:
        print_json(state.to_json())
        return
    _head(state)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("member", "host", "pid", "", "epoch", "applied", "attempted", "trouble"):
        table.add_column(column, overflow="fold")
    for each in state.members:
        applied, attempted = each.applied[:SHOWN] or "none", each.attempted[:SHOWN] or "none"
        table.add_row(
            each.name,
            each.host,
            str(each.pid),
            each.role,
            str(each.epoch),
            applied,
            attempted,
            each.trouble,
            style="red" if each.drifts else None,
        )
    console().print(table)
    for name in state.missing:
        console().print(f"{name} has a share and is not there", style="red", markup=False)


def epoch_status(
    config: Config = "agent.toml", as_json: AsJson = False, allow_writable: Writable = False
) -> None:
    """Show the epoch in force, the one under way, and how the latest ones ended."""
    state = _look(_settings(config, allow_writable=allow_writable))
    if as_json:
        told = state.to_json()
        print_json(
            {key: told[key] for key in ("group", "epoch", "config", "boundary", "under_way", "outcomes")}
        )
        return
    _head(state)
    for each in state.outcomes[-OUTCOMES:]:
        why = f": {each.who}: {each.why}" if each.why else ""
        line = f"epoch {each.epoch} ({each.config[:SHOWN]}) by {each.by}: {each.status}{why}"
        console().print(line, markup=False)


def propose(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE...]", help="those that agent.toml names if none are given"),
    ] = None,
    config: Config = "agent.toml",
    timeout: Annotated[float | None, typer.Option(help="seconds to wait for the group")] = None,
    as_json: AsJson = False,
    allow_writable: Writable = False,
) -> None:
    """Propose what the group is to poll by: every member prepares it, and all put it in force at one moment, or none does."""
    settings = _settings(config, allow_writable=allow_writable)
    proposal = _proposed(settings, files, timeout, allow_writable=allow_writable)
    if as_json:
        from dataclasses import asdict

        print_json(asdict(proposal))
    else:
        _tell(proposal)
    codes = {"committed": ExitCode.DONE, "unchanged": ExitCode.DONE, "timed_out": ExitCode.DEADLINE}
    code = codes.get(proposal.status, ExitCode.REJECTED)
    if code is not ExitCode.DONE:
        raise typer.Exit(int(code))


def _proposed(
    settings: AgentSettings, files: list[str] | None, timeout: float | None, *, allow_writable: bool
) -> Proposal:
    """Raises typer.Exit."""
    from hitless.agent.group.coordinator import GroupError, NoPlace
    from hitless.agent.group.document import Document
    from hitless.agent.group.epochs import EpochInProgress, NoMembers, NotDecided, propose_epoch
    from hitless.agent.plugins import Plugins

    group = settings.group
    assert group is not None
    try:
        document = Document.read(files or settings.files, Plugins(), allow_writable=allow_writable)
        return propose_epoch(
            group,
            document,
            by=f"{getpass.getuser()}@{socket.gethostname()}",
            timeout_s=timeout or group.prepare + 20 * group.lead + 2 * group.lease,
        )
    except ConfigError as error:
        _fail(str(error), ExitCode.INVALID, error)
    except EpochInProgress as error:
        _fail(str(error), ExitCode.BUSY, error)
    except NotDecided as error:
        _fail(str(error), ExitCode.DEADLINE, error)
    except NoMembers as error:
        _fail(str(error), ExitCode.NOBODY, error)
    except GroupError as error:
        _fail(str(error), ExitCode.INVALID if isinstance(error, NoPlace) else ExitCode.NOBODY, error)


def _tell(proposal: Proposal) -> None:
    number, shown = proposal.epoch, proposal.config[:SHOWN]
    if proposal.status == "unchanged":
        console().print(f"the group polls by {shown} already", markup=False)
    elif proposal.status == "committed":
        console().print(f"epoch {number} is in force ({shown})", markup=False)
        for name in proposal.behind:
            console().print(f"{name} has not said yet that it polls by it", style="yellow", markup=False)
    else:
        whose = f" by {proposal.who}" if proposal.who else ""
        errors().print(f"epoch {number} is {proposal.status}{whose}: {proposal.why}", markup=False)


def _head(state: GroupState) -> None:
    console().print(
        f"group {state.name}: epoch {state.epoch} ({state.config[:SHOWN] or 'none'}), assignment {state.number},"
        f" {len(state.members)} members, drift {state.drift}",
        markup=False,
    )
    if state.under_way:
        console().print(state.under_way, style="yellow", markup=False)


def _settings(config: str, *, allow_writable: bool) -> AgentSettings:
    """Raises typer.Exit: they cannot be read, or say nothing of a group."""
    from hitless.agent.settings import read_settings

    try:
        settings = read_settings(config, allow_writable=allow_writable)
    except ConfigError as error:
        _fail(str(error), ExitCode.INVALID, error)
    if settings.group is None:
        _fail(f"{config}: there is no [group] in it; add name and url of the agent's group", ExitCode.INVALID)
    return settings


def _look(settings: AgentSettings) -> GroupState:
    """Raises typer.Exit."""
    from hitless.agent.group.coordinator import GroupError, NoPlace
    from hitless.agent.group.epochs import look

    assert settings.group is not None
    try:
        return look(settings.group)
    except GroupError as error:
        _fail(str(error), ExitCode.INVALID if isinstance(error, NoPlace) else ExitCode.NOBODY, error)


def _fail(message: str, code: ExitCode, cause: BaseException | None = None) -> NoReturn:
    errors().print(f"hitless: {message}", markup=False)
    raise typer.Exit(int(code)) from cause
