"""The template: a fresh interpreter that imports the application once, and is forked for every worker.

It never serves, so it never holds a connection, a thread or an event loop, and its memory is shared with all workers
copy-on-write. While a change is on probation the old template waits, idle, in `receive`: forking it brings back the old
generation, code and all, in milliseconds.

Forking is double: the child forks again and exits, so that the worker becomes the supervisor's own child (the supervisor is the
subreaper of its descendants) and its exit status is known at once.

It is started by `boot.BOOT` rather than `-m`, so that an interpreter without hitless can say so in words.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from hitless.serve import channel, loaders, memory, orphan, worker
from hitless.serve.boot import PROTOCOL
from hitless.serve.channel import ChannelClosed, Message
from hitless.serve.code import Code, Program


def main(fd: int) -> NoReturn:
    """Serves the supervisor at the other end of descriptor `fd`."""
    supervisor = os.getppid()
    orphan.die_with(supervisor)
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    sock.setblocking(True)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    with suppress(ImportError):
        import uvloop  # noqa: F401 - imported here once, so that all workers share it
    try:
        channel.send(sock, "hello", protocol=PROTOCOL, python=sys.version.split()[0], pid=os.getpid())
        config = channel.receive(sock).fields
        code = Code()
        app = _load(sock, config, code)
        if app is not None:
            _serve_supervisor(sock, Program(app, code), {**config, "supervisor": supervisor})
    except ChannelClosed:
        pass  # the supervisor has no more use for us, or is gone
    os._exit(0)


def _load(sock: socket.socket, config: dict[str, Any], code: Code) -> Any:
    """Imports the application; on failure says why and returns None."""
    began = time.monotonic()
    loaders.extend_path(config["path"])
    try:
        app, interface = loaders.load(config["app"], config["interface"])
    except loaders.LoadFailed as error:
        channel.send(
            sock,
            "failed",
            reason=error.reason,
            message=error.message[: channel.MESSAGE_CHARS],
            detail=channel.clip(error.detail),
        )
        return None
    config["http"]["interface"] = interface
    preload(interface)
    code.note(*loaders.files(config["app"]))
    threads = _threads()
    memory.give_back()  # what stays is spared by every later collection, which would write to the shared pages
    channel.send(
        sock, "loaded", interface=interface, threads=threads, seconds=round(time.monotonic() - began, 3)
    )
    return app


def preload(interface: loaders.Interface) -> None:
    """Imports what every worker will need, once, so that they share it."""
    if interface == "program":
        from hitless.live import host  # noqa: F401 - a program may import it late, and must find the worker there
        from hitless.serve import program  # noqa: F401
    elif interface == "asgi":
        from hitless.serve.http import asgi, lifespan  # noqa: F401
    else:
        from hitless.serve.http import environ, pool, wsgi  # noqa: F401


def _threads() -> list[str]:
    """Names of the threads besides this one: with any of them alive, a fork may copy a lock that nobody will release."""
    own = str(os.getpid())
    names = []
    for task in sorted(Path("/proc/self/task").iterdir()):
        if task.name != own:
            try:
                names.append(f"{(task / 'comm').read_text().strip()} ({task.name})")
            except OSError:
                continue  # it ended meanwhile
    return names


def _serve_supervisor(sock: socket.socket, program: Program, config: dict[str, Any]) -> None:
    while True:
        message = channel.receive(sock)
        if message.kind == "fork":
            _fork(sock, message, program, config)
        elif message.kind == "become":
            sock.close()
            _become(message, program, config)
        elif message.kind == "log":
            worker.reopen_log(message.fds[0])


def _fork(sock: socket.socket, message: Message, program: Program, config: dict[str, Any]) -> None:
    """Forks a worker that is the supervisor's child, and says its pid."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            between = os.getpid()
            grandchild = os.fork()
            if grandchild:
                os.write(writer, str(grandchild).encode())
                os._exit(0)
            os.close(writer)
            sock.close()
            while os.getppid() == between:
                os.sched_yield()  # until the supervisor is our parent: its death is to be ours
            orphan.die_with(config["supervisor"])
            _become(message, program, config)
        except BaseException:  # noqa: BLE001 - nothing may run on in a forked copy of the template
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writer)
    pid = os.read(reader, 32)
    os.close(reader)
    with suppress(ChildProcessError):  # where the application ignores SIGCHLD the kernel has reaped it
        os.waitpid(child, 0)
    for fd in message.fds:
        os.close(fd)
    channel.send(sock, "forked", worker=message["worker"], pid=int(pid or 0))


def _become(message: Message, program: Program, config: dict[str, Any]) -> NoReturn:
    """From here on this process is a worker."""
    worker.serve(socket.socket(fileno=message.fds[0]), program, {**config, **message["config"]})
