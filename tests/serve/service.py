"""A real `hitless serve` in a temporary folder, for tests: started, told, watched, and always ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

READY_S = 30.0

ASGI_APP = """
import os
VERSION = {version!r}

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({{"type": message["type"] + ".complete"}})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = f"{{VERSION}} {{os.getpid()}} {{len(body)}}".encode()
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(answer)).encode())]}})
    await send({{"type": "http.response.body", "body": answer}})
"""

WSGI_APP = """
import os
VERSION = {version!r}

def app(environ, start_response):
    body = environ["wsgi.input"].read()
    answer = f"{{VERSION}} {{os.getpid()}} {{len(body)}}".encode()
    start_response("200 OK", [("content-length", str(len(answer)))])
    return [answer]
"""


def write_app(folder: Path, version: str = "v1", *, wsgi: bool = False, prefix: str = "") -> None:
    """The smallest application that says which code and which process answered."""
    text = (WSGI_APP if wsgi else ASGI_APP).format(version=version)
    (folder / "app.py").write_text(textwrap.dedent(prefix) + text)


@dataclass
class Result:
    """What a command of `hitless` said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def reason(self) -> str | None:
        return self.json["outcome"]["reason"]


@dataclass
class Service:
    """`folder` holds app.py, hitless.toml, the control socket, the journal and the log."""

    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    _notify: socket.socket | None = None

    @property
    def config(self) -> Path:
        return self.folder / "hitless.toml"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def environ(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("HITLESS_")}
        return {**clean, "HITLESS_RUN_DIR": str(self.folder / "run")}

    def configure(self, **changes: Any) -> None:
        """Writes hitless.toml; `changes` are dotted keys written with double underscores."""
        self.settings.update({key.replace("__", "."): value for key, value in changes.items()})
        lines = [f"{key} = {_toml(value)}" for key, value in self.settings.items() if value is not None]
        draft = self.config.with_suffix(".new")
        draft.write_text("\n".join(lines) + "\n")
        draft.chmod(0o644)
        draft.rename(self.config)

    def start(self, *, expect: int | None = None, preexec: Callable[[], None] | None = None) -> Service:
        """Starts it and waits for its READY=1; with `expect`, waits for it to exit with that code instead."""
        path = str(self.folder / "notify")
        with suppress(FileNotFoundError):
            os.unlink(path)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(path)
        self._notify.settimeout(READY_S)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hitless", "serve", "-c", str(self.config)],
                cwd=self.folder,
                env={**self.environ, "NOTIFY_SOCKET": path},
                stdout=log,
                stderr=log,
                preexec_fn=preexec,
                start_new_session=True,
            )
        if expect is not None:
            assert self.process.wait(READY_S) == expect, self.log
            return self
        self.await_notify("READY=1")
        return self

    def await_notify(self, line: str, timeout_s: float = READY_S) -> None:
        """Waits until the service has told the service manager `line`."""
        assert self._notify is not None
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self._notify.settimeout(0.2)
            try:
                if line in self._notify.recv(65536).decode().splitlines():
                    return
            except TimeoutError:
                assert self.process is not None
                assert self.process.poll() is None, f"the service exited: {self.log}"
        raise AssertionError(f"no {line} within {timeout_s} s: {self.log}")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def name(self) -> str:
        return str(self.settings.get("name", "hitless"))

    def command(self, *arguments: str, timeout_s: float = 60.0) -> Result:
        """`hitless ARGUMENTS`."""
        done = subprocess.run(
            [sys.executable, "-m", "hitless", *arguments],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def reload(self, *arguments: str) -> Result:
        return self.command("reload", self.name, "--json", *arguments)

    def status(self) -> Any:
        result = self.command("status", self.name, "--json")
        assert result.code == 0, result.err
        return result.json

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, as it says itself (the configuration asks for port 0)."""
        host, _, port = self.status()["addresses"][0].rpartition(":")
        return host.strip("[]"), int(port)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = 60.0) -> int:
        assert self.process is not None
        return self.process.wait(timeout_s)

    def await_log(self, text: str, timeout_s: float = 20.0) -> None:
        """Waits until the log has `text`; looks when the file grows."""
        wait_for(lambda: text in self.log, timeout_s, what=f"{text!r} in the log", else_say=lambda: self.log)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        if self._notify is not None:
            self._notify.close()


def wait_for(
    is_so: Callable[[], bool], timeout_s: float, *, what: str, else_say: Callable[[], object] = lambda: ""
) -> None:
    """Waits for a condition of another process that has no event of its own, with a deadline."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}\n{else_say()}")
        time.sleep(0.01)


@contextmanager
def running(folder: Path, *, preexec: Callable[[], None] | None = None, **settings: Any) -> Iterator[Service]:
    """A started service; ended afterwards, whatever happened."""
    service = Service(folder)
    service.configure(
        **{"app": "app:app", "bind": ["127.0.0.1:0"], "state_dir": str(folder / "state"), **settings}
    )
    try:
        yield service.start(preexec=preexec)
    finally:
        service.end()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value)
