"""Settings and a world of resources that count what happens to them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from hitless.config import Secret


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Backend(Section):
    url: str = ""
    size: int = 1
    replica_of: str | None = None


class Database(Section):
    url: str = "db://one"
    pool: int = 1
    password: Secret | None = None


class Settings(Section):
    database: Database = Database()
    backends: dict[str, Backend] = {}
    port: int = 80
    level: str = "info"
    default_backend: str | None = None


def settings(**backends: str) -> Settings:
    """Settings with these backends, by key and URL."""
    return Settings(backends={key: Backend(url=url) for key, url in backends.items()})


@dataclass
class World:
    """What was done, in order, and what is open."""

    steps: list[str] = field(default_factory=list)
    opened: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)

    def open(self, name: str) -> None:
        self.steps.append(f"open {name}")
        self.opened[name] += 1

    def close(self, name: str) -> None:
        self.steps.append(f"close {name}")
        self.closed[name] += 1

    @property
    def still_open(self) -> Counter[str]:
        return self.opened - self.closed


class Thing:
    """A resource that knows whether it is open."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name, self.is_open = world, name, True
        world.open(name)

    def close(self) -> None:
        assert self.is_open, f"{self.name} was closed twice"
        self.is_open = False
        self.world.close(self.name)

    def use(self) -> str:
        assert self.is_open, f"{self.name} was used after its close"
        return self.name
