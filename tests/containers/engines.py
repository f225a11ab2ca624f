"""Private container engines in temporary folders: nothing of the machine's own is used or touched."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from hitless.containers.frames import demultiplexed

READY_S = 60.0
END_S = 60.0
CLI_S = 120.0
Kind = Literal["docker", "podman"]
KINDS: tuple[Kind, ...] = ("docker", "podman")
APPLETS = ("sh", "sleep", "cat", "echo", "kill", "touch", "true", "head", "tail", "ls", "rm", "wc")
ONE_BY_DEFAULT = ("docker", pytest.param("podman", marks=pytest.mark.soak))
"""For what is the same on both engines once the behaviours are: Podman's turn comes with the long runs."""
NEEDS = {"docker": ("dockerd", "docker"), "podman": ("podman", "runc")}


class Unavailable(Exception):
    """This machine cannot run the engine; the message says what is missing."""


def missing(kind: Kind) -> str | None:
    """What this machine lacks for the engine, if anything."""
    if os.geteuid() != 0:
        return f"a private {kind} needs root"
    lacks = [name for name in (*NEEDS[kind], "busybox") if shutil.which(name) is None]
    return f"{', '.join(lacks)} not installed; run: sh requirements/system.sh" if lacks else None


@dataclass
class PrivateEngine:
    """One engine, its socket and its command line."""

    kind: Kind
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    options: tuple[str, ...] = ()
    namespace: str = ""
    """Name of the network namespace in which it has networks of its own; empty for none at all."""

    @property
    def socket(self) -> Path:
        return self.folder / "e.sock"

    @property
    def address(self) -> str:
        return f"unix://{self.socket}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def command(self, *words: str) -> list[str]:
        """The engine's own command line."""
        if self.kind == "docker":
            return ["docker", "-H", self.address, *words]
        return [*self.within(), *self._podman(), *words]

    def within(self) -> list[str]:
        """What runs a command in its network namespace. Not `ip netns exec`, which hides the cgroups."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}"] if self.namespace else []

    def cli(self, *words: str, check: bool = True, stdin: bytes | None = None) -> str:
        """What the engine's command line says."""
        done = subprocess.run(
            self.command(*words),
            capture_output=True,
            input=stdin,
            timeout=CLI_S,
            check=False,
            cwd=self.folder,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode(errors="replace").strip()

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            self.socket.unlink()
        with (self.folder / "log").open("ab") as log:
            # In its own folder: conmon leaves a file named "oom" where it was started.
            self.process = subprocess.Popen(
                self._daemon(), stdout=log, stderr=log, start_new_session=True, cwd=self.folder
            )
        self._await_answer()

    def _daemon(self) -> list[str]:
        if self.kind == "podman":
            return [*self.within(), *self._podman(), "system", "service", "--time=0", self.address]
        folder = self.folder
        bridge = (
            ("--bip=10.213.0.1/24", "--default-address-pool=base=10.214.0.0/16,size=24")
            if self.namespace
            else ("--bridge=none", "--iptables=false")
        )
        return [
            *self.within(),
            "dockerd", "--data-root", f"{folder}/d", "--exec-root", f"{folder}/x", "-H", self.address,
            "--pidfile", f"{folder}/pid", *bridge, "--storage-driver=vfs", "--shutdown-timeout=1", *self.options,
        ]  # fmt: skip

    def _podman(self) -> list[str]:
        folder = self.folder
        return [
            "podman", "--root", f"{folder}/d", "--runroot", f"{folder}/x", "--tmpdir", f"{folder}/t",
            "--runtime", "runc", "--storage-driver=vfs", "--cgroup-manager=cgroupfs",
            "--events-backend=file", "--conmon", "/usr/bin/conmon", "--network-config-dir", f"{folder}/nets",
        ]  # fmt: skip

    def _await_answer(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                break
            with suppress(httpx.HTTPError):
                if self.get("/version").status_code == 200:
                    return
            time.sleep(0.05)  # there is no readiness event: neither daemon tells anyone but systemd
        raise Unavailable(f"{self.kind} does not start here: {self.log[-1500:]}")

    def end(self) -> None:
        """End the daemon, not the containers: Docker needs --live-restore for that."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM if self.kind == "docker" else signal.SIGKILL)
        self.process.wait(END_S)

    def stop(self) -> None:
        """Remove what is left, and end the daemon."""
        process = self.process
        if process is None:
            return
        with suppress(subprocess.TimeoutExpired, AssertionError):
            if ids := self.cli("ps", "-aq", check=False).split():
                self.cli("rm", "-f", *ids, check=False)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid in self._left_over():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _left_over(self) -> list[int]:
        """What a daemon that broke off has left: processes that were started with our folder's name, then theirs. In this
        order, because who watches over a container would start it again."""
        mark, found, children = f"{self.folder}/".encode(), [], []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
                    children += (entry / f"task/{entry.name}/children").read_text().split()
        return [*found, *(int(child) for child in children)]

    def load(self, name: str, tree: bytes, *changes: str) -> None:
        """Import a tar as an image; `changes` are Dockerfile lines."""
        words = [word for change in changes for word in ("--change", change)]
        self.cli("import", *words, "-", name, stdin=tree)

    def run(
        self,
        name: str,
        *command: str,
        image: str = "busybox",
        options: Sequence[str] = (),
        detach: bool = True,
    ) -> str:
        """Start a container without a network of its own; returns its id."""
        # Podman would raise them above what a machine allows.
        limits = (
            "--ulimit",
            "nofile=1024:1024",
            *(("--ulimit", "nproc=1024:1024") if self.kind == "podman" else ()),
        )
        default = ("--network", "none") if not any("--net" in option for option in options) else ()
        # The short path of conmon's attach socket, and no log driver that needs a daemon.
        log = ("--log-driver", "json-file") if self.kind == "docker" else ("--log-driver", "k8s-file")
        words = ["run" if detach else "create", *(["-d"] if detach else []), "--name", name]
        return self.cli(*words, *default, *limits, *log, *options, image, *command).splitlines()[-1]

    def get(self, path: str, **query: str) -> httpx.Response:
        """A question to the API: the command lines are slow to start, and tests ask often."""
        transport = httpx.HTTPTransport(uds=str(self.socket))
        with httpx.Client(transport=transport, base_url="http://engine/v1.40", timeout=CLI_S) as client:
            return client.get(path, params=query)

    def inspect(self, name: str) -> Any:
        answer = self.get(f"/containers/{name}/json")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def state(self, name: str) -> str:
        return str(self.inspect(name)["State"]["Status"])

    def exists(self, name: str) -> bool:
        return self.get(f"/containers/{name}/json").status_code == 200

    def remove(self, *names: str) -> None:
        self.cli("rm", "-f", *(("--ignore",) if self.kind == "podman" else ()), *names, check=False)

    def logs(self, name: str) -> str:
        answer = self.get(f"/containers/{name}/logs", stdout="true", stderr="true")
        return demultiplexed(answer.content).decode(errors="replace")

    def await_log(self, name: str, text: str, timeout_s: float = 30.0) -> None:
        """Wait until the container has written it: its own sign that it is ready."""
        await_true(lambda: text in self.logs(name), timeout_s, what=f"{text!r} in the log of {name}")


def await_true(question: Callable[[], bool], timeout_s: float = 30.0, *, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not question():
        assert time.monotonic() < deadline, f"no {what} within {timeout_s:g} s"
        time.sleep(0.1)


@contextmanager
def bridged(kind: Kind) -> Iterator[PrivateEngine]:
    """The same with bridges and published ports, all of them in a network namespace of its own."""
    name = f"hc{os.getpid()}-{kind}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=CLI_S)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True, timeout=CLI_S)
        with private(kind, namespace=name) as engine:
            yield engine
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True, timeout=CLI_S)


@contextmanager
def private(kind: Kind, *options: str, namespace: str = "") -> Iterator[PrivateEngine]:
    """A fresh engine with the image `busybox`; everything of it is gone on leaving."""
    # Short, because the paths of Unix sockets are.
    folder = Path(tempfile.mkdtemp(prefix="hc-", dir="/tmp"))
    engine = PrivateEngine(kind, folder, options=options, namespace=namespace)
    try:
        engine.start()
        engine.load("busybox", busybox_tree())
        yield engine
    finally:
        engine.stop()
        unmount(folder)
        shutil.rmtree(folder, ignore_errors=True)


def unmount(folder: Path) -> None:
    """What a container that was killed with its engine has left mounted."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((each for each in mounts if each.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "-l", mount], check=False, capture_output=True)


def busybox_tree() -> bytes:
    """The smallest image with a shell."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for directory in ("bin", "tmp", "proc", "sys", "dev", "etc", "data"):
            info = tarfile.TarInfo(directory)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        tar.add(str(shutil.which("busybox")), "bin/busybox")
        for name in (
            "sh",
            "sleep",
            "cat",
            "echo",
            "kill",
            "touch",
            "test",
            "true",
            "false",
            "trap",
            "head",
            "tail",
            "wc",
            "ls",
            "dd",
        ):
            info = tarfile.TarInfo(f"bin/{name}")
            info.type, info.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(info)
    return file.getvalue()
