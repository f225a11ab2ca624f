"""Every deadline of the resources and their users, each with its default, in one place. Seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long the code of one resource may take."""

    build_s: float = 30.0
    warm_s: float = 10.0
    """For the health check after the build."""
    update_s: float = 5.0
    """For a change in place, and again for taking it back; for `adopt` as well."""
    close_s: float = 10.0
    """After it the close is left behind and reported; what depends on nothing else goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiesce:
    """How a resource that must be stopped before its successor starts comes to rest."""

    drain_s: float = 20.0
    """How long its users may take to finish; after it the change is rejected and nothing has happened."""
    wait_s: float = 30.0
    """How long a new user waits for the successor."""
    queue_limit: int = 1000
    """How many new users may wait at a time; one more is refused at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long the runtime as a whole waits."""

    change_s: float = 300.0
    """Outer bound of the prepare of one change, unless the caller says otherwise."""
    drain_s: float = 60.0
    """How long leases of a replaced generation may be held; after it they are reported, and once more after each
    such time.
    """
    read_s: float = 60.0
    """For reading the sources; after it the change is refused, and the reading left behind."""
    hook_s: float = 10.0
    """For one `on_change` hook."""
    builds_at_once: int = 64
    """How many resources are built at the same time."""
