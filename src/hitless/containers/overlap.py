"""Whether a new container may run beside the one that it replaces, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hitless.containers.container import Container
from hitless.containers.errors import ContainersError
from hitless.containers.parameters import Parameters
from hitless.containers.spec import MAC, Spec

EVERYWHERE: Final = ("", "0.0.0.0", "::")


class CannotOverlap(ContainersError):
    """Both were to run at the same time, and cannot."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Which of the two orders it is."""

    new_first: bool
    why: str


def overlap(
    old: Container, *, before: Spec, after: Spec, parameters: Parameters, new_first: bool = False
) -> Overlap:
    """The order for `old`, which `before` describes, and one that is created by `after`. `new_first` is what was asked for
    besides the parameters.

    Raises:
        CannotOverlap: new first was asked for, and each of them wants what only one can have.
    """
    order = "new_first" if new_first else parameters.order
    both = _contested(before, after)
    if not old.is_running:
        return Overlap(False, "the old one does not run")
    if order == "new_first" and both:
        raise CannotOverlap(
            f"the new one cannot run beside the old one, because only one can have {', '.join(both)}; name a second way to"
            " reach it (alternate.publish, alternate.address), or replace it old first"
        )
    if order == "new_first":
        return Overlap(True, "as asked for")
    if order == "old_first":
        return Overlap(False, "as asked for")
    if both:
        return Overlap(False, f"only one can have {', '.join(both)}")
    if parameters.alternates:
        return Overlap(True, "it can be reached beside the old one")
    return _by_balancer(old, before, parameters)


def _by_balancer(old: Container, before: Spec, parameters: Parameters) -> Overlap:
    if not parameters.sequence.has_balancer:
        return Overlap(False, "no balancer and no second address is declared")
    if str(before.body["HostConfig"].get("NetworkMode")) == "host":
        return Overlap(False, "both would listen in the host's network")
    if shared := sorted(_writes(old)):
        return Overlap(False, f"both would write to {', '.join(shared)}")
    return Overlap(True, "a balancer is declared")


def _claims(spec: Spec) -> Iterator[tuple[str, str]]:
    """What only one container can have at a time: what it is, and the host's address where it is a port."""
    for port, bindings in spec.ports.items():
        for binding in bindings or ():
            said = str(binding.get("HostPort") or "")
            if said.isdecimal() and int(said):
                yield f"port {said}/{port.partition('/')[2]}", str(binding.get("HostIp") or "")
    for name, endpoint in spec.networks.items():
        for address in (endpoint.get("IPAMConfig") or {}).values():
            if address:
                yield f"{address} on {name}", ""
        if endpoint.get(MAC):
            yield f"{endpoint[MAC]} on {name}", ""
    if spec.body.get(MAC):
        yield str(spec.body[MAC]), ""


def _contested(before: Spec, after: Spec) -> list[str]:
    """What both would have."""
    mine, theirs = list(_claims(before)), list(_claims(after))
    found = {
        what
        for what, here in mine
        for same, there in theirs
        if what == same and (here == there or here in EVERYWHERE or there in EVERYWHERE)
    }
    return sorted(found)


def _writes(old: Container) -> Iterator[str]:
    return (
        str(mount.get("Destination"))
        for mount in old.raw.get("Mounts") or ()
        if mount.get("Type") in ("volume", "bind") and mount.get("RW", True)
    )
