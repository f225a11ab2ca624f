"""The account that a database server runs as: its package's own when the tests run as root, which no server accepts."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path


def as_account(name: str) -> list[str]:
    """The beginning of a command that runs as this account."""
    return ["setpriv", f"--reuid={name}", f"--regid={name}", "--clear-groups"] if os.geteuid() == 0 else []


def give(path: Path, name: str) -> None:
    """Let the account have the folder."""
    if os.geteuid() == 0:
        found = pwd.getpwnam(name)
        os.chown(path, found.pw_uid, found.pw_gid)


def tool(name: str, package: str, *folders: str) -> str:
    """The path of a program, or an error that says which package has it."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *folders]))
    if path is None:
        raise FileNotFoundError(f"{name} is missing; install it with: sudo apt-get install {package}")
    return path
