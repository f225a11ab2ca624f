"""``python -m benchmarks.schema``: a column of millions of rows is filled while others read and write the table.

    PYTHONPATH=src:tests python -m benchmarks.schema [--rows 5000000] [--seconds 20] [sqlite mariadb postgres]

On private servers. One process reads and one writes single rows by key, each with a pause of 2 ms between requests:
first with nothing else going on ("idle"), then beside `hitless db migrate` with its default brakes, beside the same without
brakes (share = 1), beside one UPDATE of all rows, and on MariaDB beside pt-online-schema-change, which copies the table,
if it is installed. Prints and writes benchmarks/results/schema.{json,md}.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, create_engine, text

from benchmarks import machine
from benchmarks.results import Results, Row
from hitless.schema import DbSettings, Phases
from hitless.schema.database import read_url
from servers.mariadb import PASSWORD, running_mariadb
from servers.postgres import running_postgres

NAME = "schema"
PAUSE_S = 0.002
WRITE = "UPDATE images SET bytes = bytes + 1 WHERE id = :id"
READ = "SELECT name, bytes FROM images WHERE id = :id"
UPDATE = "UPDATE images SET kib = bytes / 1024 WHERE kib IS NULL"
FILL = {
    "sqlite": "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows})"
    " INSERT INTO images (id, name, bytes) SELECT n, 'image ' || n, n * 1024 FROM s",
    "mariadb": "INSERT INTO images (id, name, bytes) SELECT seq, concat('image ', seq), seq * 1024 FROM seq_1_to_{rows}",
    "postgres": "INSERT INTO images (id, name, bytes) SELECT n, 'image ' || n, n * 1024 FROM generate_series(1, {rows}) n",
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


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.schema")
    parser.add_argument("databases", nargs="*", default=["sqlite", "mariadb", "postgres"])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the idle measurement")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results", help="folder of the results"
    )
    chosen = parser.parse_args()
    tables = {kind: measure(kind, chosen.rows, chosen.seconds) for kind in chosen.databases}
    about = f"{chosen.rows} rows; times of single requests by key in ms. " + " ".join(
        (__doc__ or "").split("\n\n")[2].split()
    )
    results = Results(NAME, about, tables)
    files = results.write(chosen.out, machine=machine.describe(sys.executable), command=machine.command())
    print(files[1].read_text())


def measure(kind: str, rows: int, seconds: float) -> list[Row]:
    found: list[Row] = []
    with server(kind) as (url, folder):
        engine = create_engine(read_url(url), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        prepare(kind, engine, folder, rows)

        def one(name: str, work: Callable[[], object], done: int) -> None:
            times, took_s = beside(url, rows, work)
            found.append(row(name, times, done / took_s if done else 0.0, took_s))
            print(kind, found[-1], file=sys.stderr, flush=True)
            with engine.connect() as connection:
                connection.execute(text("UPDATE images SET kib = NULL"))
                if kind == "postgres":
                    connection.execute(text("VACUUM FULL images"))

        one("idle", lambda: time.sleep(seconds), 0)
        one("hitless db migrate", lambda: phases(url, folder, {}).migrate(), rows)
        one("hitless db migrate, share = 1", lambda: phases(url, folder, {"share": 1.0}).migrate(), rows)
        one("one UPDATE", lambda: at_once(engine), rows)
        if kind == "mariadb" and shutil.which("pt-online-schema-change"):
            one("pt-online-schema-change", lambda: copied(url), rows)
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
                **{"innodb-buffer-pool-size": "1G", "innodb-log-file-size": "1G"}
            ) as mariadb:
                mariadb.sql("CREATE DATABASE images")
                yield mariadb.url("images"), folder
        else:
            with running_postgres(shared_buffers="1GB", max_wal_size="4GB") as postgres:
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
        found = sorted(times[sql])
        p50, p99, most = (
            1000 * found[min(len(found) - 1, int(share * len(found)))] for share in (0.5, 0.99, 1)
        )
        columns |= {f"{what} p50": f"{p50:.2f}", f"{what} p99": f"{p99:.2f}", f"{what} max": f"{most:.0f}"}
    return columns


if __name__ == "__main__":
    main()
