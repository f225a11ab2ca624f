"""A private OpenSSH server on a free port of 127.0.0.1, with keys of its own, in a temporary folder."""

from __future__ import annotations

import getpass
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.account import tool
from tests.servers.ports import free_port

START_S = 60.0
STOP_S = 20.0


@dataclass(slots=True)
class Sshd:
    """The server, and what a client needs: `config` is for `ssh -F`, and knows the hosts 127.0.1.1 to 127.0.1.9 by the
    names n1 to n9."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.folder / "config"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        program = tool("sshd", "openssh-server")
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [program, "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while "Server listening on" not in self.log:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"sshd did not start: {self.log[-3000:]}")
            time.sleep(0.02)  # it has no event to wait for

    def stop(self) -> None:
        """The server; connections that it has stay."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(STOP_S)
            self.process = None

    def new_host_key(self) -> None:
        """Another host would have this one."""
        for name in ("host_key", "host_key.pub"):
            (self.folder / name).unlink(missing_ok=True)
        _key(self.folder / "host_key")


@contextmanager
def running_sshd() -> Iterator[Sshd]:
    """Started, and stopped at the end."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="hitless-sshd-", dir="/tmp") as path:
        server = Sshd(Path(path), free_port())
        _write(server)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _write(server: Sshd) -> None:
    folder = server.folder
    for name in ("host_key", "user_key"):
        _key(folder / name)
    (folder / "authorized_keys").write_bytes((folder / "user_key.pub").read_bytes())
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it refuses to start without, whatever it is told
    listen = "\n".join(f"ListenAddress 127.0.1.{each}" for each in range(1, 10))
    (folder / "sshd_config").write_text(
        f"Port {server.port}\n{listen}\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PermitRootLogin yes\nMaxSessions 200\nMaxStartups 500\nUseDNS no\nLogLevel INFO\n"
    )
    public = " ".join((folder / "host_key.pub").read_text().split()[:2])
    names = ",".join(f"[127.0.1.{each}]:{server.port}" for each in range(1, 10))
    (folder / "known_hosts").write_text(f"{names} {public}\n")
    aliases = "".join(f"Host n{each}\n  HostName 127.0.1.{each}\n" for each in range(1, 10))
    server.config.write_text(
        f"{aliases}Host n*\n  Port {server.port}\n  User {getpass.getuser()}\n  IdentityFile {folder}/user_key\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n"
    )


def _key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
