"""The supervisor's view of a template process: starting it, and asking it for workers."""

from __future__ import annotations

import asyncio
import errno
import grp
import os
import pwd
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hitless.change import Deadline, DeadlinePassed, Refused, is_out_of_descriptors
from hitless.serve import channel, faults
from hitless.serve.boot import BOOT, PROTOCOL
from hitless.serve.channel import AsyncChannel, Message
from hitless.serve.reaper import Exit, Reaper
from hitless.serve.settings import ServeSettings

IMPORT_NICENESS: Final = 5
"""Priority of a template while it imports, where the priority can be restored: requests go first."""
CAP_SYS_NICE: Final = 23

_NOT_INHERITED: Final = (
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
)


@dataclass(frozen=True, slots=True)
class Launch:
    """How a template's process is started: a pure value, checked before anything runs.

    Raises (from `of`):
        Refused: the user, the group, the directory or the interpreter cannot be had.
    """

    python: str
    directory: str
    env: dict[str, str]
    user: int | None
    group: int | None
    groups: tuple[int, ...]
    umask: int

    @classmethod
    def of(cls, settings: ServeSettings) -> Launch:
        directory = Path(settings.directory or ".").absolute()
        if not directory.is_dir():
            raise Refused("directory_missing", f"directory = {str(directory)!r} is not a directory")
        python = settings.python or sys.executable
        if not Path(directory, python).is_file():
            raise Refused("interpreter_missing", f"python = {python!r} does not exist")
        if not os.access(Path(directory, python), os.X_OK):
            raise Refused("interpreter_unusable", f"python = {python!r} is not executable")
        user, group, groups = _identity(settings.user, settings.group)
        for name, value in settings.env.items():
            if not name or "=" in name or "\0" in name + value:
                raise Refused(
                    "environment_invalid",
                    f"env: {name!r} cannot be an environment variable; a name has no =, and neither has a NUL",
                    invalid=True,
                )
        env = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        return cls(
            python=python,
            directory=str(directory),
            env={**env, **settings.env},
            user=user,
            group=group,
            groups=groups,
            umask=-1 if settings.umask is None else settings.umask,
        )


def _identity(user: str | None, group: str | None) -> tuple[int | None, int | None, tuple[int, ...]]:
    try:
        entry = None if user is None else pwd.getpwnam(user)
    except KeyError:
        raise Refused("user_missing", f"user = {user!r}: this machine has no such user") from None
    try:
        gid = (
            entry.pw_gid if entry and group is None else None if group is None else grp.getgrnam(group).gr_gid
        )
    except KeyError:
        raise Refused("group_missing", f"group = {group!r}: this machine has no such group") from None
    uid = entry.pw_uid if entry else None
    if os.geteuid() != 0:
        if uid not in (None, os.geteuid()) or gid not in (None, os.getegid()):
            raise Refused("user_not_permitted", "only root can run workers as another user or group")
        return None, None, ()
    groups = tuple(os.getgrouplist(user, gid)) if user is not None and gid is not None else ()
    return uid, gid, groups


def _capabilities() -> int:
    """Those in effect, one bit each (capabilities(7))."""
    status = Path("/proc/self/status").read_text()
    return next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)


def can_restore_priority() -> bool:
    """Whether a process that was made less urgent can be made urgent again: CAP_SYS_NICE, which root has not
    got in a container, or RLIMIT_NICE ≥ 20 (LimitNICE=0)."""
    return bool(_capabilities() >> CAP_SYS_NICE & 1) or resource.getrlimit(resource.RLIMIT_NICE)[0] >= 20


