"""Settings that somebody wants in force, beside those that are: what differs, and how it may be written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from hitless.change import JSON, Difference, digest
from hitless.config import diff, plain
from hitless.config.masked import masked

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Wish(Generic[S]):
    settings: S
    hash: str
    applied_hash: str | None
    """Hash of the settings that serve."""
    differences: tuple[Difference, ...]
    masked: Mapping[str, JSON]
    """The settings without their secrets, for the journal."""
    is_same: bool
    """Whether they are the settings that serve."""


def wish(settings: S, current: S | None, *, applied_hash: str | None, hash: str | None = None) -> Wish[S]:  # noqa: A002
    """`hash` is that of the settings, where it is known already."""
    is_same = current is not None and settings == current
    return Wish(
        settings,
        hash or digest(plain(settings)),
        applied_hash,
        () if is_same or current is None else diff(current, settings),
        masked(settings),
        is_same,
    )
