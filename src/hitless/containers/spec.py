"""What a container was created with, so that another one can be created the same.

What came from its image is left to the new image: kept are the differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from hitless.containers.container import Container, RestartPolicy

FROM_IMAGE: Final = (
    "Cmd",
    "Entrypoint",
    "WorkingDir",
    "User",
    "StopSignal",
    "Healthcheck",
    "ExposedPorts",
    "Volumes",
)
"""Keys of the configuration that an image can set as well."""
KEPT: Final = (
    "Domainname",
    "AttachStdin",
    "OpenStdin",
    "StdinOnce",
    "Tty",
    "StopTimeout",
    "NetworkDisabled",
    "MacAddress",
)
ENDPOINT: Final = ("IPAMConfig", "Links", "DriverOpts")
ADDRESSES: Final = ("IPv4Address", "IPv6Address")
MAC: Final = "MacAddress"
SHARED: Final = ("host", "none", "container:")
"""Network modes in which a container has no networks of its own."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A container that could be created: the first of its networks is in `body`, where every engine takes it."""

    body: dict[str, Any]
    networks: dict[str, dict[str, Any]]
    """All of them with their endpoints' settings, the first one first."""

    @property
    def ports(self) -> dict[str, list[dict[str, str]]]:
        """Published ports: by `80/tcp`, the host's addresses and ports."""
        return self.body["HostConfig"].get("PortBindings") or {}


def creation(
    old: Container,
    *,
    image: str,
    image_config: Mapping[str, Any],
    policy: RestartPolicy,
    fixed: Mapping[str, Mapping[str, str]] | None = None,
) -> Spec:
    """What creates a container like `old` from `image`. `image_config` is the configuration of the image
    that the old one was made from, or nothing if it is not known any more; `fixed` are addresses that are kept, by network,
    where the engine does not tell them itself."""
    config = old.raw["Config"]
    body: dict[str, Any] = {key: config[key] for key in KEPT if config.get(key) not in (None, "", False)}
    body["Image"] = image
    for key in FROM_IMAGE:
        if config.get(key) and config.get(key) != image_config.get(key):
            body[key] = config[key]
    if "Entrypoint" in body and "Cmd" not in body and config.get("Cmd"):
        body["Cmd"] = config["Cmd"]  # an entry point of one's own takes the image's command away
    body["Env"] = _difference(config.get("Env"), image_config.get("Env"))
    labels = image_config.get("Labels") or {}
    body["Labels"] = {key: value for key, value in old.labels.items() if labels.get(key) != value}
    if _has_hostname(old):
        body["Hostname"] = config["Hostname"]
    body["HostConfig"] = _host(old, policy)
    return Spec(body, _networks(old, fixed or {}))


def labelled(spec: Spec, labels: Mapping[str, str]) -> Spec:
    """The same with more labels."""
    body = {**spec.body, "Labels": {**spec.body["Labels"], **labels}}
    return replace(spec, body=body)


def complete(spec: Spec) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """The body for the engine, and the networks besides its first, to which the container is connected once it is there:
    older engines take only one at creation."""
    body, networks = dict(spec.body), list(spec.networks.items())
    if networks:
        body["NetworkingConfig"] = {"EndpointsConfig": dict(networks[:1])}
    return body, networks[1:]


def _host(old: Container, policy: RestartPolicy) -> dict[str, Any]:
    host = {key: value for key, value in old.raw["HostConfig"].items() if value is not None}
    host["RestartPolicy"] = policy.to_json()
    host["Mounts"] = [_with_volume(old, mount) for mount in host.get("Mounts") or ()]
    host["Binds"] = [*(host.get("Binds") or ()), *_anonymous_volumes(old)]
    host.pop("ContainerIDFile", None)
    host["Ulimits"] = [
        {**each, "Name": str(each["Name"]).lower().removeprefix("rlimit_")}
        for each in host.get("Ulimits") or ()
    ]
    return host


def _anonymous_volumes(old: Container) -> Iterator[str]:
    """Volumes that only the image, or `-v PATH`, asked for: the data in them is this container's."""
    host = old.raw["HostConfig"]
    named = {str(bind).split(":")[1] for bind in host.get("Binds") or () if ":" in str(bind)}
    named |= {str(mount.get("Target")) for mount in host.get("Mounts") or ()}
    for mount in old.raw.get("Mounts") or ():
        if mount.get("Type") == "volume" and mount.get("Destination") not in named:
            mode = "" if mount.get("RW", True) else ":ro"
            yield f"{mount['Name']}:{mount['Destination']}{mode}"


def _with_volume(old: Container, mount: Mapping[str, Any]) -> dict[str, Any]:
    """A mount of a volume without a name (`--mount type=volume,target=PATH`) gets the name of the one that it had."""
    kept = dict(mount)
    if kept.get("Type") == "volume" and not kept.get("Source"):
        for each in old.raw.get("Mounts") or ():
            if each.get("Destination") == kept.get("Target") and each.get("Name"):
                kept["Source"] = each["Name"]
    return kept


def _networks(old: Container, fixed: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Any]]:
    """By name; first the one that is its mode, because an engine would connect it to that one anyway."""
    if _shares_network(old):
        return {}
    found = (old.raw.get("NetworkSettings") or {}).get("Networks") or {}
    mode = str(old.raw["HostConfig"].get("NetworkMode") or "")
    return {
        name: _endpoint(old, found[name], fixed.get(name, {}))
        for name in sorted(found, key=lambda name: name != mode)
    }


def _endpoint(old: Container, endpoint: Mapping[str, Any], fixed: Mapping[str, str]) -> dict[str, Any]:
    kept = {key: endpoint[key] for key in ENDPOINT if endpoint.get(key)}
    # Engines add the short id themselves, of the new container too.
    aliases = [each for each in endpoint.get("Aliases") or () if not old.id.startswith(each)]
    if aliases:
        kept["Aliases"] = aliases
    addresses = {key: value for key, value in fixed.items() if key in ADDRESSES}
    if addresses:
        kept["IPAMConfig"] = {**(kept.get("IPAMConfig") or {}), **addresses}
    if fixed.get(MAC):
        kept[MAC] = fixed[MAC]
    return kept


def _has_hostname(old: Container) -> bool:
    """Whether somebody gave it one; engines call it by its short id otherwise."""
    name, host = old.raw["Config"].get("Hostname"), old.raw["HostConfig"]
    borrowed = str(host.get("NetworkMode") or "").startswith("container:") or host.get("UTSMode") == "host"
    return bool(name) and not old.id.startswith(name) and not borrowed


def _shares_network(old: Container) -> bool:
    return str(old.raw["HostConfig"].get("NetworkMode") or "").startswith(SHARED)


def _difference(mine: Any, images: Any) -> list[str]:
    given = set(images or ())
    return [each for each in mine or () if each not in given]
