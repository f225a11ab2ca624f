"""Addresses that somebody gave a container. Docker tells which they are; Podman's API shows only those that it has now.

For Podman they are read from the command that created the container, and written down in a label of the one that replaces
it, which was created by no command.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from hitless.containers.container import Container
from hitless.containers.engine import Engine
from hitless.containers.spec import MAC, Spec

LABEL: Final = "hitless.fixed-addresses"
V4, V6 = "IPv4Address", "IPv6Address"
OPTIONS: Final = {"--ip": V4, "--ip6": V6, "--mac-address": MAC}
PARTS: Final = {"ip": V4, "ip6": V6, "mac": MAC}
NETWORK: Final = ("--network", "--net")

Fixed = dict[str, dict[str, str]]
"""By network, the keys of an endpoint's settings."""


async def fixed_addresses(engine: Engine, old: Container, *, keeps_all: bool) -> Fixed:
    """Those of `old`, beyond what the engine shows as fixed; with `keeps_all` also those that it was only lent.

    Raises:
        EngineError: the engine does not answer.
    """
    found: Fixed = {}
    if engine.dialect.kind == "podman":
        command = without_arguments(await engine.creation_command(old.id), old.raw["Config"].get("Cmd") or ())
        found = _written_down(old) or asked_for(command, list(_present(old)))
    if keeps_all:
        for name, endpoint in _present(old).items():
            found[name] = {**_lent(endpoint), **found.get(name, {})}
    return {name: each for name, each in found.items() if each}


def label_of(fixed: Fixed) -> dict[str, str]:
    """What the new container is labelled with, so that its own successor keeps them as well."""
    return {LABEL: json.dumps(fixed, sort_keys=True)} if fixed else {}


def addresses_of(spec: Spec, fixed: Fixed) -> Fixed:
    """What is fixed where it is not written down elsewhere, as far as `spec` still has it so."""
    return {
        name: {
            key: str((spec.networks[name].get("IPAMConfig") or {}).get(key) or value)
            for key, value in each.items()
        }
        for name, each in fixed.items()
        if name in spec.networks
    }


def _present(old: Container) -> Mapping[str, Any]:
    return (old.raw.get("NetworkSettings") or {}).get("Networks") or {}


def _lent(endpoint: Mapping[str, Any]) -> dict[str, str]:
    said = {V4: endpoint.get("IPAddress"), V6: endpoint.get("GlobalIPv6Address")}
    return {key: str(value) for key, value in said.items() if value}


def _written_down(old: Container) -> Fixed:
    try:
        found = json.loads(old.labels.get(LABEL, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def without_arguments(command: tuple[str, ...], arguments: Sequence[str]) -> tuple[str, ...]:
    """The engine's part of a command line: what the container is given to run may have options of the same names."""
    count = len(arguments)
    is_theirs = count and command[-count:] == tuple(arguments)
    return command[:-count] if is_theirs else command


def asked_for(command: tuple[str, ...], networks: list[str]) -> Fixed:
    """From `podman run --network net:ip=10.0.0.9 --ip 10.0.0.8 …`."""
    asked: Fixed = {}
    alone: dict[str, str] = {}
    for option, value in _options(command):
        if option in NETWORK:
            name, _, parts = value.partition(":")
            pairs = (part.partition("=") for part in parts.split(",") if "=" in part)
            asked[name] = {PARTS[key]: text for key, _, text in pairs if key in PARTS}
        elif option in OPTIONS:
            alone[OPTIONS[option]] = value
    first = next(iter(asked), next(iter(networks), ""))
    if alone and first:
        asked[first] = {**asked.get(first, {}), **alone}
    return {name: each for name, each in asked.items() if name in networks}


def _options(command: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for word, following in pairwise((*command, "")):
        option, equals, value = word.partition("=")
        if option in OPTIONS or option in NETWORK:
            yield option, value if equals else following
