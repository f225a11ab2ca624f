"""`python -m hitless.serve REQUEST`: the supervisor's process. `hitless serve` replaces itself by it.

REQUEST is a JSON object: {"config": path or null, "flags": {dotted key: text}, "allow_writable": bool}. The detour keeps the
command line's libraries out of a process that lives for months.
"""

from __future__ import annotations

import json
import os
import sys

# The supervisor speaks no TLS, its workers do. asyncio takes a Python without ssl as it comes, and that saves 1.5 MB.
sys.modules["ssl"] = None  # type: ignore[assignment]
import asyncio  # noqa: E402

del sys.modules["ssl"]

from hitless.serve.main import Request, run  # noqa: E402


def main() -> int:
    request = json.loads(sys.argv[1])
    with open("/proc/self/comm", "w") as comm:
        comm.write("hitless")
    return asyncio.run(run(Request(**request), dict(os.environ)))


if __name__ == "__main__":
    sys.exit(main())
