"""Backups: taken whole or not at all, read back before they count, restored by the database's own tools."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from hitless.schema.database import Database
from hitless.schema.errors import Invalid, SchemaError

SUFFIXES: Final[Mapping[str, str]] = {"sqlite": ".sqlite", "postgresql": ".pgdump", "mysql": ".sql"}
END_OF_DUMP: Final = b"-- Dump completed"
CHUNK: Final = 1 << 20
TAIL: Final = 4096


@dataclass(frozen=True, slots=True)
class Backup:
    path: Path
    size: int
    sha256: str


def take(database: Database, folder: Path, *, service: str, timeout_s: float) -> Backup:
    """A backup of the whole database, read back. A half one never has a backup's name.

    Raises:
        SchemaError: it could not be written (a full disk, no rights, no tool) or not be read; nothing is left behind.
    """
    kind = database.dialect.name
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = folder / f"{service}-{stamp}{SUFFIXES[kind]}"
    partial = path.with_name(f"{path.name}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(
            os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        )
        _DUMPS[kind](database, partial, timeout_s)
        _sync(partial)
        check(kind, partial, timeout_s=timeout_s)
        size, sha256 = partial.stat().st_size, _sha256(partial)
        partial.rename(path)
        _sync(folder)
    except OSError as error:
        raise SchemaError(
            "backup_failed", f"the backup {path} cannot be written: {error.strerror or error}"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return Backup(path.absolute(), size, sha256)


def restore(database: Database, path: Path, *, timeout_s: float) -> None:
    """Bring the database back to the backup, after reading it through once.

    Raises:
        SchemaError: the backup is not readable (the database is untouched then), or the tool failed.
    """
    kind = database.dialect.name
    if path.suffix != SUFFIXES[kind]:
        raise Invalid(
            "not_a_backup", f"{path} is no backup of {database.dialect.title}; they end with {SUFFIXES[kind]}"
        )
    check(kind, path, timeout_s=timeout_s)
    _RESTORES[kind](database, path, timeout_s)


def check(kind: str, path: Path, *, timeout_s: float) -> None:
    """Read the whole backup as its database's tools would.

    Raises:
        SchemaError: it cannot be read, or ends too early.
    """
    if not path.is_file():
        raise SchemaError("no_backup", f"there is no backup {path}")
    if kind == "sqlite":
        _check_sqlite(path)
    elif kind == "postgresql":
        _run(["pg_restore", "--file=/dev/null", os.fspath(path)], {}, timeout_s)
    else:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            if END_OF_DUMP not in file.read():
                raise SchemaError("backup_failed", f"the backup {path} ends before its end; take another one")


def unreadable(path: Path, *, size: int, sha256: str) -> str:
    """Why a backup that was once checked is not the same any more; empty if it is."""
    try:
        if path.stat().st_size != size:
            return f"{path} has another size than when it was taken"
        if _sha256(path) != sha256:
            return f"{path} has changed since it was taken"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    return ""


def _dump_sqlite(database: Database, path: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s

    def progress(status: int, remaining: int, total: int) -> None:  # noqa: ARG001
        if time.monotonic() > deadline:
            raise SchemaError("backup_failed", f"the backup was not ready within {timeout_s:g} s")

    try:
        with (
            closing(sqlite3.connect(_sqlite_path(database))) as source,
            closing(sqlite3.connect(path)) as target,
        ):
            source.backup(target, pages=1000, progress=progress)
    except sqlite3.Error as error:
        raise SchemaError("backup_failed", f"the backup {path} cannot be written: {error}") from error


def _check_sqlite(path: Path) -> None:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as copy:
            found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise SchemaError("backup_failed", f"the backup {path} is damaged: {found}")


def _restore_sqlite(database: Database, path: Path, timeout_s: float) -> None:
    try:
        with (
            closing(sqlite3.connect(path)) as source,
            closing(sqlite3.connect(_sqlite_path(database), timeout=timeout_s)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise SchemaError("restore_failed", f"the backup {path} cannot be restored: {error}") from error


def _sqlite_path(database: Database) -> str:
    if database.url.database in (None, "", ":memory:"):
        raise Invalid("in_memory", "a database in memory cannot be backed up; name a file in the url")
    return str(database.url.database)


def _dump_postgres(database: Database, path: Path, timeout_s: float) -> None:
    with _pg_environment(database.url) as environment:
        command = [
            "pg_dump",
            "--format=custom",
            "--no-password",
            f"--file={path}",
            database.url.database or "",
        ]
        _run(command, environment, timeout_s)


def _restore_postgres(database: Database, path: Path, timeout_s: float) -> None:
    """In one transaction: either all of it, or the database stays as it was."""
    with _pg_environment(database.url) as environment:
        options = [
            "--clean",
            "--if-exists",
            "--single-transaction",
            "--exit-on-error",
            "--no-owner",
            "--no-password",
        ]
        command = ["pg_restore", *options, f"--dbname={database.url.database or ''}", os.fspath(path)]
        _run(command, environment, timeout_s)


@contextmanager
def _pg_environment(url: URL) -> Iterator[dict[str, str]]:
    """libpq's variables, and a password file: nothing secret on a command line."""
    query = {key: value if isinstance(value, str) else value[0] for key, value in url.query.items()}
    host = url.host or query.get("host") or ""
    with tempfile.TemporaryDirectory(prefix="hitless-") as private:
        found = {
            "PGHOST": host,
            "PGPORT": str(url.port or query.get("port") or ""),
            "PGUSER": url.username or "",
            "PGSSLMODE": query.get("sslmode", ""),
        }
        if url.password is not None:
            file = Path(private) / "pgpass"
            file.touch(mode=0o600)
            file.write_text(
                f"*:*:*:*:{url.password.replace(chr(92), chr(92) * 2).replace(':', chr(92) + ':')}\n"
            )
            found["PGPASSFILE"] = str(file)
        yield {key: value for key, value in found.items() if value}


