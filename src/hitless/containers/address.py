"""Where the engines' sockets are."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from hitless.containers.errors import EngineUnreachable

SCHEME: Final = "unix://"
CONNECT_S: Final = 2.0


def engine_address(given: str | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """The socket to talk to: `given`, HITLESS_ENGINE, DOCKER_HOST, CONTAINER_HOST, or the first usual one that is there.

    Raises:
        EngineUnreachable: there is none, or it is not a Unix socket.
    """
    environ = os.environ if environ is None else environ
    names = ("HITLESS_ENGINE", "DOCKER_HOST", "CONTAINER_HOST")
    said = given or next((environ[name] for name in names if environ.get(name)), None)
    if said is not None:
        return _checked(said)
    for path in usual_addresses(environ):
        if accepts(path):
            return path
    for path in usual_addresses(environ):
        _check_allowed(path)
    places = ", ".join(str(path) for path in usual_addresses(environ))
    raise EngineUnreachable(
        f"no container engine listens on {places}; start one, or name its socket with --engine unix://PATH"
    )


def usual_addresses(environ: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Where Docker and Podman listen unless told otherwise, the system's before the user's."""
    environ = os.environ if environ is None else environ
    system = (Path("/run/docker.sock"), Path("/run/podman/podman.sock"))
    runtime = environ.get("XDG_RUNTIME_DIR")
    if not runtime:
        return system
    return (*system, Path(runtime) / "docker.sock", Path(runtime) / "podman" / "podman.sock")


def accepts(path: Path) -> bool:
    """Whether something listens there; a socket alone may be left over."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(CONNECT_S)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
    return True


def is_forbidden(path: Path) -> bool:
    """Whether there is a socket, and this user may not connect to it."""
    try:
        return stat.S_ISSOCK(path.stat().st_mode) and not os.access(
            path, os.R_OK | os.W_OK, effective_ids=True
        )
    except PermissionError:
        return True
    except OSError:
        return False


def _checked(said: str) -> Path:
    if "://" in said and not said.startswith(SCHEME):
        raise EngineUnreachable(
            f"{said}: only engines on a Unix socket are supported; run hitless where the engine runs,"
            " or forward its socket with ssh -L"
        )
    path = Path(said.removeprefix(SCHEME))
    try:
        found = path.stat()
    except OSError as error:
        raise EngineUnreachable(
            f"there is no engine socket {path} ({error.strerror}); is it running?"
        ) from None
    if not stat.S_ISSOCK(found.st_mode):
        raise EngineUnreachable(f"{path} is no socket; name the engine's socket with --engine unix://PATH")
    _check_allowed(path)
    return path


def _check_allowed(path: Path) -> None:
    if is_forbidden(path):
        raise EngineUnreachable(
            f"the engine's socket {path} may not be used by this user; run hitless as root, or as a member of the group that"
            " owns it"
        )
