"""What systemd is told, and what it passes on. Source: sd_notify(3), sd_listen_fds(3), systemd.service(5)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Final

MAX_STATUS: Final = 300


def listen_fds(environ: MutableMapping[str, str], pid: int) -> int:
    """How many sockets systemd passed (from descriptor 3 on); the variables are consumed."""
    meant_for = environ.pop("LISTEN_PID", None)
    count = environ.pop("LISTEN_FDS", "0")
    environ.pop("LISTEN_FDNAMES", None)
    return int(count) if meant_for == str(pid) and count.isdecimal() else 0


class Notifier:
    """Sends state to the service manager; does nothing where there is none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address: Final = "\0" + address[1:] if address.startswith("@") else address
        # One for life: without descriptors left, a watchdog that hears nothing would end a service that serves.
        self._socket: Final = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        watchdog = environ.get("WATCHDOG_USEC", "")
        meant_for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s: Final = int(watchdog) / 1e6 / 2 if watchdog.isdecimal() and meant_for_us else None
        """How often `alive` is to be called: half the time that systemd allows. None without a watchdog."""

    def ready(self, status: str) -> None:
        self._send("READY=1", f"STATUS={status[:MAX_STATUS]}", f"MAINPID={os.getpid()}")

    def reloading(self) -> None:
        """`Type=notify-reload` hangs in `systemctl reload` without the timestamp."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=reloading")

    def stopping(self, timeout_s: float) -> None:
        self._send("STOPPING=1", "STATUS=draining", f"EXTEND_TIMEOUT_USEC={int(timeout_s * 1e6)}")

    def starting(self, timeout_s: float) -> None:
        self._send("STATUS=starting", f"EXTEND_TIMEOUT_USEC={int(timeout_s * 1e6)}")

    def status(self, text: str) -> None:
        self._send(f"STATUS={text[:MAX_STATUS]}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._socket is not None:
            text = "\n".join(line.replace("\n", " ") for line in lines)
            with suppress(OSError):
                self._socket.sendto(text.encode(), socket.MSG_DONTWAIT, self._address)
