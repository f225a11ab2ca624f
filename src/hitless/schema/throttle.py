"""Keeps a backfill from taking the database away from those that it is for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import Connection

from hitless.change import Clock
from hitless.schema.database import Database
from hitless.schema.dialect import Dialect
from hitless.schema.errors import SchemaError
from hitless.schema.settings import BackfillSettings

LOOK_S: Final = 1.0
"""How often lag and load are looked at."""
LEAST: Final = 100
"""Rows; below that, committing costs more than the rows."""
GROWTH: Final = 1.5


class Throttle:
    """Says how large the next batch may be and waits before it.

    Three brakes, each of its own: the share of time in which a batch runs, a rate, and limits of lag and load that stop
    everything while they are passed. `wait` lets time pass, and raises when there is no use in going on.
    """

    def __init__(
        self,
        settings: BackfillSettings,
        dialect: Dialect,
        *,
        wait: Callable[[float], None],
        replicas: Sequence[Database] = (),
        clock: Clock = time.monotonic,
    ) -> None:
        self._settings: Final = settings
        self._dialect: Final = dialect
        self._wait: Final = wait
        self._replicas: Final = replicas
        self._clock: Final = clock
        self._looked_at = float("-inf")
        self._least: Final = min(LEAST, settings.batch)
        self.batch = max(self._least, settings.batch // 4)
        """Rows of the next batch; begins small, as nobody knows yet how long a row takes."""

    def after(self, rows: int, seconds: float) -> None:
        """A batch of so many rows took so long: rest, and choose the size of the next one."""
        limit_s = self._settings.batch_time
        if seconds > limit_s:
            self.batch = max(self._least, int(self.batch * max(0.1, limit_s / seconds)))
        elif seconds < limit_s / 2:
            self.batch = min(self._settings.batch, max(self.batch + 1, int(self.batch * GROWTH)))
        rest_s = seconds * (1 / self._settings.share - 1)
        if self._settings.rate is not None:
            rest_s = max(rest_s, rows / self._settings.rate - seconds)
        if rest_s > 0:
            self._wait(rest_s)

    def hold(self, connection: Connection, tell: Callable[[str], None]) -> None:
        """Wait while a limit is passed.

        Raises:
            SchemaError: it is passed for longer than max_wait.
        """
        if not self._has_limits or self._clock() - self._looked_at < LOOK_S:
            return
        began = self._clock()
        while why := self._passed(connection):
            tell(why)
            if self._clock() - began > self._settings.max_wait:
                raise SchemaError(
                    "throttled",
                    f"{why} for more than {self._settings.max_wait:g} s; run migrate again when it is better",
                )
            self._wait(LOOK_S)
        self._looked_at = self._clock()

    @property
    def _has_limits(self) -> bool:
        return self._settings.max_lag is not None or self._settings.max_running is not None

    def _passed(self, connection: Connection) -> str:
        if self._settings.max_lag is not None:
            lag = self._lag(connection)
            if lag is not None and lag > self._settings.max_lag:
                return f"a replica is {lag:.1f} s behind"
        if self._settings.max_running is not None:
            running = self._dialect.running(connection)
            if running > self._settings.max_running:
                return f"{running} sessions run statements"
        return ""

    def _lag(self, connection: Connection) -> float | None:
        found = [self._dialect.lag(connection)] if not self._replicas else []
        for replica in self._replicas:
            with replica.reading() as other:
                found.append(replica.dialect.lag(other))
        known = [lag for lag in found if lag is not None]
        return max(known) if known else None
