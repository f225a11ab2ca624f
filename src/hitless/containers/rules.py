"""`containers.toml`: how the containers of this host are stopped and replaced."""

from __future__ import annotations

import shlex
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from hitless.config import Seconds
from hitless.config.units import parse_seconds
from hitless.containers.alternates import assigned, published
from hitless.containers.sequence import Step
from hitless.containers.signals import parse_signal

Wait = Annotated[Seconds, Field(ge=0)]
Signal = Annotated[str, AfterValidator(parse_signal)]


def _words(value: object) -> object:
    """Text, as a shell would take it apart; no shell is started."""
    return tuple(shlex.split(value)) if isinstance(value, str) else _tuple(value)


def _items(value: object) -> object:
    """Text with commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return _tuple(value)


def _codes(value: object) -> object:
    items = _items(value)
    if isinstance(items, tuple) and all(isinstance(each, str) and each.isdecimal() for each in items):
        return tuple(int(each) for each in items)
    return items


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Command = Annotated[tuple[str, ...], BeforeValidator(_words), Field(min_length=1)]
Globs = Annotated[tuple[str, ...], BeforeValidator(_items)]
Codes = Annotated[
    tuple[Annotated[int, Field(ge=0, le=255)], ...], BeforeValidator(_codes), Field(min_length=1)
]


def parse_step(text: str) -> Step:
    """`SIGQUIT 5m` as a step.

    Raises:
        ValueError: it is no signal and a time.
    """
    signal, _, wait = text.strip().replace(":", " ").partition(" ")
    if not wait.strip():
        raise ValueError(f'{text!r}: write a signal and how long to wait, as in "SIGQUIT 5m"')
    seconds = parse_seconds(wait)
    if seconds < 0:
        raise ValueError(f"{text!r}: a wait cannot be below 0")
    return Step(parse_signal(signal), seconds)


def _step_text(text: str) -> str:
    step = parse_step(text)
    return f"{step.signal} {step.wait_s:g}s"


Steps = Annotated[
    tuple[Annotated[str, AfterValidator(_step_text)], ...], BeforeValidator(_items), Field(min_length=1)
]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DrainRule(_Table):
    """What is done before the first signal. All that are given are done, in this order: balancer, host, http, inside."""

    balancer: str | None = Field(None, description="a [balancer.NAME] of the file that it is taken out of")
    server: str | None = Field(
        None, description="what the balancer calls it; the container's name if not given"
    )
    host: Command | None = Field(
        None, description="command on this machine, with HITLESS_CONTAINER in its environment"
    )
    host_undo: Command | None = Field(None, description="command that takes it back if the stop is given up")
    http: str | None = Field(None, description="URL that is posted to; 2xx means drained")
    http_method: Literal["GET", "POST", "PUT", "DELETE"] | None = Field(None, description="instead of POST")
    inside: Command | None = Field(None, description="command in the container, such as hitless stop")
    inside_undo: Command | None = Field(None, description="command in the container that takes it back")
    timeout: Wait | None = Field(None, description="for all of them together")
    on_failure: Literal["refuse", "proceed"] | None = Field(
        None, description="whether a container that could not be drained is stopped all the same"
    )

    @field_validator("http")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("expected a URL such as http://127.0.0.1:8080/drain")
        return value


class AlternateRule(_Table):
    """Two ways to be reached, of which each container has the one that its predecessor has not: so that old and new can run
    side by side."""

    publish: Globs | None = Field(
        None, description="published ports, as in 127.0.0.1:8101:80, 127.0.0.1:8102:80"
    )
    address: Globs | None = Field(
        None, description="fixed addresses, as in NETWORK=10.0.0.11, NETWORK=10.0.0.12"
    )
    env: Globs | None = Field(None, description="environment, as in PORT=8081, PORT=8082")

    @field_validator("publish", "address", "env")
    @classmethod
    def _can_be_told_apart(
        cls, value: tuple[str, ...] | None, info: ValidationInfo
    ) -> tuple[str, ...] | None:
        check = published if info.field_name == "publish" else assigned
        kinds = [check(each)[0] for each in value or ()]
        for kind in kinds:
            if kinds.count(kind) < 2:
                raise ValueError(
                    f"{kind}: name at least two, of which the new container takes the one that is free"
                )
        return value


class Rule(_Table):
    """What one source says of a container; what it leaves out, the next one says."""

    signal: Signal | None = Field(None, description="of the first step")
    wait: Wait | None = Field(None, description="how long the first step waits")
    steps: Steps | None = Field(None, description="signals and waits in order, as in SIGQUIT 5m, SIGTERM 30s")
    accept: Codes | None = Field(
        None, description="exit codes of a clean end; 0 and 128 + each signal if not given"
    )
    at_end: Literal["kill", "leave"] | None = Field(
        None, description="what is done with one that does not end"
    )
    after: Globs | None = Field(
        None,
        description="containers (globs) that use this one: it is stopped after them, and started before them",
    )
    ready: Wait | None = Field(None, description="how long a new container may take to become healthy")
    settle: Wait | None = Field(
        None, description="how long a new container without a health check must run to count as healthy"
    )
    order: Literal["auto", "old_first", "new_first"] | None = Field(
        None,
        description="of a replacement; auto is new first where it can be reached beside the old one (alternate), or where a"
        " balancer is declared (drain.host, drain.host_undo) and nothing can be had by one container only",
    )
    keep_addresses: bool | None = Field(
        None, description="whether the new container gets the addresses that the old one was only lent, too"
    )
    drain: DrainRule = DrainRule()
    alternate: AlternateRule = AlternateRule()


class Service(Rule):
    """What holds for containers whose name matches the section's, or which have all of `labels`."""

    labels: dict[str, str] = Field({}, description="match by labels instead of the name; values may be globs")


class Kolla(_Table):
    """Where Kolla's own timeouts are read from."""

    globals: str | None = Field(None, description="path of Kolla's globals.yml")


class ContainersFile(_Table):
    """The whole file."""

    defaults: Rule = Rule()
    kolla: Kolla = Kolla()
    service: dict[str, Service] = {}
    balancer: dict[str, dict[str, object]] = Field(
        {}, description="load balancers by name, described as in rollout.yaml"
    )
