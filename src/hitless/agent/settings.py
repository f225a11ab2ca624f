"""`agent.toml`: which files the agent reads, and when it reads them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from hitless.agent.group.options import GroupSettings
from hitless.agent.notifications.settings import NotificationSettings
from hitless.config import Seconds, TomlFile, load


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReloadSettings(Settings):
    watch: bool = Field(False, description="take new files by themselves when they change")
    interval: Annotated[Seconds, Field(gt=0)] = Field(10.0, description="look at the files at least so often")
    settle: Annotated[Seconds, Field(ge=0)] = Field(1.0, description="how long files must have been the same")


class MetricsSettings(Settings):
    bind: Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\[\]]+):\d{1,5}$")] | None = Field(
        None, description="HOST:PORT where Prometheus may scrape the agent's own figures"
    )


class DrainSettings(Settings):
    timeout: Annotated[Seconds, Field(gt=0)] = Field(
        60.0, description="after it, polls that still hold old pipelines are reported"
    )


class AgentSettings(Settings):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")] = Field(
        "agent", description="names the control socket and the journal"
    )
    files: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="polling.yaml, pipeline.yaml, or directories of them; relative to this file"
    )
    control: str | None = Field(None, description="path of the control socket instead of its usual place")
    state_dir: str | None = Field(None, description="directory of the journal")
    reload: ReloadSettings = ReloadSettings()
    drain: DrainSettings = DrainSettings()
    metrics: MetricsSettings = MetricsSettings()
    group: GroupSettings | None = Field(None, description="the agents that share the work; alone if unset")
    notifications: NotificationSettings | None = Field(
        None, description="brokers whose notifications are taken"
    )


def read_settings(path: str, *, allow_writable: bool = False) -> AgentSettings:
    """With `files` as absolute paths. Raises ConfigError."""
    settings = load(AgentSettings, TomlFile(path, allow_writable)).settings
    folder = Path(path).absolute().parent
    notifications = settings.notifications
    return settings.model_copy(
        update={
            "files": tuple(str(folder / each) for each in settings.files),
            "notifications": None if notifications is None else notifications.below(folder),
        }
    )


@dataclass(frozen=True, slots=True)
class Named:
    """What a command line names."""

    files: tuple[str, ...]
    """Definitions, and directories of them."""
    notifications: tuple[tuple[str, NotificationSettings], ...] = ()
    """By the `agent.toml` that they stand in."""


def named_by(paths: Sequence[str], *, allow_writable: bool = False) -> Named:
    """An `agent.toml` (any `*.toml`) stands for the files that it names, and its listeners. Raises ConfigError."""
    files: list[str] = []
    notifications: list[tuple[str, NotificationSettings]] = []
    for path in paths:
        if not path.endswith(".toml"):
            files.append(path)
            continue
        settings = read_settings(path, allow_writable=allow_writable)
        files += settings.files
        if settings.notifications is not None:
            notifications.append((path, settings.notifications))
    return Named(tuple(files), tuple(notifications))
