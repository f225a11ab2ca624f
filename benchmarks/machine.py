"""The machine and the versions that a result was measured with: without them a figure means nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

PACKAGES = ("uvicorn", "granian", "gunicorn", "hypercorn", "uvloop", "httptools")


def describe(python: str) -> dict[str, str]:
    """One line per fact."""
    import hitless

    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "cpu": _cpu(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "hitless": hitless.__version__ + _commit(),
        **_packages(python),
        "nginx": _said(["nginx", "-v"]),
        "uwsgi": _said(["uwsgi", "--version"]),
        "wrk": _said(["wrk", "-v"]),
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    here = Path(__file__).parent
    commit = _said(["git", "-C", str(here), "rev-parse", "--short", "HEAD"])
    return f" ({commit})" if commit else ""


def _packages(python: str) -> dict[str, str]:
    code = (
        "import sys; from importlib.metadata import version, PackageNotFoundError\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(name, version(name))\n"
        "    except PackageNotFoundError: pass"
    )
    found = subprocess.run(
        [python, "-c", code, *PACKAGES], capture_output=True, text=True, check=False
    ).stdout
    return dict(line.split() for line in found.splitlines())


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].split("Copyright")[0].strip() if lines else ""


def command() -> str:
    """The command that made a result."""
    return " ".join(["python -m benchmarks", *sys.argv[1:]])
