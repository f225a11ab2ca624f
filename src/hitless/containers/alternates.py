"""Two ways to be reached, of which a container has one and its successor the other, so that both can run side by side.

Nothing is remembered: what the old one has is seen, and the new one takes the next of those that are named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from hitless.containers.spec import ADDRESSES, Spec

PROTOCOLS: Final = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True)
class Alternates:
    """What is named; nothing by default."""

    publish: tuple[str, ...] = ()
    address: tuple[str, ...] = ()
    env: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.publish or self.address or self.env)

    def switched(self, spec: Spec) -> Spec:
        """`spec` with what the container that it describes has not."""
        spec = self._env(self._publish(spec))
        return self._address(spec)

    def _publish(self, spec: Spec) -> Spec:
        ports = dict(spec.ports)
        for port, choices in _grouped(self.publish, published):
            had = {_where(binding) for binding in ports.get(port) or ()}
            ports[port] = [_binding(next((each for each in choices if each not in had), choices[0]))]
        host = {**spec.body["HostConfig"], **({"PortBindings": ports} if ports else {})}
        exposed = {**(spec.body.get("ExposedPorts") or {}), **{port: {} for port in ports}}
        return replace(
            spec, body={**spec.body, "HostConfig": host, **({"ExposedPorts": exposed} if exposed else {})}
        )

    def _env(self, spec: Spec) -> Spec:
        env = list(spec.body.get("Env") or ())
        for name, choices in _grouped(self.env, assigned):
            had = {each.partition("=")[2] for each in env if each.startswith(f"{name}=")}
            env = [each for each in env if not each.startswith(f"{name}=")]
            env.append(f"{name}={next((each for each in choices if each not in had), choices[0])}")
        return replace(spec, body={**spec.body, "Env": env})

    def _address(self, spec: Spec) -> Spec:
        networks = dict(spec.networks)
        for name, choices in _grouped(self.address, assigned):
            endpoint = networks.get(name, {})
            had = set((endpoint.get("IPAMConfig") or {}).values())
            chosen = next((each for each in choices if each not in had), choices[0])
            key = ADDRESSES[1] if ":" in chosen else ADDRESSES[0]
            networks[name] = {**endpoint, "IPAMConfig": {key: chosen}}
        return replace(spec, networks=networks)


def published(text: str) -> tuple[str, str]:
    """`127.0.0.1:8101:80/tcp` as (`80/tcp`, `127.0.0.1:8101`).

    Raises:
        ValueError: it is no published port.
    """
    places, _, protocol = text.strip().partition("/")
    host, _, inside = places.rpartition(":")
    port = host.rpartition(":")[2]
    if not (inside.isdecimal() and port.isdecimal() and (protocol or "tcp") in PROTOCOLS):
        raise ValueError(f"{text!r}: write [ADDRESS:]PORT:PORT_INSIDE, as in 127.0.0.1:8101:80")
    return f"{inside}/{protocol or 'tcp'}", host


def assigned(text: str) -> tuple[str, str]:
    """`PORT=8081` as (`PORT`, `8081`).

    Raises:
        ValueError: nothing is assigned.
    """
    name, equals, value = text.strip().partition("=")
    if not (equals and name and value):
        raise ValueError(f"{text!r}: write NAME=VALUE")
    return name, value


def _grouped(
    texts: Sequence[str], parsed: Callable[[str], tuple[str, str]]
) -> Iterator[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for text in texts:
        key, value = parsed(text)
        groups.setdefault(key, []).append(value)
    yield from groups.items()


def _binding(where: str) -> dict[str, Any]:
    address, _, port = where.rpartition(":")
    return {"HostIp": address.strip("[]"), "HostPort": port}


def _where(binding: dict[str, str]) -> str:
    address = binding.get("HostIp") or ""
    shown = f"[{address}]" if ":" in address else address
    return f"{shown}:{binding.get('HostPort')}" if shown else str(binding.get("HostPort"))
