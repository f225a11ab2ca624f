"""The typed form of `rollout.yaml`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from hitless.config import Seconds
from hitless.rollout import timeouts
from hitless.rollout.balancers.settings import BalancerSettings
from hitless.rollout.executors.settings import ExecutorSettings, LocalSettings


def _words(value: object) -> object:
    """Text, as a shell would take it apart; no shell is started."""
    if isinstance(value, str):
        return tuple(shlex.split(value))
    return tuple(value) if isinstance(value, list) else value


def _command(value: object) -> object:
    words = _words(value)
    if isinstance(value, str | list) and isinstance(words, tuple) and not (words and words[0]):
        raise ValueError("is empty: name a command, or leave the key out if it may be left out")
    return words


Wait = Annotated[Seconds, Field(gt=0, le=30 * 86400)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$", max_length=64)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Command = Annotated[tuple[str, ...], BeforeValidator(_command)]
Percent = Annotated[str, Field(pattern=r"^(100|[0-9]{1,2})%$")]
Share = Annotated[int, Field(ge=0)] | Percent
"""A number of nodes, or a share of them such as 25%."""


class Section(BaseModel):
    """A frozen table of settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class NodeSettings(Section):
    address: str = Field("", description="host or address of the node; its name if not set")
    user: str | None = Field(None, description="who the executor works as there")
    server: str | None = Field(None, description="what the balancers call it; its name if not set")
    variables: Mapping[str, str] = Field({}, description="variables of this node")
    options: Mapping[str, str] = Field({}, description="of the executor, such as port")


class CommandsProcess(Section):
    """Any processes, by commands that the executor runs on the node."""

    kind: Literal["commands"] = "commands"
    stop: Command = Field(description="asks the processes to end; need not wait for it")
    gone: Command = Field(
        description="exits 0 when every process of the service is gone, 1 while there is one"
    )
    kill: Command = Field(
        (), description="ends them by force at the stop's deadline; not set: never by force"
    )
    upgrade: Command = Field(description="installs {release}; is run again after a crash")
    installed: Command = Field((), description="prints the release that is installed; not set: not known")
    start: Command = Field(description="starts the processes and returns")


class SystemdProcess(Section):
    """A systemd unit."""

    kind: Literal["systemd"]
    unit: str = Field(description="name of the unit")
    systemctl: Command = Field(("systemctl",), description="how systemctl is run, such as [sudo, systemctl]")
    upgrade: Command = Field(description="installs {release}; is run again after a crash")
    installed: Command = Field((), description="prints the release that is installed; not set: not known")
    kill: bool = Field(False, description="whether SIGKILL is sent at the stop's deadline")


class ContainerProcess(Section):
    """A container of Docker or Podman, by `hitless containers` on the node."""

    kind: Literal["container"]
    name: str = Field(description="name of the container")
    image: str = Field(description="image of {release}")
    hitless: Command = Field(("hitless",), description="how hitless is run on the node")
    options: Words = Field(
        (), description="further options of hitless containers, such as --engine unix:///run/docker.sock"
    )
    pull: Command = Field(
        (), description="fetches the image, such as [docker, pull, ...]; not set: it is there"
    )


class ServeProcess(Section):
    """A `hitless serve`, by its control socket on the node."""

    kind: Literal["serve"]
    name: str = Field(description="name of the service on the node")
    hitless: Command = Field(("hitless",), description="how hitless is run on the node")
    upgrade: Command = Field(description="installs {release}; is run again after a crash")
    installed: Command = Field((), description="prints the release that is installed; not set: not known")
    start: Command = Field(description="starts it and returns")
    environment: Mapping[str, str] = Field({}, description="of these commands, such as HITLESS_RUN_DIR")


ProcessSettings = Annotated[
    CommandsProcess | SystemdProcess | ContainerProcess | ServeProcess, Field(discriminator="kind")
]


class HealthSettings(Section):
    url: str | None = Field(
        None, description="asked from here, directly at the node: http://{address}:9292/health"
    )
    status: tuple[int, ...] = Field((200, 204), description="answers that are healthy")
    command: Command = Field((), description="run on the node; exit code 0 is healthy")
    passes: int = Field(3, ge=1, description="healthy answers in a row that a started node must give")
    interval: Wait = Field(timeouts.INTERVAL_S, description="between two probes")
    ask: Wait = Field(timeouts.ASK_S, description="deadline of one answer")

    @model_validator(mode="after")
    def _some(self) -> HealthSettings:
        if (self.url is None) == (not self.command):
            raise ValueError("expected either url or command")
        return self


