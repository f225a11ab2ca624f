"""Whether a container that was just started serves."""

from __future__ import annotations

from typing import Any, Final

from hitless.change import Deadline
from hitless.containers.container import Container
from hitless.containers.engine import Engine
from hitless.containers.errors import EngineRefused, EngineUnreachable, NoSuchContainer
from hitless.containers.hub import Hub, Watch

ENGINE_BACK_S: Final = 60.0
PROBE_S: Final = 30.0
PROBE_EVERY_S: Final = 0.5


class NotHealthy(Exception):
    """It does not serve; `reason` is a label, the message says what was seen."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason: Final = reason


async def started(engine: Engine, hub: Hub, id: str, *, ready_s: float, settle_s: float) -> None:  # noqa: A002
    """Start it, and return when it serves. An engine that is just restarting is waited for: a start may be asked for twice.

    Raises:
        NotHealthy: it does not serve.
        EngineRefused: it cannot be started.
        EngineUnreachable: the engine did not come back.
    """
    deadline = Deadline.after(ENGINE_BACK_S)
    with hub.watch(id) as watch:
        while True:
            try:
                await engine.start(id)
            except EngineUnreachable:
                if deadline.expired:
                    raise
                await watch.wait(PROBE_EVERY_S)
            else:
                break
        await healthy(engine, watch, id, ready_s=ready_s, settle_s=settle_s)


async def healthy(engine: Engine, watch: Watch, id: str, *, ready_s: float, settle_s: float) -> None:  # noqa: A002
    """Return when its health check says so; without one, when it has run for `settle_s`.

    Raises:
        NotHealthy: it ended, was restarted, is unhealthy, or was not ready within `ready_s`.
    """
    deadline = Deadline.after(ready_s)
    settled = Deadline.after(settle_s)
    first: Container | None = None
    while True:
        try:
            found = await engine.inspect(id)
        except NoSuchContainer:
            raise NotHealthy("removed", "it was removed while it was starting") from None
        except EngineUnreachable:
            found = None
        if found is not None:
            first = first or found
            _check_alive(found, first)
            if await _serves(engine, found, settled):
                return
        if deadline.expired:
            health = f" (its health check says {found.health})" if found is not None and found.health else ""
            raise NotHealthy("not_ready", f"it was not ready within {ready_s:g} s{health}")
        await watch.wait(min(deadline.remaining(), settled.remaining() or PROBE_EVERY_S, PROBE_EVERY_S))


def _check_alive(found: Container, first: Container) -> None:
    if found.state in ("exited", "dead", "removing"):
        raise NotHealthy("ended", f"it ended with exit code {found.exit_code} while it was starting")
    if found.state == "restarting" or found.restart_count > first.restart_count:
        raise NotHealthy("ended", "it ended while it was starting, and was restarted by its policy")
    if found.health == "unhealthy":
        raise NotHealthy("unhealthy", f"its health check failed: {_last_probe(found)}")


async def _serves(engine: Engine, found: Container, settled: Deadline) -> bool:
    test = (found.raw["Config"].get("Healthcheck") or {}).get("Test") or ()
    if not test or test[0] == "NONE":
        return settled.expired and found.is_running
    if found.health == "healthy":
        return True
    # Podman has systemd's timers run health checks; where there are none nobody does, so it is done here.
    return engine.dialect.kind == "podman" and found.is_running and await _probed(engine, found, tuple(test))


async def _probed(engine: Engine, found: Container, test: tuple[str, ...]) -> bool:
    command = ("/bin/sh", "-c", *test[1:]) if test[0] == "CMD-SHELL" else test[1:]
    try:
        code, _ = await engine.run(found.id, command, PROBE_S)
    except (EngineRefused, EngineUnreachable):
        return False
    return code == 0


def _last_probe(found: Container) -> str:
    log: Any = (found.raw["State"].get("Health") or {}).get("Log") or ()
    return str(log[-1].get("Output") or "").strip()[-500:] if log else "it said nothing"
