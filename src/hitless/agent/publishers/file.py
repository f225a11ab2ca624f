"""`file:///var/log/samples.jsonl?max_bytes=10MB&backup_count=5`: one JSON object per line, rotated by size.

The options have the names that they have in Ceilometer; lines are always JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from hitless.agent.event import Event
from hitless.agent.publishers.lines import lines
from hitless.agent.publishers.places import writable
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.sample import Sample
from hitless.config import Bytes

MODE: Final = 0o640


class FileOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: Annotated[Bytes, Field(ge=0)] = 0
    """The file is rotated before it would become larger; never if 0."""
    backup_count: Annotated[int, Field(ge=0)] = 0
    """How many rotated files are kept: FILE.1 is the newest."""
    json_lines: bool = Field(True, alias="json")


class FilePublisher:
    """A batch is written by one write, so that a reader never sees half a batch of another process's."""

    def __init__(self, url: PublisherUrl) -> None:
        if url.host or not url.path.strip("/"):
            raise ValueError("expected a path, as file:///var/log/samples.jsonl")
        self._options: Final = url.options(FileOptions)
        if not self._options.json_lines:
            raise ValueError("json=false is not taken: lines are always json")
        if bool(self._options.max_bytes) != bool(self._options.backup_count):
            raise ValueError("max_bytes and backup_count go together; give both or none")
        self._path: Final = Path(url.path)
        self._descriptor = -1

    def open(self) -> None:
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)

    def publish(self, samples: Sequence[Sample]) -> None:
        self._append(lines(samples))

    def publish_events(self, events: Sequence[Event]) -> None:
        self._append(b"".join(json.dumps(each.to_json()).encode() + b"\n" for each in events))

    def _append(self, data: bytes) -> None:
        if self._options.max_bytes and self._would_overflow(len(data)):
            self._rotate()
        self._write(data)

    def reach(self) -> None:
        writable(self._path)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _write(self, data: bytes) -> None:
        """All of it or nothing: what a full disk has taken of a batch is taken back, for it will come again."""
        size = os.fstat(self._descriptor).st_size
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            os.ftruncate(self._descriptor, size)
            raise

    def _would_overflow(self, more: int) -> bool:
        size = os.fstat(self._descriptor).st_size
        return size > 0 and size + more > self._options.max_bytes

    def _rotate(self) -> None:
        for number in range(self._options.backup_count, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path.with_name(f"{self._path.name}.{number - 1}") if number > 1 else self._path
            if newer.exists():
                newer.replace(older)
        self.close()
        self.open()
