"""A column of millions of rows is filled while others read and write the table.

On private servers that flush every commit, as they do by default. One process reads and one writes single rows by key, each with
a pause of 2 ms between requests: each time first with nothing else going on ("idle"), then beside `hitless db migrate` with its
default brakes, beside the same with stronger ones and without any (share = 1), beside one UPDATE of all rows, and on MariaDB beside
pt-online-schema-change, which copies the table, if it is installed. Times of single requests are in ms.
"""

from __future__ import annotations

import multiprocessing as mp
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, create_engine, text
from tests.servers.mariadb import PASSWORD, running_mariadb
from tests.servers.postgres import running_postgres

from benchmarks.options import Options
from benchmarks.results import Results, Row
from hitless.schema import DbSettings, Phases
from hitless.schema.database import read_url

NAME = "schema"
PAUSE_S = 0.002
DEFAULT = "hitless db migrate"
PROMISED = 1.5
"""p99 of others, in multiples of idle."""
WRITE = "UPDATE images SET bytes = bytes + 1 WHERE id = :id"
READ = "SELECT name, bytes FROM images WHERE id = :id"
UPDATE = "UPDATE images SET kib = bytes / 1024 WHERE kib IS NULL"
FILL = {
    "sqlite": "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows})"
    " INSERT INTO images (id, name, bytes) SELECT n, 'image ' || n, n * 1024 FROM s",
    "mariadb": "INSERT INTO images (id, name, bytes) SELECT seq, concat('image ', seq), seq * 1024 FROM seq_1_to_{rows}",
    "postgres": "INSERT INTO images (id, name, bytes) SELECT n, 'image ' || n, cast(n AS bigint) * 1024 "
    "FROM generate_series(1, {rows}) n",
}
EXPAND = """\
import sqlalchemy as sa
from alembic import op

revision = "1_expand01"
down_revision = None
branch_labels = ("expand",)
release = "1"

def upgrade():
    op.add_column("images", sa.Column("kib", sa.BigInteger))
"""
CONTRACT = """\
revision = "1_contract01"
down_revision = None
branch_labels = ("contract",)
depends_on = "1_expand01"
release = "1"

def upgrade():
    pass
"""
DATA = """\
from hitless.schema import Backfill

release = "1"
backfill = Backfill(table="images", set={"kib": "{bytes} / 1024"}, where="{kib} IS NULL")
"""


async def measure(options: Options) -> Results:
    tables, skipped = {}, []
    for kind in options.databases:
        try:
            tables[f"{kind}, {options.rows} rows"] = one_database(kind, options)
        except FileNotFoundError as error:
            skipped.append(f"{kind} ({error})")
    missed = [
        missing for title, found in tables.items() for row in found if (missing := too_slow(title, row))
    ]
    return Results(NAME, __doc__ or "", tables, skipped, missed=missed)


def too_slow(title: str, row: Row) -> str:
    """What is promised of the default brakes, where it was not held."""
    worst = max(float(str(row[f"{what} × idle"])) for what in ("read", "write"))
    if row["beside"] != DEFAULT or worst <= PROMISED:
        return ""
    return f"{title}: p99 was {worst:.2f} × idle beside {DEFAULT}, not {PROMISED} × or less"


