"""What volumes.toml may say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from hitless.config import Bytes, Seconds


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DirectoryBackend(Section):
    """Volumes are files in a directory, which must exist."""

    kind: Literal["directory"]
    path: Path


class PoolBackend(Section):
    """Volumes are extents of one sparse file, allocated when they are first written."""

    kind: Literal["pool"]
    path: Path
    size: Annotated[Bytes, Field(gt=0)]
    extent: Annotated[Bytes, Field(ge=4096)] = 64 * 1024


class TargetBackend(Section):
    """Volumes are on a storage target, reached over TCP."""

    kind: Literal["target"]
    address: Annotated[str, Field(pattern=r"^.+:\d{1,5}$")]
    connections: Annotated[int, Field(ge=1, le=64)] = 2
    """Opened when the backend is, and kept; more are opened while more volumes are in use."""
    timeout: Annotated[Seconds, Field(gt=0)] = 5.0
    """For one answer of the target."""


Backend = Annotated[DirectoryBackend | PoolBackend | TargetBackend, Field(discriminator="kind")]


class Copying(Section):
    """How volumes are copied."""

    at_once: Annotated[int, Field(ge=1)] = 8
    chunk: Annotated[Bytes, Field(ge=512, le=4 * 1024 * 1024)] = 256 * 1024
    bytes_per_s: Annotated[Bytes, Field(gt=0)] | None = None
    """Of each copy (Cinder: volume_copy_bps_limit)."""


class Settings(Section):
    database: str = "sqlite:volumes.sqlite"
    """`sqlite:PATH` or `postgresql://…`."""
    requests: str = "unix:volumes.sock"
    """`unix:PATH`, `tcp:HOST:PORT` or `amqp://…?queue=NAME`."""
    default_backend: str | None = None
    """For volumes that name none."""
    backends: dict[str, Backend] = {}
    copying: Copying = Copying()
