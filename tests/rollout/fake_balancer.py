"""A balancer in a file, for tests that are not about balancers: `fake_balancer.py FILE state|drain|ready|maint [SERVER]`.

A server with a file `FILE.sessions-SERVER` has as many sessions as that says. With `FILE.down` nothing answers.
"""

from __future__ import annotations

import fcntl
import json
import sys
from pathlib import Path
from typing import Any


def main(file: Path, action: str, server: str = "") -> None:
    if Path(f"{file}.down").exists():
        sys.exit("connection refused")
    with file.open("r+") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        state: dict[str, dict[str, Any]] = json.load(opened)
        for name, each in state.items():
            sessions = Path(f"{file}.sessions-{name}")
            each["sessions"] = int(sessions.read_text()) if sessions.exists() else 0
        if action == "state":
            print(json.dumps(state))
            return
        with Path(f"{file}.log").open("a") as log:
            log.write(f"{action} {server}\n")
        state[server]["status"] = action
        state[server]["up"] = action == "ready"
        text = json.dumps(state)  # one write that is no longer than the file was: a kill leaves old or new
        opened.seek(0)
        opened.write(text)
        opened.truncate()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
