"""`python -m hitless.serve REQUEST`: the supervisor's process. `hitless serve` replaces itself by it.

REQUEST is a JSON object: {"config": path or null, "flags": {dotted key: text}, "allow_writable": bool}. The detour keeps the
command line's libraries out of a process that lives for months.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from hitless.serve.main import Request, run


def main() -> int:
    request = json.loads(sys.argv[1])
    with open("/proc/self/comm", "w") as comm:
        comm.write("hitless")
    return asyncio.run(run(Request(**request), dict(os.environ)))


if __name__ == "__main__":
    sys.exit(main())