class VersionSettings(Section):
    """How a node proves which release it runs."""

    url: str | None = Field(None, description="asked from here, directly at the node")
    key: str | None = Field(None, description="the key of the JSON answer that holds it, with dots")
    header: str | None = Field(None, description="the header of the answer that holds it")
    command: Command = Field(
        (), description="run on the node; must ask the processes that run, not installed files"
    )
    pattern: str | None = Field(None, description="regular expression whose first group is it")

    @field_validator("pattern")
    @classmethod
    def _has_group(cls, value: str | None) -> str | None:
        try:
            groups = re.compile(value).groups if value is not None else 1
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        if groups == 0:
            raise ValueError("has no group: put what is the version in parentheses")
        return value

    @model_validator(mode="after")
    def _some(self) -> VersionSettings:
        if (self.url is None) == (not self.command):
            raise ValueError("expected either url or command")
        return self


class DrainSettings(Section):
    late: Literal["pause", "proceed"] = Field(
        "pause",
        description="when requests outlive the deadline: pause the rollout, or stop the node and cut them",
    )


class CanarySettings(Section):
    node: str | None = Field(None, description="the node that goes first; the first of the order if not set")
    soak: Wait | None = Field(None, description="how long it is watched; soak if not set")


class DatabaseSettings(Section):
    config: str = Field(description="settings of hitless db of the new release; may hold variables")
    backup: bool = Field(True, description="whether the rollout takes a backup first")
    contract: Literal["run", "pause", "leave"] = Field(
        "run",
        description="at the end: run contract, pause before it, or leave it to a later hitless db contract",
    )


class Deadlines(Section):
    drain: Wait = Field(timeouts.DRAIN_S, description="for the requests of a node to end")
    stop: Wait = Field(timeouts.STOP_S, description="for its processes to be gone")
    upgrade: Wait = Field(timeouts.UPGRADE_S, description="for the release to be installed")
    start: Wait = Field(timeouts.START_S, description="for the start action")
    health: Wait = Field(timeouts.HEALTH_S, description="for the started node to pass its probes")
    ready: Wait = Field(timeouts.READY_S, description="for the balancers to call it up")
    hook: Wait = Field(timeouts.HOOK_S, description="for one hook")
    observe: Wait = Field(
        timeouts.OBSERVE_S, description="for one look at a node, a balancer or the database"
    )
    overall: Wait = Field(timeouts.OVERALL_S, description="for the whole rollout, pauses not counted")


class Hooks(Section):
    """Commands that are run here, not on a node."""

    before: Command = Field((), description="before anything is touched")
    before_node: Command = Field((), description="before a node is drained")
    after_node: Command = Field((), description="after a node has soaked")
    before_contract: Command = Field((), description="before contract; if it fails, contract does not begin")
    after: Command = Field((), description="when everything is done")
    on_failure: Command = Field(
        (), description="when the rollout pauses because something failed; {message} says what"
    )


class RolloutSettings(Section):
    service: Name = Field(description="name of the service: of its lock and its journal")
    release: str | None = Field(None, description="release to go to; the last of releases if not set")
    releases: Mapping[str, Mapping[str, str]] = Field(
        description="every release there is, oldest first, each with its variables; `version` is what its nodes say"
    )
    variables: Mapping[str, str] = Field({}, description="variables of all nodes and releases")
    nodes: Mapping[Name, NodeSettings] = Field({}, description="the nodes, by name")
    inventories: Words = Field(
        (), description="files that list nodes; all that list any must list the same ones"
    )
    order: tuple[str, ...] = Field(
        (), description="nodes that go first, in this order; the others follow as they are listed"
    )
    batch: Share = Field(1, description="nodes that are upgraded at once: a number, or a share such as 25%")
    min_up: Share | None = Field(None, description="nodes that must stay up; all but one batch if not set")
    soak: Wait = Field(timeouts.SOAK_S, description="how long a batch is watched before the next one begins")
    canary: CanarySettings = CanarySettings()
    process: ProcessSettings
    health: HealthSettings
    version: VersionSettings
    balancers: Mapping[Name, BalancerSettings] = Field({}, description="all of them are told of each node")
    executor: ExecutorSettings = Field(LocalSettings(), description="how commands get to a node")
    database: DatabaseSettings | None = None
    drain: DrainSettings = DrainSettings()
    deadlines: Deadlines = Deadlines()
    on_failure: Literal["pause", "roll_back"] = Field("pause", description="what happens when a step fails")
    hooks: Hooks = Hooks()
    journal: str | None = Field(
        None,
        description="URL of the journal's database, or: database (the service's own); a file in the state directory if not set",
    )
