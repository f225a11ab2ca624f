"""A private etcd: started on free ports, killed and started again on the same data."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serve.certificates import trusting
from tests.servers.ports import free_port

from hitless.config.etcd import EtcdError, Gateway
from hitless.config.posting import post

START_S = 60.0


class Etcd:
    """With `certificate` and its key over TLS, for clients that show the same certificate."""

    def __init__(self, folder: Path, certificate: tuple[Path, Path] | None = None) -> None:
        self._folder = folder
        self._certificate = certificate
        self._client, self._peer = free_port(), free_port()
        self.tls: ssl.SSLContext | None = None
        if certificate is None:
            self.endpoint = self._listens = f"http://127.0.0.1:{self._client}"
        else:
            self.endpoint, self._listens = (
                f"https://localhost:{self._client}",
                f"https://127.0.0.1:{self._client}",
            )
            self.tls = trusting(certificate[0])
            self.tls.load_cert_chain(*certificate)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        peer = f"http://127.0.0.1:{self._peer}"
        command = ["etcd", "--name", "one", "--data-dir", str(self._folder / "data"), "--log-level", "error"]
        # One member need not wait long to elect itself.
        command += ["--heartbeat-interval", "20", "--election-timeout", "200"]
        command += ["--listen-client-urls", self._listens, "--advertise-client-urls", self.endpoint]
        command += [
            "--listen-peer-urls",
            peer,
            "--initial-advertise-peer-urls",
            peer,
            "--initial-cluster",
            f"one={peer}",
        ]
        if self._certificate is not None:
            certificate, key = map(str, self._certificate)
            command += ["--cert-file", certificate, "--key-file", key]
            command += ["--client-cert-auth", "--trusted-ca-file", certificate]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self._wait()

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while True:
            assert self._process.poll() is None, (self._folder / "log").read_text()
            try:
                Gateway([self.endpoint], 5.0, self.tls).read("/ready/")
            except EtcdError:
                assert time.monotonic() < deadline, (self._folder / "log").read_text()
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def freeze(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        deadline = time.monotonic() + START_S
        while not self._is_frozen(self._process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def _is_frozen(self, pid: int) -> bool:
        """Whether each thread of it has stopped: the signal reaches them one after the other."""
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def recover(self) -> None:
        """As it was at first, but for its revision."""
        if self._process is None:
            self.start()
        self.thaw()
        self.ask("/v3/kv/deleterange", {"key": _encoded("/"), "range_end": _encoded("0")})

    @property
    def revision(self) -> int:
        return Gateway([self.endpoint], START_S).read("/none/").revision

    def put(self, **documents: str) -> int:
        """All of them in one transaction; a key is its name with `_` for `/` and `.`: `volumes_a_toml`. Returns the revision."""
        return self.transact({_key(name): text for name, text in documents.items()})

    def transact(self, documents: dict[str, str]) -> int:
        puts = [
            {"request_put": {"key": _encoded(key), "value": _encoded(text)}}
            for key, text in documents.items()
        ]
        return self._revision(self.ask("/v3/kv/txn", {"success": puts}))

    def delete(self, key: str) -> int:
        return self._revision(self.ask("/v3/kv/deleterange", {"key": _encoded(key)}))

    def compact(self, revision: int) -> None:
        self.ask("/v3/kv/compaction", {"revision": str(revision), "physical": True})

    def ask(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = post(
            self.endpoint + path, json.dumps(request).encode(), headers={}, timeout_s=30.0, tls=self.tls
        )
        assert answer.status == 200, answer.body
        found: dict[str, Any] = json.loads(answer.body)
        return found

    def _revision(self, answer: dict[str, Any]) -> int:
        return int(answer["header"]["revision"])


def _key(name: str) -> str:
    *above, suffix = name.split("_")
    return "/" + "/".join(above) + f".{suffix}"


def _encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.fixture(scope="session")
def etcd_server() -> Iterator[Etcd]:
    if shutil.which("etcd") is None:
        pytest.fail("etcd is missing; run: apt-get install etcd-server")
    with tempfile.TemporaryDirectory(prefix="hitless-etcd-") as folder:
        server = Etcd(Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture
def etcd(etcd_server: Etcd) -> Iterator[Etcd]:
    """Running and empty; a test may freeze or kill it."""
    yield etcd_server
    etcd_server.recover()
