"""uvicorn and gunicorn as they are, on loopback, with the recording application."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serve.hostile.encounter import Address
from serve.service import wait_for

RECORDER = Path(__file__).with_name("recorder.py")


def place_recorder(folder: Path) -> Path:
    """Puts the recording application into `folder` as app.py; returns the record's path."""
    folder.mkdir()
    (folder / "app.py").write_text(RECORDER.read_text())
    return folder / "record"


@contextmanager
def peer(folder: Path, *arguments: str) -> Iterator[Address]:
    """`python -m ARGUMENTS` serving app.py on an inherited socket; `{fd}` in the arguments is its number."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(1024)
        process = subprocess.Popen(
            [sys.executable, "-m", *(argument.format(fd=sock.fileno()) for argument in arguments)],
            cwd=folder,
            env={**os.environ, "RECORD": str(folder / "record")},
            pass_fds=[sock.fileno()],
            stdout=(folder / "log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        address: Address = sock.getsockname()
    try:
        wait_for(lambda: _answers(address), 30, what=f"{arguments[0]} answers")
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def _answers(address: Address) -> bool:
    with socket.create_connection(address, timeout=30) as sock:
        sock.sendall(b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return sock.recv(100).startswith(b"HTTP/1.1 200")


def uvicorn(folder: Path) -> tuple[str, ...]:
    return ("uvicorn", "app:asgi", "--fd={fd}", "--http=httptools", "--ws=wsproto", "--no-access-log")


def gunicorn(folder: Path) -> tuple[str, ...]:
    control = f"--worker-tmp-dir={folder}"
    return ("gunicorn", "app:wsgi", "--bind=fd://{fd}", "--worker-class=gthread", "--threads=100", control)
