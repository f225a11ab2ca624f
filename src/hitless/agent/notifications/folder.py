"""A folder in the place of a broker, for one machine: `filesystem:///var/spool/hitless`.

Messages are files, named so that kombu's own transport reads and writes the same folder. Other than there, a message that was
taken stays on the disk until it is acknowledged, and comes back in its place when the process that took it has died.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections import deque
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from queue import Empty
from typing import Any, Final

from kombu.transport import filesystem

HELD: Final = ".held"
"""Below it, a folder for each process that has taken messages, with a lock that ends with the process."""
LOCK: Final = "lock"


class Channel(filesystem.Channel):  # type: ignore[misc]
    do_restore = False
    """Not kombu's way, which writes unacknowledged messages anew, behind the others."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._files: Final[dict[str, Path]] = {}
        """Where each message is that was taken, by its tag."""
        self._listed: Final[dict[str, deque[str]]] = {}

    @cached_property
    def folder(self) -> Path:
        path = Path(self.connection.client.hostname)
        path.mkdir(parents=True, exist_ok=True)
        return path

    @cached_property
    def control_folder(self) -> Path:
        path = self.folder / "control"
        path.mkdir(exist_ok=True)
        return path

    @cached_property
    def data_folder_in(self) -> str:
        return str(self.folder)

    @cached_property
    def data_folder_out(self) -> str:
        return str(self.folder)

    @cached_property
    def held(self) -> Path:
        """This channel's folder. Made when something is taken for the first time; then what the dead have taken comes back."""
        above = self.folder / HELD
        above.mkdir(exist_ok=True)
        for other in above.iterdir():
            if not other.name.startswith("."):
                _recover(other, self.folder)
        name = f"{os.getpid()}-{uuid.uuid4().hex}"
        made = above / f".{name}"
        made.mkdir()
        self._lock = (made / LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return made.rename(above / name)  # so that nobody ever sees it without its lock

    def _put(self, queue: str, payload: Any, **_: Any) -> None:
        name = f"{round(time.monotonic() * 1000)}_{time.time_ns():020d}{uuid.uuid4().hex}.{queue}.msg"
        written = self.folder / f".{name}.new"
        written.write_text(json.dumps(payload))
        written.replace(self.folder / name)  # whole or not at all

    def _get(self, queue: str) -> Any:
        held = self.held
        for name in self._names(queue):
            path = self.folder / name
            if _is_being_written(path):
                continue
            try:
                path.rename(held / name)
            except FileNotFoundError:
                continue  # another one has it
            payload = self._read(held / name)
            self._files[payload["properties"]["delivery_tag"]] = held / name
            return payload
        raise Empty

    def _names(self, queue: str) -> Any:
        """The oldest first. The folder is listed again only when everything that was listed has been taken."""
        listed = self._listed.setdefault(queue, deque())
        if not listed:
            ending = f"{queue}.msg"
            names = (entry.name for entry in os.scandir(self.folder))
            listed.extend(sorted(each for each in names if each.partition(".")[2] == ending))
        while listed:
            yield listed.popleft()

    def _read(self, path: Path) -> Any:
        """What is no message of kombu's becomes one with this body, to be refused where bodies are."""
        content = path.read_bytes()
        tag = uuid.uuid4().hex
        with suppress(ValueError):
            found = json.loads(content)
            if isinstance(found, dict) and self._is_message(found):
                found["properties"]["delivery_tag"] = tag
                found.setdefault("headers", {})
                return found
        return {
            "body": content.decode(errors="replace"),
            "headers": {},
            "content-type": "text/plain",
            "content-encoding": "utf-8",
            "properties": {"delivery_tag": tag, "delivery_info": {"exchange": "", "routing_key": ""}},
        }

    def _is_message(self, found: dict[str, Any]) -> bool:
        properties = found.get("properties")
        if not isinstance(properties, dict) or not isinstance(found.get("body"), str):
            return False
        try:
            self.decode_body(found["body"], properties.get("body_encoding"))
        except (AttributeError, KeyError, ValueError):  # kombu has no such encoding, or it is not in it
            return False
        return isinstance(properties.setdefault("delivery_info", {}), dict)

    def basic_get(self, queue: str, no_ack: bool = False, **options: Any) -> Any:
        found = super().basic_get(queue, no_ack=no_ack, **options)
        if found is not None and no_ack:
            self._files.pop(found.delivery_tag).unlink()
        return found

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        super().basic_ack(delivery_tag, multiple)
        if (path := self._files.pop(delivery_tag, None)) is not None:
            path.unlink()

    def close(self) -> None:
        for path in self._files.values():
            path.rename(self.folder / path.name)
        self._files.clear()
        if "held" in self.__dict__:
            (self.held / LOCK).unlink()
            self.held.rmdir()
            self._lock.close()
            del self.__dict__["held"]
        super().close()


class Transport(filesystem.Transport):  # type: ignore[misc]
    Channel = Channel


def _recover(other: Path, folder: Path) -> None:
    """Put back what this process has taken, if it has died."""
    try:
        lock = (other / LOCK).open()
    except OSError:
        with suppress(OSError):
            other.rmdir()  # somebody died between two steps of giving back; all was given back then
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        for path in other.iterdir():
            if path.name != LOCK:
                path.rename(folder / path.name)
        with suppress(OSError):
            (other / LOCK).unlink()
            other.rmdir()


def _is_being_written(path: Path) -> bool:
    """By kombu's own transport, which locks what it writes."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return os.fstat(file.fileno()).st_size == 0
    except BlockingIOError:
        return True
    except OSError:
        return False
