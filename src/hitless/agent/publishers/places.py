"""Files that publishers would write."""

from __future__ import annotations

import os
from pathlib import Path


def writable(path: Path) -> None:
    """Raises OSError: this user cannot write the file, or create it where it is not there."""
    if path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))
    elif not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}")
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{path.parent} cannot be written")