def _dump_mariadb(database: Database, path: Path, timeout_s: float) -> None:
    with _my_options(database.url) as options, path.open("wb") as file:
        what = ["--single-transaction", "--quick", "--routines", "--triggers", "--events", "--hex-blob"]
        command = [_tool("mariadb-dump", "mysqldump"), options, *what, database.url.database or ""]
        _run(command, {}, timeout_s, output=file.fileno())


def _restore_mariadb(database: Database, path: Path, timeout_s: float) -> None:
    with _my_options(database.url) as options, path.open("rb") as file:
        command = [_tool("mariadb", "mysql"), options, "--batch", database.url.database or ""]
        _run(command, {}, timeout_s, input_=file.fileno())


@contextmanager
def _my_options(url: URL) -> Iterator[str]:
    """A private option file: nothing secret on a command line."""
    socket = url.query.get("unix_socket")
    lines = ["[client]"]
    lines += [f"user={url.username}"] if url.username else []
    lines += [f'password="{url.password}"'] if url.password is not None else []
    lines += [f"socket={socket}"] if socket else [f"host={url.host or '127.0.0.1'}", "protocol=tcp"]
    lines += [f"port={url.port}"] if url.port else []
    with tempfile.TemporaryDirectory(prefix="hitless-") as private:
        file = Path(private) / "my.cnf"
        file.touch(mode=0o600)
        file.write_text("\n".join(lines) + "\n")
        yield f"--defaults-extra-file={file}"


def _tool(*names: str) -> str:
    return next((name for name in names if shutil.which(name)), names[0])


def _run(
    command: Sequence[str], environment: Mapping[str, str], timeout_s: float, *,
    output: int | None = None, input_: int | None = None,
) -> None:  # fmt: skip
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL if input_ is None else input_,
            stdout=subprocess.DEVNULL if output is None else output,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise SchemaError(
            "no_tool", f"{command[0]} is not installed; it comes with the client package of the database"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SchemaError("backup_failed", f"{command[0]} was not ready within {timeout_s:g} s") from error
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise SchemaError(
            "backup_failed", f"{command[0]} failed: {said[-400:] or f'exit code {done.returncode}'}"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_DUMPS: Final = {"sqlite": _dump_sqlite, "postgresql": _dump_postgres, "mysql": _dump_mariadb}
_RESTORES: Final = {"sqlite": _restore_sqlite, "postgresql": _restore_postgres, "mysql": _restore_mariadb}
