"""From settings to a balancer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from pydantic import TypeAdapter, ValidationError

from hitless.containers import InvalidParameters
from hitless.rollout.balancers.balancer import Balancer
from hitless.rollout.balancers.command import CommandBalancer
from hitless.rollout.balancers.haproxy import HAProxy
from hitless.rollout.balancers.nginx import Nginx
from hitless.rollout.balancers.settings import BalancerSettings, CommandSettings, HAProxySettings

_SETTINGS: Final[TypeAdapter[BalancerSettings]] = TypeAdapter(BalancerSettings)


def from_table(name: str, table: Mapping[str, object]) -> Balancer:
    """The balancer that `[balancer.NAME]` of containers.toml describes.

    Raises:
        InvalidParameters: it makes no sense.
    """
    try:
        return balancer(_SETTINGS.validate_python(table))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(["balancer", name, *(str(part) for part in first["loc"][1:])])
        raise InvalidParameters(f"containers.toml: {where}: {first['msg'].lower()}") from error


def balancer(settings: BalancerSettings, told: Callable[[str], None] = lambda _: None) -> Balancer:
    """The balancer that is described; close it in the end. `told` hears what no return value says: an instance that
    was reloaded or does not answer, sessions that were cut."""
    if isinstance(settings, HAProxySettings):
        return HAProxy(settings, told)
    if isinstance(settings, CommandSettings):
        return CommandBalancer(settings)
    return Nginx(settings)
