"""What the environment says: where images and the catalogue are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Read once per process, when the store is opened."""

    data: tuple[Path, ...]
    """Storage paths. New images go to the first; images are read from all (Glance:
    filesystem_store_datadirs)."""
    db: Path
    """The catalogue, an SQLite file."""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Settings:
        """Of IMAGESTORE_DATA (colon-separated paths) and IMAGESTORE_DB.

        Raises:
            ValueError: one is missing.
        """
        data = tuple(Path(path) for path in environ.get("IMAGESTORE_DATA", "").split(":") if path)
        db = environ.get("IMAGESTORE_DB", "")
        if not data:
            raise ValueError("IMAGESTORE_DATA is not set; give at least one storage path")
        if not db:
            raise ValueError("IMAGESTORE_DB is not set; give the path of the catalogue")
        return cls(data, Path(db))
