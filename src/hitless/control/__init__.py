"""JSON lines over a Unix socket: how commands talk to a service that runs."""

from __future__ import annotations

from hitless.change import JSON
from hitless.control.client import ControlClient, OnEvent
from hitless.control.errors import ControlError, ControlTimeout, NoSuchService, ServiceRunning, UnusablePath
from hitless.control.paths import Service, find, run_dir, services, socket_path
from hitless.control.request import Handler, Peer, Progress, Request
from hitless.control.server import ControlServer

__all__ = [
    "JSON",
    "ControlClient",
    "ControlError",
    "ControlServer",
    "ControlTimeout",
    "Handler",
    "NoSuchService",
    "OnEvent",
    "Peer",
    "Progress",
    "Request",
    "Service",
    "ServiceRunning",
    "UnusablePath",
    "find",
    "run_dir",
    "services",
    "socket_path",
]
