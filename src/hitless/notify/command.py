"""Notices as JSON on the standard input of a command, one run for each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import IO, Final

from hitless.notify.notice import Notice
from hitless.notify.sink import ONCE, Retries, SinkFailed

SAID_LIMIT: Final = 400
"""Bytes of what the command says on stderr that are passed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSink:
    """Runs `command` without a shell. One that has not ended after `timeout_s` is killed, and whatever it started with it."""

    command: Sequence[str]
    timeout_s: float = 10.0
    retries: Retries = ONCE
    code_of: Callable[[subprocess.Popen[bytes], float], int] = field(
        default=lambda process, timeout_s: process.wait(timeout_s), repr=False
    )
    """Waits for its end; raises subprocess.TimeoutExpired. For programs in which somebody else reaps all children."""
    _running: set[subprocess.Popen[bytes]] = field(default_factory=set, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.command, str) or not self.command:
            raise ValueError('expected a command and its arguments as a list: ["pager", "--urgent"]')

    @property
    def name(self) -> str:
        return f"command {self.command[0]}"

    def send(self, notice: Notice) -> None:
        # Files, not pipes: they take everything at once, and nobody who keeps one open is waited for.
        with TemporaryFile() as asked, TemporaryFile() as said:
            asked.write(json.dumps(notice.to_json(), ensure_ascii=False).encode() + b"\n")
            asked.seek(0)
            code = self._run(asked, said)
            if code != 0:
                said.seek(0)
                text = said.read(SAID_LIMIT).decode("utf-8", "replace").strip()
                raise SinkFailed(f"ended with code {code}: {text or 'it said nothing'}")

    def _run(self, asked: IO[bytes], said: IO[bytes]) -> int:
        try:
            process = self._started(asked, said)
        except (OSError, ValueError) as error:
            raise SinkFailed(f"cannot be run: {error}", is_final=True) from None
        self._running.add(process)
        try:
            return self.code_of(process, self.timeout_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.wait()
            raise SinkFailed(f"did not end within {self.timeout_s:g} s, and was killed") from None
        finally:
            self._running.discard(process)

    def interrupt(self) -> None:
        """Kill the command that runs, and whatever it started: nobody is left to wait for it."""
        for process in tuple(self._running):
            _kill(process)

    def _started(self, asked: IO[bytes], said: IO[bytes]) -> subprocess.Popen[bytes]:
        # This thread has signals blocked (see Outbox), and a command inherits that: its own timers would not wake it.
        before = signal.pthread_sigmask(signal.SIG_SETMASK, ())
        try:
            return subprocess.Popen(
                self.command, stdin=asked, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
