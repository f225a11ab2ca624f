"""`hitless agent run`: one agent as a process.

It runs under the supervisor of `hitless run`, which restarts it, changes its code by starting another process beside it, and
answers commands; or alone (`--unsupervised`), where SIGHUP reads the files again and SIGTERM and SIGINT stop it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client.registry import Collector

from hitless.agent.agent import Agent
from hitless.agent.files_watch import follow, watcher_of
from hitless.agent.group.grouped import GroupedAgent
from hitless.agent.group.metrics import GroupCollector
from hitless.agent.handover import Handover
from hitless.agent.metrics import AgentCollector, MetricsServer
from hitless.agent.plugins import Plugins
from hitless.agent.running import DefinitionFiles
from hitless.agent.settings import AgentSettings, read_settings
from hitless.change import ChangeInProgress
from hitless.live import Limits, Triggers, lifetime, ready

log = logging.getLogger(__name__)

SWITCH_S: Final = 0.0002
"""How long a thread may keep the interpreter from the event loop: ticks wait for it while a change is worked out."""
THRESHOLDS: Final = (700, 3, 100)
"""Of the collector: its passes hold up ticks, so they are many and small, and seldom over everything."""
FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
VARIABLE: Final = "_HITLESS_AGENT"
"""Tells a process of the supervisor which agent it is; those that begin with HITLESS_ are settings."""
MORE_S: Final = 30.0
"""That a process has beside the drain's timeout for leaving its group and flushing."""
ADDRESS_S: Final = 0.5
"""Between two looks whether the process before has let go of the address of the metrics."""

End = Callable[[], Awaitable[object]]


def supervise(config: str, settings: AgentSettings, *, allow_writable: bool = False) -> None:
    """This process becomes the supervisor of the agent."""
    os.environ[VARIABLE] = json.dumps(
        {"config": str(Path(config).absolute()), "allow_writable": allow_writable}
    )
    flags = {
        "app": "hitless.agent.main:program",
        "interface": "program",
        "name": settings.name,
        "state_dir": str(state_directory(settings)),
        "drain.timeout": f"{settings.drain.timeout + MORE_S:g}s",
    }
    if settings.control is not None:
        flags["control"] = settings.control
    asked = json.dumps({"config": None, "flags": flags, "allow_writable": allow_writable})
    # Replaced, so that it does not carry the command line's and the agent's libraries for months.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "hitless.serve", asked])


async def program() -> None:
    """The agent in a process of its supervisor.

    Raises:
        StartFailed, ConfigError, GroupError: it cannot begin.
    """
    _log()
    asked = json.loads(os.environ[VARIABLE])
    config, allow_writable = asked["config"], asked["allow_writable"]
    settings = read_settings(config, allow_writable=allow_writable)
    life = lifetime()
    if settings.group is not None:
        await _member(settings, config, allow_writable=allow_writable, end=life.ended)
        return
    agent, collector = _agent(settings, config, allow_writable=allow_writable)
    files = DefinitionFiles(settings.files, agent.plugins, allow_writable, config).files()
    watcher = watcher_of(settings, files) if settings.reload.watch else None
    await agent.start(polls=False)
    handover = Handover(state_directory(settings))
    over = asyncio.create_task(life.ended())
    taken = asyncio.create_task(handover.take())
    await asyncio.wait({over, taken}, return_when=asyncio.FIRST_COMPLETED)
    if taken.done():
        agent.begin(taken.result())
        _say_begun(agent, settings)
        beside = [asyncio.create_task(_shown(settings, [collector]))]
        if watcher is not None:
            beside.append(asyncio.create_task(follow(settings, watcher)))
        keep_ticks_prompt()
        await over
        await _ended(beside)
        handover.give(await agent.leave_off())
    await _ended([taken])
    await _stopped(agent, settings)


async def _member(settings: AgentSettings, config: str, *, allow_writable: bool, end: End) -> None:
    """Raises GroupError, ConfigError, or whatever ends the membership."""
    if settings.reload.watch:
        log.warning("reload.watch means nothing in a group: say hitless agent epoch propose")
    folder = state_directory(settings)
    folder.mkdir(parents=True, exist_ok=True)
    grouped = GroupedAgent(
        settings, config=config, folder=folder, limits=_limits(settings), allow_writable=allow_writable
    )
    collectors = [AgentCollector(grouped.agent), GroupCollector(lambda: grouped.state)]
    await grouped.start()
    ready()
    log.info("agent %s has joined group %s", settings.name, grouped.state.name)
    shown = asyncio.create_task(_shown(settings, collectors))
    keep_ticks_prompt()
    over, failed = asyncio.ensure_future(end()), asyncio.create_task(grouped.failed())
    await asyncio.wait({over, failed}, return_when=asyncio.FIRST_COMPLETED)
    await _ended([shown])
    if failed.done():
        failed.result()
    await _ended([failed])
    await grouped.leave()
    await _stopped(grouped.agent, settings)
    grouped.close()


