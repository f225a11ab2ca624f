"""What several instances say of one server, as one."""

from __future__ import annotations

from collections.abc import Mapping

from hitless.rollout.balancers.balancer import InstanceState, ServerState
from hitless.rollout.balancers.errors import InstancesDiffer


def agreed(name: str, instances: Mapping[str, InstanceState]) -> ServerState:
    """One state.

    Raises:
        InstancesDiffer: their status is not the same.
    """
    statuses = {each.status for each in instances.values()}
    if len(statuses) > 1:
        said = ", ".join(f"{each.status} at {where}" for where, each in instances.items())
        raise InstancesDiffer(
            f"the instances do not agree on {name}: {said}; drain it or make it ready again"
        )
    return ServerState(
        name=name,
        status=statuses.pop(),
        up=all(each.up for each in instances.values()),
        sessions=sum(each.sessions for each in instances.values()),
        queued=sum(each.queued for each in instances.values()),
        instances=dict(instances),
    )
