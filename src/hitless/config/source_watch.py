"""Watching sources: all their files, and those that come to be in their directories."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from hitless.config.content import content_hash
from hitless.config.file import read_content
from hitless.config.problems import ConfigError
from hitless.config.sources import Source
from hitless.config.watch import Watcher


def files_of(sources: Iterable[Source]) -> list[Path]:
    """The files that the sources would read now, in the order in which they do."""
    found: list[Path] = []
    for source in sources:
        listed = getattr(source, "files", None)
        path: str | os.PathLike[str] | None = getattr(source, "path", None)
        if callable(listed):
            found += listed()
        elif path is not None:
            found.append(Path(path))
    return found


class SourceWatcher(Watcher):
    """A `Watcher` whose files are listed anew at every look. `secrets` are files that hold single values; they are looked at
    with the others, but no event tells of them.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        interval_s: float,
        settle_s: float,
        applied: str | None = None,
        secrets: Sequence[Path] = (),
    ) -> None:
        self._sources: Final = sources
        self.secrets = tuple(secrets)
        # Any name in a directory stands for the directory: it is that which events are taken from.
        folders = [
            Path(folder) / "*" for each in sources if (folder := getattr(each, "directory", None)) is not None
        ]
        super().__init__(
            [*files_of(sources), *folders], interval_s=interval_s, settle_s=settle_s, applied=applied
        )

    def look(self) -> str | None:
        try:
            return content_hash(read_content(path) for path in (*files_of(self._sources), *self.secrets))
        except (ConfigError, OSError):
            return None
