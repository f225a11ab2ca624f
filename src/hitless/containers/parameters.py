"""The parameters of one container's stop, put together from all sources; each remembers where it came from.

In order, the first that says something wins: the command line, containers.toml, labels of the container, the image's
STOPSIGNAL and StopTimeout, Kolla's timeouts, defaults.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

from hitless.config import Loaded
from hitless.containers.alternates import Alternates
from hitless.containers.container import Container
from hitless.containers.dialect import Dialect
from hitless.containers.drain import Balancer, BalancerDrain, Drain, HostDrain, HttpDrain, InsideDrain
from hitless.containers.errors import InvalidParameters
from hitless.containers.kolla import KollaTimeouts
from hitless.containers.rules import ContainersFile, parse_step
from hitless.containers.said import Layer, Said, by_file, by_image, by_labels
from hitless.containers.sequence import DRAIN_S, WAIT_S, Sequence, Step
from hitless.containers.signals import DEFAULT

Order = Literal["auto", "old_first", "new_first"]

READY_S: Final = 120.0
SETTLE_S: Final = 3.0
DEFAULTS: Final[Layer] = {
    "signal": Said(DEFAULT, "default"),
    "wait": Said(WAIT_S, "default"),
    "at_end": Said("kill", "default"),
    "drain.timeout": Said(DRAIN_S, "default"),
    "drain.on_failure": Said("refuse", "default"),
    "ready": Said(READY_S, "default"),
    "settle": Said(SETTLE_S, "default"),
    "order": Said("auto", "default"),
    "keep_addresses": Said(False, "default"),
}


class Row(NamedTuple):
    """One line of `--explain`."""

    key: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Parameters:
    """What applies to one container."""

    sequence: Sequence
    after: tuple[str, ...]
    ready_s: float
    settle_s: float
    order: Order
    """Of a replacement: `auto`, `old_first` or `new_first`."""
    keeps_addresses: bool
    alternates: Alternates
    said: Mapping[str, Said]
    """By dotted key; with the origins."""

    def rows(self) -> Iterator[Row]:
        """Every parameter, its value, and why."""
        for key, said in self.said.items():
            yield Row(key, _shown(said.value), said.where)


def parameters(
    container: Container,
    dialect: Dialect,
    *,
    given: Mapping[str, Any] | None = None,
    file: Loaded[ContainersFile] | None = None,
    kolla: KollaTimeouts | None = None,
    balancers: Mapping[str, Balancer] | None = None,
) -> Parameters:
    """What applies; `given` are the command line's, by dotted key, `balancers` those that `drain.balancer` can name.

    Raises:
        InvalidParameters: a label, the container's own stop signal, or the name of a balancer makes no sense.
    """
    layers: list[Layer] = [DEFAULTS]
    if kolla is not None:
        layers.append(kolla.layer(container))
    layers.append(by_image(container, dialect))
    layers.append(by_labels(container))
    if file is not None:
        layers += by_file(container, file)
    layers.append({key: Said(value, _flag(key)) for key, value in (given or {}).items()})
    return _together(layers, container.name, balancers or {})


def _together(layers: Items[Layer], name: str, balancers: Mapping[str, Balancer]) -> Parameters:
    said: dict[str, Said] = {}
    steps: tuple[Step, ...] = (Step(DEFAULT, WAIT_S),)
    for layer in layers:
        steps = _steps(steps, layer)
        if "steps" in layer:
            said.pop("signal", None)
            said.pop("wait", None)
        said.update(layer)
    accept = said["accept"].value if "accept" in said else None
    sequence = Sequence(
        steps=steps,
        drains=(*_balancer_drains(said, name, balancers), *_drains(said)),
        drain_s=said["drain.timeout"].value,
        on_drain_failure=said["drain.on_failure"].value,
        accept=None if accept is None else frozenset(accept),
        at_end=said["at_end"].value,
    )
    after = said["after"].value if "after" in said else ()
    if not sequence.drains:
        said = {key: value for key, value in said.items() if not key.startswith("drain.")}
    return Parameters(
        sequence=sequence,
        after=after,
        ready_s=said_s(said, "ready"),
        settle_s=said_s(said, "settle"),
        order=said["order"].value,
        keeps_addresses=said["keep_addresses"].value,
        alternates=_alternates(said),
        said=said,
    )


def _alternates(said: Layer) -> Alternates:
    keys = {name: f"alternate.{name}" for name in ("publish", "address", "env")}
    return Alternates(**{name: tuple(said[key].value) for name, key in keys.items() if key in said})


def said_s(said: Layer, key: str) -> float:
    return float(said[key].value)


def _steps(steps: tuple[Step, ...], layer: Layer) -> tuple[Step, ...]:
    """`signal` and `wait` are those of the first step, whoever gave the steps."""
    if "steps" in layer:
        steps = tuple(parse_step(text) for text in layer["steps"].value)
    first = steps[0]
    if "signal" in layer:
        first = replace(first, signal=layer["signal"].value)
    if "wait" in layer:
        first = replace(first, wait_s=layer["wait"].value)
    return (first, *steps[1:])


def _balancer_drains(said: Layer, name: str, balancers: Mapping[str, Balancer]) -> Iterator[Drain]:
    if "drain.balancer" not in said:
        return
    wanted = said["drain.balancer"]
    if wanted.value not in balancers:
        known = ", ".join(sorted(balancers)) or "none"
        raise InvalidParameters(
            f"{wanted.where}: there is no balancer {wanted.value}; containers.toml has {known}"
        )
    server = said["drain.server"].value if "drain.server" in said else name
    yield BalancerDrain(balancers[wanted.value], server)


def _drains(said: Layer) -> Iterator[Drain]:
    def value(key: str) -> Any:
        return said[f"drain.{key}"].value if f"drain.{key}" in said else None

    if value("host"):
        yield HostDrain(value("host"), value("host_undo") or ())
    if value("http"):
        yield HttpDrain(value("http"), value("http_method") or "POST")
    if value("inside"):
        yield InsideDrain(value("inside"), value("inside_undo") or ())


def _flag(key: str) -> str:
    return "--" + key.replace(".", "-").replace("_", "-")


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return shlex.join(str(part) for part in value)
    return f"{value:g} s" if isinstance(value, float) else str(value)
