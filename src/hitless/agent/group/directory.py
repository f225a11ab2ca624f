"""A group that meets in a directory of one machine (`file:///var/lib/hitless/groups/NAME`). No locks: a process that is stopped in
the middle of anything holds up nobody.

    record/0000000042         the versions of the record: a new one is linked, which fails if somebody was faster
    members/NAME@LIFE         registers, each replaced as a whole by its member
    gone/NAME@LIFE            who was found without a lease; a member that finds itself here is lost
    configs/HASH

Leases end by CLOCK_BOOTTIME, which all processes of a machine share and nobody sets: this is a place for one machine, or its
containers with one directory. Where registers of another machine are alive, every look is refused.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from hitless.agent.group.coordinator import LeaseLost, Sight, Unreachable
from hitless.agent.group.member import Register
from hitless.agent.group.record import Record

VERSIONS_KEPT: Final = 3
FORGOTTEN_AFTER: Final = 20
"""Leases after which the files of a member that is gone are removed."""
DIGITS: Final = 12
ABANDONED_S: Final = 3600.0


class Directory:
    def __init__(self, path: Path, lease_s: float) -> None:
        self._path: Final = path
        self._lease_s: Final = lease_s
        self._id: str | None = None
        self._until = 0.0

    @property
    def lease_s(self) -> float:
        return self._lease_s

    def join(self, register: Register) -> None:
        self._make()
        self._tidy()
        self._id = register.member.id
        self._say(register)

    def renew(self, register: Register) -> None:
        if self._id is None or boottime() >= self._until or self._is_gone(self._id):
            raise LeaseLost(f"the lease of {register.member.name} has run out")
        self._say(register)
        # After it is written: whoever calls this member gone looks again after saying so.
        if self._is_gone(self._id):
            raise LeaseLost(f"the lease of {register.member.name} has run out")

    def leave(self) -> None:
        name, self._id = self._id, None
        if name is not None:
            with suppress(FileNotFoundError):
                self._in("members", name).unlink()

    def look(self) -> Sight:
        try:
            registers = self._registers()
            record, version = self._record()
        except OSError as error:
            raise Unreachable(f"the group's directory cannot be read: {error}") from error
        return Sight(record, version, registers)

    def write(self, record: Record, version: int) -> bool:
        self._make()
        following = self._in("record", f"{version + 1:0{DIGITS}d}")
        try:
            written = self._written("record", record.model_dump_json())
            try:
                os.link(written, following)
            except FileExistsError:
                return False
            finally:
                Path(written).unlink()
            _sync(following.parent)
            versions = self._versions()
        except OSError as error:
            raise Unreachable(f"the group's record cannot be written: {error}") from error
        # A number that was taken long ago, and whose file is removed already, was free to be linked again.
        is_mine = max(versions) == version + 1
        if not is_mine:
            with suppress(FileNotFoundError):
                if version + 1 < max(versions) - VERSIONS_KEPT:
                    following.unlink()
        for old in sorted(versions)[:-VERSIONS_KEPT]:
            with suppress(FileNotFoundError):
                self._in("record", f"{old:0{DIGITS}d}").unlink()
        return is_mine

    def put(self, config: str, text: str) -> None:
        self._make()
        self._replace("configs", config, text)

    def get(self, config: str) -> str | None:
        try:
            return self._in("configs", config).read_text(errors="replace")  # then it has another hash
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unreachable(f"the group's configuration cannot be read: {error}") from error

    def close(self) -> None:
        pass

    # The record

    def _versions(self) -> list[int]:
        try:
            return [int(each.name) for each in self._in("record").iterdir() if each.name.isdigit()]
        except FileNotFoundError:
            return []

    def _record(self) -> tuple[Record, int]:
        while versions := self._versions():
            latest = max(versions)
            try:
                text = self._in("record", f"{latest:0{DIGITS}d}").read_text()
                return Record.model_validate_json(text), latest
            except FileNotFoundError:
                continue  # it was removed as an old one meanwhile
            except ValidationError as error:
                why = error.errors()[0]["msg"]
                raise Unreachable(f"the group's record {latest} is not readable: {why}") from error
        return Record(), 0

    # Registers

    def _say(self, register: Register) -> None:
        began = boottime()
        held = {
            "boot": boot_id(),
            "until": began + self._lease_s,
            "said": time.time(),
            "register": register.model_dump(mode="json"),
        }
        self._replace("members", register.member.id, json.dumps(held), durable=False)
        self._until = began + self._lease_s

    def _registers(self) -> dict[str, Register]:
        found = {}
        try:
            files = list(self._in("members").iterdir())
        except FileNotFoundError:
            return {}
        for file in files:
            if not file.name.startswith("."):
                register = self._alive(file)
                if register is not None:
                    found[register.member.id] = register
        return found

    def _alive(self, file: Path) -> Register | None:
        register, is_alive = self._read(file)
        if register is None or is_alive:
            return register
        # Said first and then looked at again: a renewal that comes in between is seen by either of us.
        with suppress(FileExistsError):
            os.close(os.open(self._in("gone", file.name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        register, is_alive = self._read(file)
        return register if is_alive else None

    def _read(self, file: Path) -> tuple[Register | None, bool]:
        """A register, and whether its lease holds; None if it is not there."""
        try:
            held = json.loads(file.read_text())
            until, boot, said = float(held["until"]), held["boot"], float(held["said"])
            register = Register.model_validate(held["register"])
        except FileNotFoundError:
            return None, False
        except (ValueError, KeyError, TypeError) as error:
            if self._is_old(file):  # a power failure has left it so: nobody renews it
                return None, False
            raise Unreachable(f"{file} is not a member of the group: {error}") from error
        if boot != boot_id() and time.time() - said < 2 * self._lease_s:
            raise Unreachable(
                f"{register.member.name} on another machine uses {self._path}; a directory is for one machine:"
                " use etcd, ZooKeeper or Redis"
            )
        if boot != boot_id() or boottime() > until + FORGOTTEN_AFTER * self._lease_s:
            for each in (file, self._in("gone", file.name)):
                with suppress(FileNotFoundError):
                    each.unlink()
            return None, False
        return register, boottime() < until

    def _is_old(self, file: Path) -> bool:
        """Whether nobody has renewed it for two leases, by the wall clock: that of the file system is no other."""
        try:
            return time.time() - file.stat().st_mtime > 2 * self._lease_s
        except FileNotFoundError:
            return True

    def _is_gone(self, name: str) -> bool:
        return self._in("gone", name).exists()

    # Files

    def _in(self, *parts: str) -> Path:
        return self._path.joinpath(*parts)

    def _make(self) -> None:
        try:
            for each in ("record", "members", "gone", "configs"):
                self._in(each).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Unreachable(f"the group's directory cannot be made: {error}") from error

    def _tidy(self) -> None:
        """What was killed while it was written stays behind."""
        for file in self._path.glob("*/.*"):
            with suppress(OSError):
                if time.time() - file.stat().st_mtime > ABANDONED_S:
                    file.unlink()

    def _replace(self, folder: str, name: str, text: str, *, durable: bool = True) -> None:
        try:
            written = self._written(folder, text, durable=durable)
            Path(written).replace(self._in(folder, name))
            if durable:
                _sync(self._in(folder))
        except OSError as error:
            raise Unreachable(f"the group's directory cannot be written: {error}") from error

    def _written(self, folder: str, text: str, *, durable: bool = True) -> str:
        fd, name = tempfile.mkstemp(prefix=".", dir=self._in(folder))
        with os.fdopen(fd, "w") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(fd)
        return name


def boottime() -> float:
    """Seconds since the machine began, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
