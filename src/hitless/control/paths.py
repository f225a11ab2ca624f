"""Where the control sockets are, and how a service is found by its name.

    root          /run/hitless/NAME.sock
    other users   $XDG_RUNTIME_DIR/hitless/NAME.sock, or /tmp/hitless-UID/NAME.sock without it
    HITLESS_RUN_DIR, if set, is the directory instead.

Who can write the directory could put a socket of its own there, so it must belong to the user and be
writable by nobody else.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from hitless.control.errors import NoSuchService, UnusablePath

SUFFIX: Final = ".sock"
PATH_LIMIT: Final = 107
"""Bytes of a socket's path: sun_path has 108, one of them for the end (unix(7))."""


class Service(NamedTuple):
    name: str
    path: Path
    alive: bool
    """Whether something accepts connections there."""


def run_dir(environ: Mapping[str, str] | None = None, uid: int | None = None) -> Path:
    """The directory of this user's control sockets; it need not exist."""
    environ = os.environ if environ is None else environ
    uid = os.geteuid() if uid is None else uid
    if chosen := environ.get("HITLESS_RUN_DIR"):
        return Path(chosen)
    if uid == 0:
        return Path("/run/hitless")
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "hitless"
    return Path(f"/tmp/hitless-{uid}")  # its owner and mode are checked before it is used


def socket_path(name: str, environ: Mapping[str, str] | None = None) -> Path:
    """Where the service NAME has its control socket."""
    return check_length(run_dir(environ) / f"{name}{SUFFIX}")


def check_length(path: Path) -> Path:
    """The path itself.

    Raises:
        UnusablePath: it is longer than the system allows.
    """
    length = len(os.fsencode(path))
    if length > PATH_LIMIT:
        raise UnusablePath(
            f"the control socket {path} has a path of {length} bytes, and the system allows {PATH_LIMIT};"
            " set HITLESS_RUN_DIR or control to a shorter one"
        )
    return path


def make_directory(path: Path) -> None:
    """Create the directory for sockets (0700) if it is missing, and check that it is safe.

    Raises:
        UnusablePath: it cannot be created, belongs to somebody else, or somebody else may write it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise UnusablePath(
            f"{path} should be the directory for control sockets and is none; remove it"
        ) from None
    except OSError as error:
        raise UnusablePath(f"the directory {path} cannot be created: {error.strerror}") from error
    check_directory(path)


def check_directory(path: Path) -> None:
    """Refuse a directory in which somebody else could replace a socket.

    Raises:
        UnusablePath: it could be done.
    """
    found = path.stat()
    for owner in {path.lstat().st_uid, found.st_uid}:  # of a link too: who made it can make it lead elsewhere
        if owner not in (0, os.geteuid()):
            raise UnusablePath(
                f"the directory {path} belongs to uid {owner}; remove it or set HITLESS_RUN_DIR"
            )
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if others_write and not found.st_mode & stat.S_ISVTX:
        raise UnusablePath(f"the directory {path} may be written by others; run: chmod go-w {path}")


def services(environ: Mapping[str, str] | None = None) -> list[Service]:
    """The services that have a control socket here, living or dead, by name."""
    try:
        found = sorted(run_dir(environ).glob(f"*{SUFFIX}"))
    except OSError:
        return []
    return [Service(path.name.removesuffix(SUFFIX), path, is_alive(path)) for path in found]


def find(service: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """The control socket of a service: by name, by path (with a slash in it), or the only one there is.

    Raises:
        NoSuchService: there is none, or more than one to choose from; the message lists those that there are.
    """
    if service is not None and "/" in os.fspath(service):
        path = Path(service)
        if not path.exists():
            raise NoSuchService(f"there is no control socket {path}; is the service running?")
        return path
    living = [each for each in services(environ) if each.alive]
    names = [each.name for each in living]
    if service is None and len(living) == 1:
        return living[0].path
    for each in living:
        if each.name == service:
            return each.path
    raise NoSuchService(_nobody(service, names, run_dir(environ)), names)


def _nobody(service: str | os.PathLike[str] | None, names: list[str], where: Path) -> str:
    if not names:
        return f"no service is running (there is no living control socket in {where})"
    if service is None:
        return f"there are several services; say which one: {', '.join(names)}"
    return f"there is no service {os.fspath(service)}; there are: {', '.join(names)}"


def is_alive(path: Path) -> bool:
    """Whether something accepts connections there; a full queue is a sign of life too."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)) as probe:
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:
            return True
        except OSError as error:
            return isinstance(error, PermissionError)
    return True
