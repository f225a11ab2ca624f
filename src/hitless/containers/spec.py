"""What a container was created with, so that another one can be created the same.

What came from its image is left to the new image: kept are the differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
SHARED: Final = ("host", "none", "container:")
"""Network modes in which a container has no networks of its own."""


def creation(
    old: Container, *, image: str, image_config: Mapping[str, Any], policy: RestartPolicy
) -> dict[str, Any]:
    """The body that creates a container like `old` from `image`. `image_config` is the configuration of the image
    that the old one was made from, or nothing if it is not known any more."""
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
    first = next(_networks(old), None)
    if first is not None:
        body["NetworkingConfig"] = {"EndpointsConfig": {first[0]: first[1]}}
    return body


def more_networks(old: Container) -> list[tuple[str, dict[str, Any]]]:
    """All networks but the first, which older engines do not take at creation."""
    return list(_networks(old))[1:]


def _host(old: Container, policy: RestartPolicy) -> dict[str, Any]:
    host = {key: value for key, value in old.raw["HostConfig"].items() if value is not None}
    host["RestartPolicy"] = policy.to_json()
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
            yield f"{mount['Name']}:{mount['Destination']}"


def _networks(old: Container) -> Iterator[tuple[str, dict[str, Any]]]:
    if _shares_network(old):
        return
    for name, endpoint in ((old.raw.get("NetworkSettings") or {}).get("Networks") or {}).items():
        kept = {key: endpoint[key] for key in ENDPOINT if endpoint.get(key)}
        # Engines add the short id themselves, of the new container too.
        aliases = [each for each in endpoint.get("Aliases") or () if not old.id.startswith(each)]
        if aliases:
            kept["Aliases"] = aliases
        yield name, kept


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
