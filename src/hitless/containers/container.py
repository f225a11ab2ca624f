"""A container as the engine sees it at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

State = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]

NEW: Final = ".hitless-new"
OLD: Final = ".hitless-old"
"""What a replacement adds to the name, until the new one serves and until the old one is removed."""

STATES: tuple[str, ...] = get_args(State)


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """What the engine does when the container's process ends by itself."""

    name: str = "no"
    """`no`, `always`, `unless-stopped` or `on-failure`."""
    retries: int = 0
    """For `on-failure`; 0 means without end."""

    @property
    def restarts(self) -> bool:
        return self.name not in ("", "no")

    def to_json(self) -> dict[str, Any]:
        return {"Name": self.name, "MaximumRetryCount": self.retries}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RestartPolicy:
        return cls(str(data.get("Name") or "no"), int(data.get("MaximumRetryCount") or 0))

    def __str__(self) -> str:
        return f"{self.name}:{self.retries}" if self.retries else self.name


@dataclass(frozen=True, slots=True)
class Container:
    """What `inspect` said, as far as it concerns stopping and replacing."""

    id: str
    name: str
    image: str
    """As it was named when the container was created."""
    image_id: str
    state: State
    pid: int
    """Of process 1, in the engine's namespace; 0 when there is none."""
    started_at: str
    exit_code: int
    oom: bool
    health: str
    """`healthy`, `unhealthy`, `starting`, or empty without a health check."""
    restart_count: int
    policy: RestartPolicy
    auto_remove: bool
    stop_signal: str
    """Empty if neither the image nor whoever created the container said one."""
    stop_timeout_s: float | None
    memory_limit: int
    """Bytes; 0 for none."""
    labels: Mapping[str, str]
    command: tuple[str, ...]
    """Entry point and arguments together."""
    has_init: bool
    """Whether the engine put an init of its own in front (`--init`)."""
    tty: bool
    raw: Mapping[str, Any]
    """Everything that the engine said."""

    @property
    def is_running(self) -> bool:
        """Whether it has a process that could be signalled, now or after an unpause."""
        return self.state in ("running", "paused") and self.pid > 0

    @property
    def addresses(self) -> Mapping[str, str]:
        """By network, those that it has now."""
        found = (self.raw.get("NetworkSettings") or {}).get("Networks") or {}
        return {name: str(each["IPAddress"]) for name, each in found.items() if each.get("IPAddress")}

    @property
    def published(self) -> Mapping[str, str]:
        """By `80/tcp`, where on the host the port is published; the first place if there are more."""
        found = (self.raw.get("NetworkSettings") or {}).get("Ports") or {}
        return {
            port: f"{places[0].get('HostIp') or '0.0.0.0'}:{places[0].get('HostPort')}"
            for port, places in found.items()
            if places
        }

    @classmethod
    def from_inspect(cls, data: Mapping[str, Any]) -> Container:
        """Docker's shape, which Podman's compatible API shares."""
        state, config, host = data["State"], data["Config"], data["HostConfig"]
        health = state.get("Health") or {}
        return cls(
            id=data["Id"],
            name=str(data["Name"]).removeprefix("/"),
            image=str(config.get("Image") or ""),
            image_id=str(data.get("Image") or ""),
            state=_state(state),
            pid=int(state.get("Pid") or 0),
            started_at=str(state.get("StartedAt") or ""),
            exit_code=int(state.get("ExitCode") or 0),
            oom=bool(state.get("OOMKilled")),
            health="" if health.get("Status") in (None, "none") else str(health["Status"]),
            restart_count=int(data.get("RestartCount") or 0),
            policy=RestartPolicy.from_json(host.get("RestartPolicy") or {}),
            auto_remove=bool(host.get("AutoRemove")),
            stop_signal=str(config.get("StopSignal") or ""),
            stop_timeout_s=_optional(config.get("StopTimeout")),
            memory_limit=int(host.get("Memory") or 0),
            labels=dict(config.get("Labels") or {}),
            command=(*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())),
            has_init=bool(host.get("Init")),
            tty=bool(config.get("Tty")),
            raw=data,
        )


def _state(state: Mapping[str, Any]) -> State:
    said = str(state.get("Status") or "").lower()
    # Podman's own words, where its compatible API lets them through.
    said = {
        "stopped": "exited",
        "configured": "created",
        "initialized": "created",
        "stopping": "running",
    }.get(said, said)
    if said in STATES:
        return said  # type: ignore[return-value]
    return "running" if state.get("Running") else "exited"


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)
