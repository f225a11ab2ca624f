"""In what Docker Engine and Podman differ, all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from hitless.containers.errors import EngineError

OLDEST: Final = (1, 40)
NEWEST: Final = (1, 48)
"""Nothing is asked for that has changed between the two. Docker Engine 29 speaks 1.44 and above, Podman 4 1.41."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One engine's ways."""

    kind: Literal["docker", "podman"]
    version: str
    api: str
    """The version of Docker's API that is spoken."""
    can_set_policy: bool
    """Whether the restart policy of a container that exists can be changed."""
    default_stop_timeout_s: float
    """Reported for containers to which nobody gave one."""


def agree(version: Mapping[str, Any]) -> Dialect:
    """The newest version that both understand, from the answer to `/version`.

    Raises:
        EngineError: there is none.
        KeyError, ValueError: no engine answers like this.
    """
    newest = _parsed(version["ApiVersion"])
    oldest = _parsed(version.get("MinAPIVersion") or "1.24")
    if newest < OLDEST or oldest > NEWEST:
        raise EngineError(
            f"the engine speaks versions {_text(oldest)} to {_text(newest)} of the API, and hitless"
            f" {_text(OLDEST)} to {_text(NEWEST)}; upgrade the older of the two"
        )
    parts = {str(part.get("Name")): str(part.get("Version")) for part in version.get("Components") or ()}
    api = _text(min(newest, NEWEST))
    if "Podman Engine" in parts:
        said = parts["Podman Engine"]
        return Dialect("podman", said, api, _major(said) >= 5, 10.0)
    return Dialect("docker", str(version.get("Version") or "?"), api, True, 10.0)


def _parsed(text: str) -> tuple[int, int]:
    major, _, minor = str(text).partition(".")
    return int(major), int(minor or 0)


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _major(version: str) -> int:
    head = version.partition(".")[0]
    return int(head) if head.isdigit() else 0
