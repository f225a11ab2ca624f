"""Which containers are meant: names, labels, or all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from hitless.containers.container import Container
from hitless.containers.engine import Engine
from hitless.containers.errors import InvalidParameters, NoSuchContainer

INSPECTED_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Selection:
    """What was asked for."""

    names: tuple[str, ...] = ()
    """Names, globs, or beginnings of ids."""
    labels: tuple[str, ...] = ()
    """`KEY` or `KEY=VALUE`; all must be there."""
    all: bool = False
    """Every container that runs."""

    def check(self) -> None:
        """That it says something.

        Raises:
            InvalidParameters: it does not, or too much.
        """
        if not all(name.strip() for name in (*self.names, *self.labels)):
            raise InvalidParameters(
                "a name or label is empty; say which containers: names, --label KEY=VALUE, or --all"
            )
        ways = [bool(self.names), bool(self.labels), self.all]
        if not any(ways):
            raise InvalidParameters("say which containers: names, --label KEY=VALUE, or --all")
        if sum(ways) > 1:
            raise InvalidParameters("say which containers in one way only: names, --label, or --all")


def may_mean(selection: Selection, name: str) -> bool:
    """Whether the container of this name may be selected; by labels and beginnings of ids, nobody knows before the engine was
    asked."""
    if selection.names:
        return any(fnmatchcase(name, pattern) for pattern in selection.names)
    return selection.all or bool(selection.labels)


async def selected(engine: Engine, selection: Selection) -> list[Container]:
    """The containers, by name.

    Raises:
        NoSuchContainer: one that was named is not there.
    """
    exact = [name for name in selection.names if not _is_glob(name)]
    named = await _inspected(engine, exact)
    for name, each in zip(exact, named, strict=True):
        if each is None:
            raise NoSuchContainer(404, f"there is no container {name}; see: hitless containers ps --all")
    found = [
        *named,
        *(await _matching(engine, selection) if len(exact) < len(selection.names) or not exact else ()),
    ]
    unique = {each.id: each for each in found if each is not None}
    return sorted(unique.values(), key=lambda each: each.name)


async def _matching(engine: Engine, selection: Selection) -> list[Container | None]:
    """Those that a glob, labels or `all` mean."""
    rows = await engine.names()
    globs = [name for name in selection.names if _is_glob(name)]
    for glob in globs:
        if not any(fnmatchcase(name, glob) for _, name in rows):
            raise NoSuchContainer(404, f"no container matches {glob}; see: hitless containers ps --all")
    ids = [id_ for id_, name in rows if not globs or any(fnmatchcase(name, glob) for glob in globs)]
    return [each for each in await _inspected(engine, ids) if each is not None and _fits(each, selection)]


async def _inspected(engine: Engine, names: Sequence[str]) -> list[Container | None]:
    few = asyncio.Semaphore(INSPECTED_AT_ONCE)

    async def one(name: str) -> Container | None:
        async with few:
            return await engine.find(name)

    return list(await asyncio.gather(*(one(name) for name in names)))


def _fits(container: Container, selection: Selection) -> bool:
    if selection.all and container.state not in ("running", "paused", "restarting"):
        return False
    return all(_has(container, label) for label in selection.labels)


def _has(container: Container, label: str) -> bool:
    key, equals, value = label.partition("=")
    return container.labels.get(key) == value if equals else key in container.labels


def _is_glob(name: str) -> bool:
    return any(char in name for char in "*?[")
