"""Containers of Docker Engine and Podman: stopped, restarted and replaced without cutting their work."""

from __future__ import annotations

from hitless.containers.address import engine_address, usual_addresses
from hitless.containers.changed import ChangeOutcome
from hitless.containers.container import Container, RestartPolicy
from hitless.containers.doctor import FAULTS, Finding, examined
from hitless.containers.drain import (
    Balancer,
    BalancerDrain,
    Drain,
    DrainFailed,
    HostDrain,
    HttpDrain,
    InsideDrain,
)
from hitless.containers.engine import Engine
from hitless.containers.errors import (
    ContainersError,
    EngineError,
    EngineRefused,
    EngineTimeout,
    EngineUnreachable,
    InvalidParameters,
    NoSuchContainer,
    NoSuchImage,
    StopInProgress,
)
from hitless.containers.fleet import Fleet, Target
from hitless.containers.hub import Hub
from hitless.containers.intents import Intents
from hitless.containers.kolla import KollaTimeouts, read_kolla
from hitless.containers.outcome import REASONS, Ended, StepTaken, StopOutcome, worst
from hitless.containers.parameters import Parameters, parameters
from hitless.containers.recovery import recover
from hitless.containers.replacement import Replacement, Wish
from hitless.containers.rules import ContainersFile
from hitless.containers.selection import Selection, selected
from hitless.containers.sequence import Sequence, Step
from hitless.containers.stop import Stop

__all__ = [
    "FAULTS",
    "REASONS",
    "Balancer",
    "BalancerDrain",
    "ChangeOutcome",
    "Container",
    "ContainersError",
    "ContainersFile",
    "Drain",
    "DrainFailed",
    "Ended",
    "Engine",
    "EngineError",
    "EngineRefused",
    "EngineTimeout",
    "EngineUnreachable",
    "Finding",
    "Fleet",
    "HostDrain",
    "HttpDrain",
    "Hub",
    "InsideDrain",
    "Intents",
    "InvalidParameters",
    "KollaTimeouts",
    "NoSuchContainer",
    "NoSuchImage",
    "Parameters",
    "Replacement",
    "RestartPolicy",
    "Selection",
    "Sequence",
    "Step",
    "StepTaken",
    "Stop",
    "StopInProgress",
    "StopOutcome",
    "Target",
    "Wish",
    "engine_address",
    "examined",
    "parameters",
    "read_kolla",
    "recover",
    "selected",
    "usual_addresses",
    "worst",
]
