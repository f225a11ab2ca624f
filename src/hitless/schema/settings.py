"""The settings of `hitless db`: the typed form of `hitless-db.toml`, or of the table `[db]` in another file.

Every key is also an environment variable (`HITLESS_DB_URL`, `HITLESS_DB_BACKFILL_BATCH`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from hitless.config import Environment, Loaded, Seconds, Secret, TomlFile, load
from hitless.config.keys import KeyPath
from hitless.config.sources import Layer, Origin

DEFAULT_FILE: Final = "hitless-db.toml"
TABLE: Final = "db"

Positive = Annotated[int, Field(ge=1)]
Wait = Annotated[Seconds, Field(gt=0, le=86400)]


class Section(BaseModel):
    """A frozen table of settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class LockSettings(Section):
    timeout: Wait = Field(
        2.0, description="longest that a statement may hold others up while it waits for a table"
    )
    attempts: Positive = Field(10, description="attempts before the phase gives up")
    pause: Wait = Field(1.0, description="pause before the second attempt; it doubles up to max_pause")
    max_pause: Wait = Field(30.0, description="longest pause between attempts")
    statement_timeout: Wait = Field(3600.0, description="longest that one statement may run")
    lease: Wait = Field(30.0, description="how long a runner that cannot be heard of keeps the lock")


class BackfillSettings(Section):
    batch: Positive = Field(1000, description="most rows of one transaction")
    batch_time: Wait = Field(0.05, description="batches are made smaller until one takes no longer than this")
    share: float = Field(
        0.5, gt=0, le=1, description="share of the time in which a batch runs; the rest is left to others"
    )
    rate: float | None = Field(None, gt=0, description="most rows per second")
    max_lag: Wait | None = Field(None, description="wait while a replica is further behind than this")
    max_running: Positive | None = Field(
        None, description="wait while more sessions than this run statements"
    )
    replicas: tuple[Secret, ...] = Field((), description="URLs of MariaDB replicas, whose lag only they know")
    max_wait: Wait = Field(600.0, description="give up when the throttle has let nothing pass for this long")
    deadline: Wait = Field(
        86400.0, description="deadline of one data migration; the next run goes on where it ended"
    )
    passes: Positive = Field(10, description="give up when rows are still pending after this many passes")


class BackupSettings(Section):
    folder: str = Field("backups", description="where backups are written")
    max_age: Wait = Field(86400.0, description="age up to which a backup opens the gate of contract")
    timeout: Wait = Field(3600.0, description="deadline of one backup or restore")


class SessionSettings(Section):
    name: str | None = Field(
        None,
        description="how the service names its sessions, such as imagestore/{release}; not set: not looked at",
    )
    ignore: tuple[str, ...] = Field(
        ("psql", "pg_dump", "pg_basebackup", "pgbouncer", "hitless*"),
        description="sessions of other programs, as shell patterns",
    )


class HeartbeatSettings(Section):
    required: bool = Field(
        False, description="nodes write heartbeats: without any from the new release nobody is known"
    )
    stale: Wait = Field(30.0, description="a node that has not written for this long is gone")


class InventorySettings(Section):
    command: tuple[str, ...] = Field((), description="prints one line per node: its name and its release")
    timeout: Wait = Field(60.0, description="deadline of the command")


class CommandSettings(Section):
    """Another tool that makes the phases (`adapter = "commands"`)."""

    expand: tuple[str, ...] = Field((), description="command that expands")
    migrate: tuple[str, ...] = Field((), description="command that migrates data")
    contract: tuple[str, ...] = Field((), description="command that contracts")
    check: tuple[str, ...] = Field((), description="command whose exit code says what comes next")
    done: tuple[int, ...] = Field((0,), description="exit codes of check: nothing to do")
    to_expand: tuple[int, ...] = Field((3,), description="exit codes of check: expand comes next")
    to_migrate: tuple[int, ...] = Field((4,), description="exit codes of check: migrate comes next")
    to_contract: tuple[int, ...] = Field((5,), description="exit codes of check: contract comes next")
    timeout: Wait = Field(3600.0, description="deadline of one command")


class AlembicSettings(Section):
    """A project of plain alembic (`adapter = "alembic"`)."""

    config: str = Field("alembic.ini", description="its alembic.ini")
    expand: str = Field("", description="revision up to which alembic may go while old nodes run")
    contract: str = Field("", description="revision to which contract goes")
    migrate: tuple[str, ...] = Field((), description="command that migrates data, if there is one")


class DjangoSettings(Section):
    """A Django project (`adapter = "django"`)."""

    manage: tuple[str, ...] = Field(("python", "manage.py"), description="how manage.py is run")
    expand: Mapping[str, str] = Field({}, description="per app, the migration up to which expand goes")
    contract: Mapping[str, str] = Field({}, description="per app, the migration to which contract goes")
    migrate: tuple[str, ...] = Field((), description="command that migrates data, if there is one")


class DbSettings(Section):
    url: Secret = Field(description="URL of the database, or file:PATH of a file that holds it")
    service: str = Field("service", description="name of the service: of its lock and its sessions")
    adapter: Literal["hitless", "commands", "alembic", "django"] = Field(
        "hitless", description="who makes the phases"
    )
    migrations: str = Field("migrations", description="folder of the revisions and data migrations")
    release: str | None = Field(None, description="release to go to; the last one in the folder if not set")
    connect_timeout: Wait = Field(10.0, description="deadline of connecting")
    locks: LockSettings = LockSettings()
    backfill: BackfillSettings = BackfillSettings()
    backup: BackupSettings = BackupSettings()
    sessions: SessionSettings = SessionSettings()
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    inventory: InventorySettings = InventorySettings()
    commands: CommandSettings = CommandSettings()
    alembic: AlembicSettings = AlembicSettings()
    django: DjangoSettings = DjangoSettings()


class DbFile:
    """A TOML file whose table `[db]` holds the settings, or the whole of it if there is no such table."""

    def __init__(self, path: Path, *, allow_writable: bool = False) -> None:
        self._file: Final = TomlFile(path, allow_writable)

    def layer(self, model: type[BaseModel]) -> Layer:
        whole = self._file.layer(model)
        table = whole.data.get(TABLE)
        if not isinstance(table, dict):
            return whole

        def origin(at: KeyPath) -> Origin:
            return whole.origin((TABLE, *at))

        return Layer(table, origin, whole.name, whole.files)


def read_settings(
    path: Path, environ: Mapping[str, str], *, allow_writable: bool = False
) -> Loaded[DbSettings]:
    """The settings of the file and of the environment.

    Raises:
        ConfigError: with every problem there is.
    """
    return load(DbSettings, DbFile(path, allow_writable=allow_writable), Environment("HITLESS_DB", environ))
