"""Pins what the project installs: `make lock` writes requirements/dev.txt and requirements/bench.txt."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
RUNTIME = [*PROJECT["project"]["dependencies"]]
for name, wanted in EXTRAS.items():
    if name != "all":
        RUNTIME += wanted

GROUPS = PROJECT["dependency-groups"]
for output, wanted in {"dev": RUNTIME + GROUPS["dev"], "bench": RUNTIME + GROUPS["bench"]}.items():
    source = HERE / f"{output}.in"
    source.write_text("\n".join(wanted) + "\n")
    command = [
        *(sys.executable, "-m", "piptools", "compile", "--quiet", "--strip-extras", "--allow-unsafe"),
        *("--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", "--no-header"),
        *("--no-annotate", "--output-file", str(HERE / f"{output}.txt"), str(source)),
    ]
    subprocess.run(command, check=True)
    source.unlink()
