"""`python -m hitless.serve REQUEST`: the supervisor's process. `hitless serve` replaces itself by it.

REQUEST is a JSON object: {"config": path or null, "flags": {dotted key: text}, "allow_writable": bool}. The detour keeps the
command line's libraries out of a process that lives for months. Or {"resume": descriptor, "rehearse": bool}: go on with what
another program has served in this process (see `hitless.serve.upgrade`).
"""

from __future__ import annotations

import json
import os
import sys

# The supervisor speaks no TLS, its workers do. asyncio takes a Python without ssl as it comes, and that saves 1.5 MB.
sys.modules["ssl"] = None  # type: ignore[assignment]
import asyncio  # noqa: E402

del sys.modules["ssl"]

from hitless.serve.main import Request, resume, run  # noqa: E402


def main() -> int:
    asked = json.loads(sys.argv[1])
    with open("/proc/self/comm", "w") as comm:
        comm.write("hitless")
    environ = dict(os.environ)
    if "resume" in asked:
        return asyncio.run(resume(asked["resume"], environ, rehearse=asked["rehearse"]))
    return asyncio.run(run(Request(**asked), environ))


if __name__ == "__main__":
    sys.exit(main())
