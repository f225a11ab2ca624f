"""A process of ours with pipes that asyncio reads: it is over when it has exited, whoever holds its pipes open.

asyncio's own subprocesses wait for the pipes too, in some versions of Python, and start a thread for each process.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

CHUNK: Final = 1 << 16


class Child:
    """Begins at once, in a session of its own. Close it in the end."""

    def __init__(self, argv: Sequence[str], read: Callable[[int, bytes], None]) -> None:
        """`read` is called with 1 or 2 and what came there, or b"" at its end.

        Raises:
            OSError: it cannot be begun.
        """
        pipe = subprocess.PIPE
        self._popen: Final = subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True
        )
        self._loop: Final = asyncio.get_running_loop()
        self._read: Final = read
        self._pidfd: int | None = os.pidfd_open(self._popen.pid)
        self._stdin: int | None = None
        self._unsent = bytearray()
        self._open: dict[int, int] = {}
        self.gone: Final = asyncio.Event()
        self._watch()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._popen.returncode

    def write(self, data: bytes) -> None:
        """Send when it reads; what it never reads is dropped with it."""
        self._unsent += data
        if self._stdin is not None:
            self._loop.add_writer(self._stdin, self._send)

    def end_input(self) -> None:
        """It reads the end of its input now, whatever was not sent yet."""
        if self._stdin is not None:
            self._loop.remove_writer(self._stdin)
            os.close(self._stdin)
            self._stdin = None

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """To it, or to its whole group (which may outlive it)."""
        with suppress(ProcessLookupError):
            if group:
                os.killpg(self.pid, number)
            elif self.code is None:
                self._popen.send_signal(number)

    def close(self) -> None:
        """Give back descriptors; what still runs is killed."""
        self.end_input()
        if self.code is None:
            self._popen.kill()
            self._popen.wait()
        self._exited()
        for number in list(self._open):
            self._drop(number)

    def _watch(self) -> None:
        assert self._popen.stdin and self._popen.stdout and self._popen.stderr  # noqa: PT018
        self._stdin = os.dup(self._popen.stdin.fileno())
        for number, stream in ((1, self._popen.stdout), (2, self._popen.stderr)):
            self._open[number] = os.dup(stream.fileno())
            os.set_blocking(self._open[number], False)
            self._loop.add_reader(self._open[number], self._receive, number)
        for each in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            each.close()
        os.set_blocking(self._stdin, False)
        assert self._pidfd is not None
        self._loop.add_reader(self._pidfd, self._exited)

    def _receive(self, number: int) -> None:
        try:
            data = os.read(self._open[number], CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._read(number, data)
        if not data:
            self._drop(number)

    def _send(self) -> None:
        if self._stdin is None:
            return
        try:
            sent = os.write(self._stdin, self._unsent[:CHUNK])
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._unsent.clear()
            self._loop.remove_writer(self._stdin)
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._stdin)

    def _drop(self, number: int) -> None:
        descriptor = self._open.pop(number, None)
        if descriptor is not None:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)

    def _exited(self) -> None:
        if self._pidfd is None:
            return
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = None
        self._popen.wait()
        for number in list(self._open):  # what it wrote before it ended
            while number in self._open and _is_readable(self._open[number]):
                self._receive(number)
        self.gone.set()


def _is_readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])
