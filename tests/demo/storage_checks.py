"""What is on the storage and in the catalogue, read without the code that wrote it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from hitless.demo.configuration import Table


def rows(database: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as db:
        return db.execute(statement).fetchall()


def files(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def thin_volumes(path: Path) -> dict[str, bytes]:
    """The volumes of a pool."""
    map_, data = json.loads(path.with_name(f"{path.name}.map").read_text()), path.read_bytes()
    return {name: _assembled(volume, map_["extent"], data) for name, volume in map_["volumes"].items()}


def _assembled(volume: Mapping[str, Any], extent: int, data: bytes) -> bytes:
    whole = bytearray(-(-volume["size"] // extent) * extent)
    for index, at in volume["extents"].items():
        begin = int(index) * extent
        whole[begin : begin + extent] = data[at * extent : (at + 1) * extent]
    return bytes(whole[: volume["size"]])


def stored(
    folder: Path, backends: Mapping[str, Table], stores: Mapping[str, Path]
) -> dict[tuple[str, str], str]:
    """The SHA-256 of everything that is on the backends, by backend and volume; `stores` are those of targets."""
    found: dict[tuple[str, str], str] = {}
    for name, backend in backends.items():
        match backend["kind"]:
            case "directory":
                volumes = files(folder / backend["path"])
            case "pool":
                volumes = thin_volumes(folder / backend["path"])
            case _:
                volumes = files(stores[backend["address"]])
        found |= {(name, volume): hashlib.sha256(data).hexdigest() for volume, data in volumes.items()}
    return found
