"""A private MariaDB server, on a Unix socket and a free port of 127.0.0.1, in a temporary folder."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymysql
from tests.servers.account import as_account, give, tool
from tests.servers.ports import free_port

ACCOUNT = "mysql"
START_S = 60.0
PASSWORD = "secret:word"


@dataclass(frozen=True, slots=True)
class MariaDB:
    port: int
    folder: Path
    pid: int

    def url(self, database: str = "mysql") -> str:
        return f"mysql://hitless:{PASSWORD.replace(':', '%3A')}@127.0.0.1:{self.port}/{database}"

    def sql(self, *statements: str, database: str = "mysql") -> list[tuple[object, ...]]:
        """The rows of the last statement."""
        with (
            pymysql.connect(
                host="127.0.0.1",
                port=self.port,
                user="hitless",
                password=PASSWORD,
                database=database,
                autocommit=True,
            ) as connection,
            connection.cursor() as cursor,
        ):
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())


@contextmanager
def running_mariadb(**settings: str) -> Iterator[MariaDB]:
    """Started, answering, and stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="hitless-my-", dir="/tmp") as path:
        folder = Path(path)
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir()
        give(folder, ACCOUNT)
        give(data, ACCOUNT)
        run = as_account(ACCOUNT)
        install = [
            tool("mariadb-install-db", "mariadb-server"),
            "--no-defaults",
            f"--datadir={data}",
            "--skip-test-db",
        ]
        subprocess.run(
            [*run, *install, "--auth-root-authentication-method=normal"], check=True, capture_output=True
        )
        first = folder / "first.sql"
        first.write_text(
            f"CREATE USER hitless@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO hitless@'127.0.0.1'"
            " WITH GRANT OPTION;\n"
        )
        first.chmod(0o644)
        port = free_port()
        given = {
            "datadir": str(data),
            "socket": str(folder / "socket"),
            "pid-file": str(folder / "pid"),
            "port": str(port),
        }
        given |= {"bind-address": "127.0.0.1", "init-file": str(first), "innodb-flush-log-at-trx-commit": "0"}
        given |= {
            "innodb-buffer-pool-size": "64M",
            "innodb-log-file-size": "48M",
            "skip-name-resolve": "1",
            "performance-schema": "ON",  # for the names of sessions
            **settings,
        }
        command = [
            tool("mariadbd", "mariadb-server"),
            "--no-defaults",
            *(f"--{key}={value}" for key, value in given.items()),
        ]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen([*run, *command], stdout=log, stderr=log, cwd=data)
            try:
                started = MariaDB(port, folder, server.pid)
                _wait(started, server, folder / "log")
                yield started
            finally:
                server.terminate()
                try:
                    server.wait(30)
                except subprocess.TimeoutExpired:
                    server.kill()
                    server.wait()


def _wait(server: MariaDB, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            server.sql("SELECT 1")
            return
        except pymysql.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"mariadbd did not start: {log.read_text()[-2000:]}") from error
            time.sleep(0.05)  # it has no event to wait for; a connection is how one asks
