"""What others feel of a backfill, in figures; not for busy machines."""

from __future__ import annotations

import pytest
from benchmarks import schema
from benchmarks.options import Options


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_writers_wait_less_beside_a_backfill_than_beside_one_update(kind: str) -> None:
    rows = {
        str(row["beside"]): row for row in schema.one_database(kind, Options("", rows=200_000, seconds=5.0))
    }
    backfill, update = (float(str(rows[name]["write max"])) for name in ("hitless db migrate", "one UPDATE"))
    assert backfill < update
