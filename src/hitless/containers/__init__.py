"""Containers of Docker Engine and Podman: stopped, restarted and replaced without cutting their work."""

from __future__ import annotations

from hitless.containers.address import engine_address, usual_addresses
from hitless.containers.alternates import Alternates
from hitless.containers.changed import ChangeOutcome
from hitless.containers.container import Container, RestartPolicy
from hitless.containers.doctor import FAULTS, Finding, examined, unclear
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
    StateUnwritable,
    StopInProgress,
)
from hitless.containers.fleet import Fleet
from hitless.containers.host import Host, Opening, opened, state_directory
from hitless.containers.hub import Hub
from hitless.containers.intents import Intents
from hitless.containers.kolla import KollaTimeouts, read_kolla
from hitless.containers.outcome import REASONS, Ended, StepTaken, StopOutcome, worst
from hitless.containers.overlap import CannotOverlap, Overlap
from hitless.containers.parameters import Parameters, parameters
from hitless.containers.records import Record, Records, recorded
from hitless.containers.replacement import Replacement, Wish
from hitless.containers.rules import ContainersFile
from hitless.containers.selection import Selection, selected
from hitless.containers.sequence import Sequence, Step
from hitless.containers.stop import Stop
from hitless.containers.target import Target, Unclear
from hitless.containers.ties import Tied

__all__ = [
    "FAULTS",
    "REASONS",
    "Alternates",
    "Balancer",
    "BalancerDrain",
    "CannotOverlap",
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
    "Host",
    "HostDrain",
    "HttpDrain",
    "Hub",
    "InsideDrain",
    "Intents",
    "InvalidParameters",
    "KollaTimeouts",
    "NoSuchContainer",
    "NoSuchImage",
    "Opening",
    "Overlap",
    "Parameters",
    "Record",
    "Records",
    "Replacement",
    "RestartPolicy",
    "Selection",
    "Sequence",
    "StateUnwritable",
    "Step",
    "StepTaken",
    "Stop",
    "StopInProgress",
    "StopOutcome",
    "Target",
    "Tied",
    "Unclear",
    "Wish",
    "engine_address",
    "examined",
    "opened",
    "parameters",
    "read_kolla",
    "recorded",
    "selected",
    "state_directory",
    "unclear",
    "usual_addresses",
    "worst",
]
