from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CEILOMETERS = ("27.0.0", "9.0.7")
"""The newest when this was written, and the oldest with transformers that is there as a wheel (Pike)."""
DOWNLOAD_S = 240


@pytest.fixture(scope="session")
def ceilometers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What Ceilometer ships, by version, as unpacked wheels. Downloaded, not installed: nothing of it is a dependency."""
    folders = {version: tmp_path_factory.mktemp(f"ceilometer-{version}") for version in CEILOMETERS}
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    downloads = [
        subprocess.Popen(
            [*pip, "--dest", str(folder), f"ceilometer=={version}"], stderr=subprocess.PIPE, text=True
        )
        for version, folder in folders.items()
    ]
    said = []
    for each in downloads:
        try:
            said.append(each.communicate(timeout=DOWNLOAD_S)[1])
        finally:
            each.kill()
    for version, folder in folders.items():
        wheels = list(folder.glob("*.whl"))
        assert wheels, f"these tests read ceilometer {version} from a package index (pip download): {said}"
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extractall(folder)
    return folders


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that needs the download waits for the network."""
    for item in items:
        if "ceilometers" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(DOWNLOAD_S + 120))
