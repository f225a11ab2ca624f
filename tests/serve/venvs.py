"""Other interpreters for tests: a venv of its own, in which hitless is importable without a network."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import hitless


def make_venv(folder: Path, python: str | None = None) -> Path:
    """A venv in `folder` that sees this one's packages; returns its interpreter."""
    subprocess.run([python or sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    sources = Path(hitless.__file__).parents[1]
    seen = f"{sysconfig.get_path('purelib')}\n{sources}\n"
    (folder / "lib" / version / "site-packages" / "seen.pth").write_text(seen)
    return folder / "bin" / "python"


def public_python() -> str | None:
    """An interpreter of this version that every user may run; None if this machine has none."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (os.path.realpath(sys.executable), f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        path = Path(candidate)
        if path.is_file() and all(each.stat().st_mode & 0o001 for each in (path, *path.parents)):
            return candidate
    return None


@contextmanager
def public_folder() -> Iterator[Path]:
    """A temporary folder that every user may read."""
    with TemporaryDirectory(prefix="hitless-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
