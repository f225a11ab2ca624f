"""The demonstration shows what it says, in a time that people wait for, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]


def test_nobody_is_cut_but_by_the_engine_itself() -> None:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HITLESS_", "DOCKER_", "CONTAINER_"))
    }
    before = set(Path("/tmp").glob("hitless-*"))
    done = subprocess.run(
        [sys.executable, "-m", "hitless", "demo", "containers", "--json"],
        capture_output=True, text=True, timeout=280, env=clean, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    report = json.loads(done.stdout)
    assert (report["part"], report["ok"], report["failed"]) == ("containers", True, 0)
    outcomes = {step["name"]: step["outcome"].partition(":")[0] for step in report["steps"]}
    assert outcomes == {"quick": "clean", "slow": "clean", "stubborn": "forced", "slow, by the engine": "cut"}
    left = {path.name for path in set(Path("/tmp").glob("hitless-*")) - before}
    assert not {name for name in left if name.startswith("hitless-e-")}
