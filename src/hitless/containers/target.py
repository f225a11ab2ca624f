"""What is to be done something to, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hitless.containers.container import Container
from hitless.containers.order import Order, stop_order
from hitless.containers.parameters import Parameters


@dataclass(frozen=True, slots=True)
class Target:
    """One container, and what applies to it."""

    container: Container
    parameters: Parameters

    @property
    def name(self) -> str:
        return self.container.name


@dataclass(frozen=True, slots=True)
class Unclear:
    """One container that can only be looked at, because what applies to it makes no sense."""

    container: Container
    message: str

    @property
    def name(self) -> str:
        return self.container.name


def order_of(targets: Sequence[Target]) -> Order:
    """Which of them is stopped after which.

    Raises:
        InvalidParameters: they wait for each other in a circle.
    """
    containers = {target.name: target.container for target in targets}
    return stop_order(containers, {target.name: target.parameters.after for target in targets})
