from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CEILOMETERS = ("27.0.0", "9.0.7")
"""The newest when this was written, and the oldest with transformers that is there as a wheel (Pike)."""


@pytest.fixture(scope="session")
def ceilometers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What Ceilometer ships, by version, as unpacked wheels. Downloaded, not installed: nothing of it is a dependency."""
    found = {}
    for version in CEILOMETERS:
        folder = tmp_path_factory.mktemp(f"ceilometer-{version}")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run(
            [*command, "--dest", str(folder), f"ceilometer=={version}"],
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        wheels = list(folder.glob("*.whl"))
        assert wheels, (
            f"these tests read ceilometer {version} from a package index (pip download): {done.stderr}"
        )
        zipfile.ZipFile(wheels[0]).extractall(folder)
        found[version] = folder
    return found
