"""From settings to a balancer."""

from __future__ import annotations

from collections.abc import Callable

from hitless.rollout.balancers.balancer import Balancer
from hitless.rollout.balancers.command import CommandBalancer
from hitless.rollout.balancers.haproxy import HAProxy
from hitless.rollout.balancers.nginx import Nginx
from hitless.rollout.balancers.settings import BalancerSettings, CommandSettings, HAProxySettings


def balancer(settings: BalancerSettings, told: Callable[[str], None] = lambda _: None) -> Balancer:
    """The balancer that is described; close it in the end. `told` hears what no return value says: an instance that
    was reloaded or does not answer, sessions that were cut."""
    if isinstance(settings, HAProxySettings):
        return HAProxy(settings, told)
    if isinstance(settings, CommandSettings):
        return CommandBalancer(settings)
    return Nginx(settings)
