"""What the environment says: the catalogue, the content, and which node this is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    database: str
    """URL with its driver, such as postgresql+psycopg://…"""
    content: Path
    node: str

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Settings:
        """Raises ValueError if a variable is missing."""
        found = {name: environ.get(f"IMAGEFLEET_{name}") for name in ("DATABASE", "CONTENT", "NODE")}
        for name, value in found.items():
            if not value:
                raise ValueError(f"IMAGEFLEET_{name} is not set")
        return cls(found["DATABASE"] or "", Path(found["CONTENT"] or ""), found["NODE"] or "")