class TemplateProcess:
    """One template: alive from `start` until `close` or its death, which `on_exit` is told."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        reaper: Reaper,
        *,
        on_exit: Callable[[TemplateProcess, Exit], None],
    ) -> None:
        self._loop: Final = loop
        self._reaper: Final = reaper
        self._on_exit: Final = on_exit
        self._channel: AsyncChannel | None = None
        self._hello: asyncio.Future[Message] = loop.create_future()
        self._loaded: asyncio.Future[Message] = loop.create_future()
        self._forked: dict[int, asyncio.Future[int]] = {}
        self._refusal: Message | None = None
        self.pid = 0
        self.exit: Exit | None = None
        self.interface = ""
        self.threads: list[str] = []
        self.import_s = 0.0
        self.became_worker = False
        self._is_killed = False
        self._python = ""

    @property
    def is_alive(self) -> bool:
        is_there = self.pid != 0 and self.exit is None and not self._is_killed
        return is_there and self._channel is not None and self._channel.is_open

    @property
    def can_fork(self) -> bool:
        """A fork copies the one thread that forks: with others alive it may copy a lock that is never released."""
        return not self.threads

    async def start(
        self, launch: Launch, config: dict[str, Any], *, log_fd: int | None, deadline: Deadline
    ) -> None:
        """Starts the process and waits until the application is imported.

        Raises:
            Refused: it could not; the process is gone.
            DeadlinePassed: it did not within the deadline; the process is gone.
        """
        self._python = launch.python
        try:
            self._spawn(launch, log_fd)
            faults.reach("template.spawned")
            hello = await deadline.wait(self._hello, "the template did not start")
            if hello["protocol"] != PROTOCOL:
                raise Refused(
                    "interpreter_other_hitless",
                    f"the hitless installed for {launch.python} speaks protocol {hello['protocol']}, this one {PROTOCOL};"
                    " install the same version in both environments",
                )
            assert self._channel is not None
            self._channel.send("load", **config)
            loaded = await deadline.wait(self._loaded, "the application was not imported")
        except BaseException:
            self.kill()
            raise
        self.interface = loaded["interface"]
        self.threads = loaded["threads"]
        self.import_s = loaded["seconds"]
        self._renice(0)

    def _spawn(self, launch: Launch, log_fd: int | None) -> None:
        ours, theirs = channel.pair()
        with theirs:
            try:
                process = subprocess.Popen(
                    [launch.python, "-P", "-c", BOOT, str(theirs.fileno())],
                    cwd=launch.directory,
                    env=launch.env,
                    user=launch.user,
                    group=launch.group,
                    extra_groups=launch.groups or None,
                    umask=launch.umask,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=log_fd,
                    stderr=log_fd,
                    start_new_session=True,
                )
            except BaseException as error:
                ours.close()
                raise _not_run(launch, error) from error
        self.pid = process.pid
        process.returncode = 0  # the reaper waits for it, not this object
        self._channel = AsyncChannel(self._loop, ours, on_message=self._told, on_closed=self._closed)
        self._renice(IMPORT_NICENESS)
        self._reaper.watch(self.pid, self._exited)

    def freeze(self) -> dict[str, Any] | None:
        """What the supervisor that replaces this one must know; None if it is of no more use."""
        if not self.is_alive or self.became_worker or self._channel is None:
            return None
        return {
            "pid": self.pid,
            "python": self._python,
            "interface": self.interface,
            "threads": self.threads,
            "import_s": self.import_s,
            "channel": self._channel.fd,
            "is_quiet": self._channel.is_quiet,
        }

    def thaw(self, frozen: Mapping[str, Any]) -> None:
        """Goes on where `freeze` left off, in another program of the same process."""
        self.pid, self._python = frozen["pid"], frozen["python"]
        self.interface, self.threads, self.import_s = (
            frozen["interface"],
            frozen["threads"],
            frozen["import_s"],
        )
        sock = socket.socket(fileno=frozen["channel"])
        self._channel = AsyncChannel(self._loop, sock, on_message=self._told, on_closed=self._closed)
        self._reaper.watch(self.pid, self._exited)

    async def fork(self, worker: int, end: socket.socket, config: dict[str, Any], deadline: Deadline) -> int:
        """A new worker at the other end of `end`; returns its pid.

        Raises:
            Refused: the template died, or could not fork.
            DeadlinePassed: it did not answer; a template that hangs is of no more use and is killed.
        """
        assert self._channel is not None
        future: asyncio.Future[int] = self._loop.create_future()
        self._forked[worker] = future
        self._channel.send("fork", [end.fileno()], keep=[end], worker=worker, config=config)
        try:
            if not self.is_alive:
                raise Refused("template_died", f"the template {self.exit or 'died'}")
            pid = await deadline.wait(future, "the template did not fork a worker")
        except DeadlinePassed:
            self.kill()
            raise
        finally:
            self._forked.pop(worker, None)
        if not pid:
            raise Refused("fork_failed", "the template could not fork a worker; its log says why")
        return pid

    def become(self, end: socket.socket, config: dict[str, Any]) -> int:
        """Turns the template itself into a worker; it is no template any more."""
        assert self._channel is not None
        self.became_worker = True
        self._channel.send("become", [end.fileno()], keep=[end], config=config)
        return self.pid

    def reopen_log(self, fd: int) -> None:
        if self._channel is not None and self.is_alive and not self.became_worker:
            self._channel.send("log", [fd])

    def close(self) -> None:
        """Lets the template go: it exits at the end of file."""
        if self._channel is not None:
            self._channel.close()

    def kill(self) -> None:
        """Ends it at once. Its channel stays open until it is dead: it may still tell of a worker that it has forked."""
        self._is_killed = True
        if self.pid and self.exit is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        else:
            self.close()

    def _renice(self, niceness: int) -> None:
        if can_restore_priority():
            with suppress(ProcessLookupError, FileNotFoundError):
                for task in Path(f"/proc/{self.pid}/task").iterdir():
                    os.setpriority(os.PRIO_PROCESS, int(task.name), niceness)

    def _told(self, message: Message) -> None:
        match message.kind:
            case "hello":
                _settle(self._hello, message)
            case "loaded":
                _settle(self._loaded, message)
            case "failed":
                self._refusal = message
                self._fail(Refused(message["reason"], message["message"], message.fields.get("detail", "")))
            case "forked":
                future = self._forked.get(message["worker"])
                if future is not None and not future.done():
                    future.set_result(message["pid"])
                elif message["pid"]:
                    with suppress(ProcessLookupError):
                        os.kill(message["pid"], signal.SIGKILL)  # nobody waits for this worker any more

    def _closed(self) -> None:
        """Nothing more will come. The exit status, which follows, says why."""

    def _exited(self, ended: Exit) -> None:
        self.exit = ended
        if self._channel is not None and self._channel.is_open:
            self._channel.read_rest()  # its last words may still be queued
        self.close()
        self._report_death()
        self._on_exit(self, ended)

    def _report_death(self) -> None:
        how = str(self.exit)
        if not self._hello.done():
            self._fail(
                Refused(
                    "interpreter_unusable",
                    f"python = {self._python!r} {how} before it imported anything; is it a Python with hitless?",
                )
            )
        self._fail(Refused("template_died", f"the process that imports the application {how}"))
        for future in self._forked.values():
            if not future.done():
                future.set_exception(Refused("template_died", f"the template {how}"))

    def _fail(self, refusal: Refused) -> None:
        for future in (self._hello, self._loaded):
            if not future.done():
                future.set_exception(refusal)
                future.exception()  # retrieved: the one who waits sees it all the same


def _settle(future: asyncio.Future[Message], message: Message) -> None:
    if not future.done():  # whoever waited may have given up
        future.set_result(message)


def _not_run(launch: Launch, error: BaseException) -> BaseException:
    """What it means that the interpreter could not be started."""
    what = f"cannot run {launch.python}"
    if isinstance(error, subprocess.SubprocessError):
        return Refused("user_not_permitted", f"{what}: {error}")
    if not isinstance(error, OSError) or is_out_of_descriptors(error):
        return error
    if error.errno in (errno.EAGAIN, errno.ENOMEM):
        return Refused(
            "processes_exhausted",
            f"{what}: {error.strerror}; there are too many processes or too little memory",
        )
    if isinstance(error, PermissionError) and (launch.user, launch.group) != (None, None):
        return Refused(
            "user_not_permitted", f"{what} as uid {launch.user}, gid {launch.group}: {error.strerror}"
        )
    return Refused("interpreter_unusable", f"{what}: {error.strerror}")
