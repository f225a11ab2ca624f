"""Load balancers that a node is taken out of before its turn, and put back into after it."""

from __future__ import annotations

from hitless.rollout.balancers.balancer import Balancer, InstanceState, ServerState, Session, Status
from hitless.rollout.balancers.errors import (
    BalancerError,
    BalancerRefused,
    BalancerUnreachable,
    DrainLate,
    InstancesDiffer,
    NoSuchServer,
)

__all__ = [
    "Balancer",
    "BalancerError",
    "BalancerRefused",
    "BalancerUnreachable",
    "DrainLate",
    "InstanceState",
    "InstancesDiffer",
    "NoSuchServer",
    "ServerState",
    "Session",
    "Status",
]
