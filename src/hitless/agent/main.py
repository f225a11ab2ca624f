"""`hitless agent run`: one agent as a plain process. SIGHUP reads the files again, SIGTERM and SIGINT stop it."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from pathlib import Path
from typing import Final

from hitless.agent.agent import Agent
from hitless.agent.metrics import AgentCollector, MetricsServer
from hitless.agent.plugins import Plugins
from hitless.agent.running import DefinitionFiles
from hitless.agent.settings import AgentSettings
from hitless.change import ChangeInProgress
from hitless.live import Limits, Triggers

log = logging.getLogger(__name__)

SWITCH_S: Final = 0.001
"""How long a thread may keep the interpreter from the event loop: ticks wait for it while a change is worked out."""
FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run(settings: AgentSettings, *, config: str | None = None, allow_writable: bool = False) -> None:
    """Poll and listen until a signal says stop. `config` is where the settings come from, for reloads.

    Raises:
        StartFailed: the definition is not valid, or a publisher cannot be opened.
        ControlError: the control socket cannot be had.
    """
    logging.basicConfig(level=logging.INFO, format=FORMAT)
    early: list[int] = []
    # Until the agent listens to it, the signal must not end the process: it is answered when the start is done.
    signal.signal(signal.SIGHUP, lambda number, _: early.append(number))
    asyncio.run(_run(settings, config=config, allow_writable=allow_writable, early=early))


async def _run(
    settings: AgentSettings, *, config: str | None, allow_writable: bool, early: list[int]
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    plugins = Plugins()
    agent = Agent(
        DefinitionFiles(settings.files, plugins, allow_writable, config),
        plugins=plugins,
        name=settings.name,
        limits=Limits(drain_s=settings.drain.timeout),
    )
    collector = AgentCollector(agent)
    await agent.start(_triggers(settings))
    metrics = _metrics(settings, collector)
    log.info("agent %s polls %d sources", settings.name, len(agent.runtime.settings.definition.polling))
    if early:
        await _again(agent)
    keep_ticks_prompt()
    await stop.wait()
    log.info("agent %s stops", settings.name)
    if metrics is not None:
        metrics.close()
    await agent.stop()
    log.info("agent %s stopped: %s", settings.name, agent.tally.to_json())
    if settings.notifications is not None:
        log.info("agent %s took: %s", settings.name, agent.taken())


def _metrics(settings: AgentSettings, collector: AgentCollector) -> MetricsServer | None:
    """The agent's work does not depend on who looks at it: without the address it goes on."""
    if settings.metrics.bind is None:
        return None
    try:
        return MetricsServer(settings.metrics.bind, [collector])
    except OSError as error:
        log.warning("no metrics: %s cannot be had: %s", settings.metrics.bind, error.strerror or error)
        return None


def keep_ticks_prompt() -> None:
    """For the whole process: nothing that goes on beside the event loop may hold it up for long."""
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()  # what is there now stays, and passes over it take tens of milliseconds


async def _again(agent: Agent) -> None:
    try:
        await agent.reload(requested_by="SIGHUP")
    except ChangeInProgress as error:
        log.info("%s", error)  # it has begun after the signal, and so has read what the signal was sent for


def _triggers(settings: AgentSettings) -> Triggers:
    return Triggers(
        sighup=True,
        watch_interval_s=settings.reload.interval if settings.reload.watch else None,
        watch_settle_s=settings.reload.settle,
        control=True if settings.control is None else Path(settings.control),
        state_dir=settings.state_dir,
    )
