"""Reloads when the sources hold something new: their files, and what is kept elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from hitless.change import JSON, ChangeInProgress, Outcome
from hitless.config import Changed, Loaded
from hitless.config.etcd import EtcdPrefix, EtcdWatcher
from hitless.config.etcd.watch import Standing
from hitless.config.source_watch import SourceWatcher

if TYPE_CHECKING:
    from hitless.live.service import Service
    from hitless.live.triggers import Triggers


class Follower(Protocol):
    """Yields new, settled content, and is told what became of it."""

    @property
    def failing(self) -> str | None: ...
    def applied(self, content: str) -> None: ...
    def failed(self, content: str) -> None: ...
    def __aiter__(self) -> AsyncIterator[Changed]: ...


class Watching:
    """One reload for each new, stable content. What was refused is tried again when it changes.

    Events: `watch.changed`; `source.lost` and `source.found`, for sources that can be out of reach.
    """

    def __init__(self, service: Service[Any], triggers: Triggers, loaded: Loaded[Any] | None) -> None:
        assert triggers.watch_interval_s is not None
        self._service: Final = service
        interval_s, settle_s = triggers.watch_interval_s, triggers.watch_settle_s
        self._files: Final = SourceWatcher(
            service.sources,
            interval_s=interval_s,
            settle_s=settle_s,
            applied=None if loaded is None else loaded.watched_hash,
            secrets=() if loaded is None else loaded.secrets,
        )
        versions = {each.source: each for each in loaded.versions} if loaded is not None else {}
        self._prefixes: Final[dict[str, EtcdWatcher]] = {
            source.name: source.watcher(
                interval_s=interval_s, settle_s=settle_s, applied=versions.get(source.name), tell=self._stands
            )
            for source in service.sources
            if isinstance(source, EtcdPrefix)
        }
        self._tasks: Final = [
            asyncio.create_task(self._run(each, name)) for name, each in self._prefixes.items()
        ]
        if self._files.paths:
            self._tasks.append(asyncio.create_task(self._run(self._files, "watch")))

    @property
    def failing(self) -> str | None:
        """Hash of content that was refused and is still there."""
        followers: list[Follower] = [self._files, *self._prefixes.values()]
        return next((each.failing for each in followers if each.failing is not None), None)

    @property
    def standings(self) -> list[dict[str, JSON]]:
        """How each source is that can be out of reach."""
        return [_shown(each.standing) for each in self._prefixes.values()]

    def tell(self, loaded: Loaded[Any] | None, outcome: Outcome) -> None:
        """What a command has tried need not be tried again because it looks new to the watcher."""
        if loaded is None:
            return
        self._files.secrets = loaded.secrets
        _tell(self._files, loaded.watched_hash, outcome)
        for version in loaded.versions:
            if (watcher := self._prefixes.get(version.source)) is not None:
                _tell(watcher, version.hash, outcome)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, follower: Follower, name: str) -> None:
        async for changed in follower:
            await self._service.idle()
            if follower is self._files and changed.hash != self._files.look():
                continue
            self._service.events.emit(
                "watch.changed", content=changed.hash[:12], version=changed.version or None
            )
            who = f"{name} at revision {changed.version}" if changed.version else name
            with suppress(ChangeInProgress):  # somebody else's change reads the same sources
                outcome = await self._service.reload(None, requested_by=who)
                if not outcome.is_good:
                    follower.failed(changed.hash)

    def _stands(self, standing: Standing) -> None:
        verb = "lost" if standing.state == "unreachable" else "found"
        self._service.events.emit(
            f"source.{verb}", source=standing.name, revision=standing.revision, message=standing.message
        )


def _tell(follower: Follower, content: str, outcome: Outcome) -> None:
    if outcome.is_good:
        follower.applied(content)
    else:
        follower.failed(content)


def _shown(standing: Standing) -> dict[str, JSON]:
    return {
        "name": standing.name,
        "state": standing.state,
        "since": standing.since,
        "revision": standing.revision,
        "message": standing.message,
        "failing": standing.failing,
    }