def one_database(kind: str, options: Options) -> list[Row]:
    found: list[Row] = []
    rows = options.rows
    with server(kind) as (url, folder):
        engine = create_engine(read_url(url), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        prepare(kind, engine, folder, rows)

        def one(name: str, work: Callable[[], object]) -> None:
            idle, idle_s = beside(url, rows, lambda: time.sleep(options.seconds))
            times, took_s = beside(url, rows, work)
            found.append(row("idle", idle, 0.0, idle_s) | slower(idle, idle))
            found.append(row(name, times, rows / took_s, took_s) | slower(times, idle))
            options.note(f"{NAME}: {kind}: {found[-1]}")
            with engine.connect() as connection:
                connection.execute(text("UPDATE images SET kib = NULL"))
                if kind == "postgres":
                    connection.execute(text("VACUUM FULL images"))

        one(DEFAULT, lambda: phases(url, folder, {}).migrate())
        gentle = {"share": 0.25, "batch": 100}
        one("hitless db migrate, share = 0.25, batch = 100", lambda: phases(url, folder, gentle).migrate())
        one("hitless db migrate, share = 1", lambda: phases(url, folder, {"share": 1.0}).migrate())
        one("one UPDATE", lambda: at_once(engine))
        if kind == "mariadb" and shutil.which("pt-online-schema-change"):
            one("pt-online-schema-change", lambda: copied(url))
        engine.dispose()
    return found


@contextmanager
def server(kind: str) -> Iterator[tuple[str, Path]]:
    with tempfile.TemporaryDirectory(prefix="hitless-bench-") as path:
        folder = Path(path)
        if kind == "sqlite":
            yield f"sqlite:///{folder}/images.db?timeout=600", folder
        elif kind == "mariadb":
            with running_mariadb(
                **{"innodb-buffer-pool-size": "1G", "innodb-log-file-size": "1G"},
                **{"innodb-flush-log-at-trx-commit": "1"},
            ) as mariadb:
                mariadb.sql("CREATE DATABASE images")
                yield mariadb.url("images"), folder
        else:
            with running_postgres(shared_buffers="1GB", max_wal_size="4GB", fsync="on") as postgres:
                postgres.sql("CREATE DATABASE images")
                yield postgres.url("images"), folder


def prepare(kind: str, engine: Any, folder: Path, rows: int) -> None:
    with engine.connect() as connection:
        if kind == "sqlite":
            connection.execute(text("PRAGMA journal_mode = WAL"))
        connection.execute(
            text("CREATE TABLE images (id bigint PRIMARY KEY, name varchar(64) NOT NULL, bytes bigint)")
        )
        connection.execute(text(FILL[kind].format(rows=rows)))
    for part, body in (("expand", EXPAND), ("contract", CONTRACT), ("data", DATA)):
        file = folder / "migrations" / part / f"1_{part}01.py"
        file.parent.mkdir(parents=True)
        file.write_text(body)
    phases(str(engine.url.render_as_string(hide_password=False)), folder, {}).expand()


def phases(url: str, folder: Path, backfill: dict[str, Any]) -> Phases:
    return Phases(DbSettings.model_validate({"url": url, "service": "images", "backfill": backfill}), folder)


def at_once(engine: Any) -> None:
    with engine.connect() as connection:
        connection.execute(text(UPDATE))


def copied(url: str) -> None:
    parsed = read_url(url)
    dsn = f"D={parsed.database},t=images,h=127.0.0.1,P={parsed.port},u=hitless,p={PASSWORD}"
    command = [
        "pt-online-schema-change",
        "--alter",
        "ADD COLUMN other BIGINT",
        "--execute",
        "--no-version-check",
    ]
    done = subprocess.run(
        [*command, "--no-check-replication-filters", dsn], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-500:] + done.stdout[-500:])


def beside(url: str, rows: int, work: Callable[[], object]) -> tuple[dict[str, list[float]], float]:
    """How long each read and each write took while the work went on, and how long that took."""
    context = mp.get_context("spawn")
    stop, ready, queue = context.Event(), context.Barrier(3), context.Queue()
    users = [context.Process(target=use, args=(url, sql, rows, stop, ready, queue)) for sql in (READ, WRITE)]
    for user in users:
        user.start()
    ready.wait(60)
    began = time.monotonic()
    work()
    took_s = time.monotonic() - began
    stop.set()
    times = dict(queue.get(timeout=60) for _ in users)
    for user in users:
        user.join(60)
    return times, took_s


def use(url: str, sql: str, rows: int, stop: Any, ready: Any, queue: Any) -> None:
    times = []
    engine = create_engine(read_url(url), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(READ), {"id": 1})
        ready.wait(60)
        while not stop.wait(PAUSE_S):
            began = time.monotonic()
            connection.execute(text(sql), {"id": random.randint(1, rows)})
            times.append(time.monotonic() - began)
    queue.put((sql, times))


def row(name: str, times: dict[str, list[float]], rate: float, took_s: float) -> Row:
    columns: dict[str, object] = {
        "beside": name,
        "rows/s": f"{rate:,.0f}" if rate else "",
        "s": f"{took_s:.0f}",
    }
    for what, sql in (("read", READ), ("write", WRITE)):
        p50, p99, most = (percentile(times[sql], share) for share in (0.5, 0.99, 1))
        columns |= {f"{what} p50": f"{p50:.2f}", f"{what} p99": f"{p99:.2f}", f"{what} max": f"{most:.0f}"}
    return columns


def percentile(times: list[float], share: float) -> float:
    """In ms; the longest for a share of 1."""
    found = sorted(times)
    return 1000 * found[min(len(found) - 1, int(share * len(found)))]


def slower(times: dict[str, list[float]], idle: dict[str, list[float]]) -> Row:
    """p99 in multiples of that of the idle time right before it: the machine may have been another one an hour ago."""
    return {
        f"{what} × idle": f"{percentile(times[sql], 0.99) / percentile(idle[sql], 0.99):.2f}"
        for what, sql in (("read", READ), ("write", WRITE))
    }
