"""How a container is stopped, as data: complete before anything is done, and printable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from hitless.containers.drain import Drain
from hitless.containers.signals import DEFAULT, KILL, number

AtEnd = Literal["kill", "leave"]
OnDrainFailure = Literal["refuse", "proceed"]

WAIT_S: Final = 60.0
"""After the last signal, where nobody said anything else."""
KILL_WAIT_S: Final = 30.0
"""For a killed process to be gone; one in uninterruptible sleep is not."""
DRAIN_S: Final = 60.0
NEVER_S: Final = 10 * 365 * 24 * 3600.0
"""Ten years: as long as an engine can be told to wait before it kills."""


@dataclass(frozen=True, slots=True)
class Step:
    """Send `signal`, then wait up to `wait_s` seconds for the container to end."""

    signal: str
    wait_s: float

    def __str__(self) -> str:
        return f"{self.signal}, {self.wait_s:g} s"


@dataclass(frozen=True, slots=True)
class Sequence:
    """Drain, then one step after the other until the container has ended."""

    steps: tuple[Step, ...] = (Step(DEFAULT, WAIT_S),)
    drains: tuple[Drain, ...] = ()
    drain_s: float = DRAIN_S
    """For all drains together."""
    on_drain_failure: OnDrainFailure = "refuse"
    """Whether a container that could not be drained is signalled all the same."""
    accept: frozenset[int] | None = None
    """Exit codes of a clean end. None: 0, and 128 + each signal of the steps, as a service that ends by the signal
    it was sent gives."""
    at_end: AtEnd = "kill"
    """What is done with a container that has not ended after the last step."""

    @property
    def total_s(self) -> float:
        """How long it can take until the end is decided."""
        drain_s = self.drain_s if self.drains else 0.0
        return drain_s + sum(step.wait_s for step in self.steps)

    @property
    def has_balancer(self) -> bool:
        """Whether something shares out the work, and can be told to send it elsewhere and back."""
        return any(drain.is_balancer for drain in self.drains)

    def accepts(self, exit_code: int) -> bool:
        """Whether a container that ended with this code ended as it should."""
        if self.accept is not None:
            return exit_code in self.accept
        signals = (number(step.signal) for step in self.steps if step.signal != KILL)
        return exit_code == 0 or exit_code in {128 + each for each in signals}

    def __str__(self) -> str:
        parts = [*(str(drain) for drain in self.drains), *(str(step) for step in self.steps)]
        return " → ".join([*parts, "SIGKILL" if self.at_end == "kill" else "leave it running"])
