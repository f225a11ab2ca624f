"""A systemd unit for a service."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from typing import Any

from hitless.serve.drains import KILL_AFTER_S
from hitless.serve.main import Request
from hitless.serve.settings import ServeSettings

TEMPLATE = """\
# {name}: made by `hitless unit`.
[Unit]
Description={name}, served by hitless
After=network.target

[Service]
# Not notify-reload: it would send SIGHUP beside ExecReload=, and it cannot be told that a reload was refused. The exit code of
# `hitless reload` can: `systemctl reload {name}` fails when the change was rejected, and the old generation still serves.
Type=notify
NotifyAccess=main
WorkingDirectory={directory}
ExecStart={start}
ExecReload={hitless} reload {service}
ExecStop={hitless} stop {service}
Restart=on-failure
TimeoutStartSec={start_s:g}
TimeoutStopSec={stop_s:g}
KillMode=mixed
WatchdogSec=30
StateDirectory=hitless/{name}
RuntimeDirectory=hitless
RuntimeDirectoryPreserve=yes
# Lets a template that imports beside running workers give way to them, and come back.
LimitNICE=0
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
"""


def unit_file(request: Request, settings: ServeSettings, *, executable: str) -> str:
    """The text of the unit."""
    return TEMPLATE.format(
        name=settings.name,
        directory=os.getcwd(),
        hitless=executable,
        service=settings.name if settings.control is None else _quoted(os.path.abspath(settings.control)),
        start=" ".join([executable, "serve", *(_quoted(part) for part in _arguments(request))]),
        start_s=settings.start.timeout + 10,
        stop_s=settings.drain.timeout + 2 * KILL_AFTER_S,
    )


def _arguments(request: Request) -> Iterator[str]:
    if request.config is not None:
        yield from ("-c", os.path.abspath(request.config))
    if request.allow_writable:
        yield "--allow-writable"
    for key, value in request.flags.items():
        if key == "app":
            yield str(value)
            continue
        name = key.replace(".", "-").replace("_", "-")
        yield from _flag(name, value)


def _flag(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        yield f"--{name}" if value else f"--no-{name}"
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (f"--{name}", f"{key}={item}")
    elif isinstance(value, list):
        for item in value:
            yield from (f"--{name}", str(item))
    else:
        yield from (f"--{name}", str(value))


def _quoted(part: str) -> str:
    """Quoted for systemd, in which % and $ are special."""
    return shlex.quote(part).replace("%", "%%").replace("$", "$$")