def run(settings: AgentSettings, config: str, *, allow_writable: bool = False) -> None:
    """Poll and listen until a signal says stop, without a supervisor. `config` is where the settings come from, for reloads.

    Raises:
        StartFailed: the definition is not valid, or a publisher cannot be opened.
        ControlError: the control socket cannot be had.
        GroupError: the group cannot be joined.
    """
    _log()
    early: list[int] = []
    # Until the agent listens to it, the signal must not end the process: it is answered when the start is done.
    signal.signal(signal.SIGHUP, lambda number, _: early.append(number))
    asyncio.run(_run(settings, config, allow_writable=allow_writable, early=early))


async def _run(settings: AgentSettings, config: str, *, allow_writable: bool, early: list[int]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if settings.group is not None:
        await _member(settings, config, allow_writable=allow_writable, end=stop.wait)
        return
    agent, collector = _agent(settings, config, allow_writable=allow_writable)
    await agent.start(_triggers(settings))
    shown = asyncio.create_task(_shown(settings, [collector]))
    _say_begun(agent, settings)
    if early:
        await _again(agent)
    keep_ticks_prompt()
    await stop.wait()
    await _ended([shown])
    await _stopped(agent, settings)


def _agent(settings: AgentSettings, config: str, *, allow_writable: bool) -> tuple[Agent, AgentCollector]:
    plugins = Plugins()
    files = DefinitionFiles(settings.files, plugins, allow_writable, config)
    agent = Agent(files, plugins=plugins, name=settings.name, limits=_limits(settings))
    return agent, AgentCollector(agent)


def _say_begun(agent: Agent, settings: AgentSettings) -> None:
    log.info("agent %s polls %d sources", settings.name, len(agent.runtime.settings.definition.polling))


async def _stopped(agent: Agent, settings: AgentSettings) -> None:
    log.info("agent %s stops", settings.name)
    await agent.stop()
    log.info("agent %s stopped: %s", settings.name, agent.tally.to_json())
    if settings.notifications is not None:
        log.info("agent %s took: %s", settings.name, agent.taken())


async def _shown(settings: AgentSettings, collectors: Sequence[Collector]) -> None:
    """Answer scrapes until cancelled. The agent's work does not depend on who looks at it: without the address it goes on, and
    takes it when the process before has let go of it.
    """
    bind, has_said = settings.metrics.bind, False
    while bind is not None:
        try:
            server = MetricsServer(bind, collectors)
        except OSError as error:
            if not has_said:
                log.warning("no metrics yet: %s cannot be had: %s", bind, error.strerror or error)
            has_said = True
            await asyncio.sleep(ADDRESS_S)
            continue
        try:
            await asyncio.Event().wait()
        finally:
            server.close()


async def _ended(tasks: Sequence[asyncio.Task[None]] | Sequence[asyncio.Task[dict[str, float]]]) -> None:
    """Cancelled, and waited for."""
    for each in tasks:
        each.cancel()
    await asyncio.wait(tasks)


def state_directory(settings: AgentSettings) -> Path:
    """`state_dir`, systemd's STATE_DIRECTORY, /var/lib/hitless/NAME, or below the user's home."""
    if settings.state_dir is not None:
        return Path(settings.state_dir).absolute()
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/hitless") / settings.name
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "hitless" / settings.name


def _log() -> None:
    logging.basicConfig(level=logging.INFO, format=FORMAT)
    # It tells of every change of every file beside those that are watched: where samples and this log are, several times a second.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)


def keep_ticks_prompt() -> None:
    """For the whole process: nothing that goes on beside the event loop may hold it up for long."""
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.set_threshold(*THRESHOLDS)
    gc.freeze()  # what is there now stays, and passes over it take tens of milliseconds


async def _again(agent: Agent) -> None:
    with suppress(
        ChangeInProgress
    ):  # it has begun after the signal, and so has read what the signal was sent for
        await agent.reload(requested_by="SIGHUP")


def _limits(settings: AgentSettings) -> Limits:
    return Limits(drain_s=settings.drain.timeout)


def _triggers(settings: AgentSettings) -> Triggers:
    return Triggers(
        sighup=True,
        watch_interval_s=settings.reload.interval if settings.reload.watch else None,
        watch_settle_s=settings.reload.settle,
        control=True if settings.control is None else Path(settings.control),
        state_dir=settings.state_dir,
    )
