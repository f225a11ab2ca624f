"""What every benchmark application does while it is imported: burn CPU, build state, perhaps raise; and its
version.

BENCH_RELEASE   a file: the version, and perhaps the word `broken` after it, which makes the import raise
BENCH_IMPORT_S  seconds of CPU time that the import burns
BENCH_STATE_MB  megabytes of Python objects that the import leaves behind
"""

from __future__ import annotations

import os
import time
from pathlib import Path


def _release() -> str:
    version, _, condition = Path(os.environ["BENCH_RELEASE"]).read_text().strip().partition(" ")
    if condition == "broken":
        raise RuntimeError(f"release {version} is broken")
    return version


def _burn(seconds: float) -> None:
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        sum(range(1000))


def _state(megabytes: int) -> list[dict[str, object]]:
    """Rows as an application has them: many small objects, whose reference counts are written when they are
    read."""
    rows_per_megabyte = 1800
    return [
        {"number": number, "name": f"row number {number}", "payload": bytes(200)}
        for number in range(megabytes * rows_per_megabyte)
    ]


VERSION = _release()
_burn(float(os.environ.get("BENCH_IMPORT_S", "0")))
STATE = _state(int(os.environ.get("BENCH_STATE_MB", "0")))
HELLO = b"Hello, world!"
JSON_10K = (
    b'{"rows": [' + b", ".join(b'{"id": %4d, "name": "row number %4d"}' % (n, n) for n in range(250)) + b"]}"
)
PIECE = bytes(64 * 1024)


def touch(count: int = 200) -> int:
    """Read some of the state, as a request does; returns its size."""
    if not STATE:
        return 0
    step = max(1, len(STATE) // count)
    return sum(len(str(row["name"])) for row in STATE[::step])
