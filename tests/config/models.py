"""A model with one of everything that a service's settings may have."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from hitless.config import Bytes, FileMode, Seconds


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Drain(Section):
    timeout: Seconds = Field(30.0, ge=0)
    note: str | None = None


class Source(Section):
    name: str
    interval: Seconds = 10.0


class Settings(Section):
    app: str = Field(description="module:attr")
    workers: Annotated[int, Field(ge=1, le=512)] = 1
    ratio: float = 0.5
    watch: bool = False
    level: Literal["info", "debug"] = "info"
    colour: Colour = Colour.RED
    bind: tuple[str, ...] = Field(("a:1",), min_length=1)
    ports: list[int] = []
    tags: frozenset[str] = frozenset()
    env: dict[str, str] = {}
    limits: dict[str, int] = {}
    umask: FileMode | None = None
    size: Bytes = 1024
    place: Path | None = None
    password: SecretStr | None = None
    either: int | str = 0
    drain: Drain = Drain()
    sources: tuple[Source, ...] = ()
