"""Agents as real processes on one broker, that are killed, started and told to change while a sender sends."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from kombu import Connection
from tests.agent.notifications.ground import DEADLINE_S, Place, envelope, message

REPOSITORY = Path(__file__).parents[3]
METERS = (
    'metric:\n  - {name: volume.size, event_type: "volume.*", type: gauge, unit: GB, volume: $.payload.size,'
    " resource_id: $.payload.volume_id, metadata: {host: $.publisher_id}}\n"
)
SETTLE_S = 60.0


class Crowd:
    """`agents` of them. `launcher` runs instead of `-m hitless`."""

    def __init__(
        self,
        folder: Path,
        place: Place,
        *,
        agents: int,
        shards: int,
        launcher: Sequence[str] = ("-m", "hitless"),
    ) -> None:
        self.folder = folder
        self.place = place
        self.output = folder / "samples.jsonl"
        self.shards = shards
        self.prefetch = 200
        self.launcher = launcher
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._versions = itertools.count()
        self._log = (folder / "agents.log").open("ab")
        for number in range(agents):
            self.write(number)
            self.start(number)

    def write(self, number: int) -> None:
        """The files of one agent, as they should be now: another pipeline each time."""
        home = self.folder / f"agent{number}"
        home.mkdir(exist_ok=True)
        shards = (
            f'[notifications.shards]\ncount = {self.shards}\nname = "{self.place.name}"\nrebalance = "1s"\n'
        )
        self._replace(
            home / "agent.toml",
            f'name = "agent{number}"\nfiles = ["pipeline.yaml"]\nstate_dir = "{home}/state"\n'
            f'[notifications]\nurls = ["{self.place.url}"]\nexchanges = ["{self.place.name}"]\n'
            f'topics = ["{self.place.name}.n"]\ndead_letter = "{self.place.dead}"\ndurable = true\n'
            f'meters = ["meters.yaml"]\nprefetch = {self.prefetch}\nreconnect_first = "50ms"\nreconnect_longest = "1s"\n'
            + (shards if self.shards else ""),
        )
        self._replace(home / "meters.yaml", METERS)
        version = next(self._versions)
        self._replace(
            home / "pipeline.yaml",
            f'sources:\n  - {{name: source{version}, meters: ["*"], sinks: [all]}}\n'
            f'sinks:\n  - {{name: all, batch_size: {500 + version}, publishers: ["file://{self.output}"]}}\n',
        )

    def start(self, number: int) -> None:
        home = self.folder / f"agent{number}"
        env = {
            **os.environ,
            "HITLESS_RUN_DIR": str(home / "run"),
            "PYTHONPATH": f"{REPOSITORY}/src:{REPOSITORY}",
        }
        self.processes[number] = subprocess.Popen(
            [sys.executable, *self.launcher, "agent", "run", "--unsupervised", "-c", "agent.toml"],
            cwd=home,
            env=env,
            stderr=self._log,
            stdout=self._log,
        )

    def kill(self, number: int) -> None:
        self.processes[number].send_signal(signal.SIGKILL)
        self.processes[number].wait(DEADLINE_S)

    def reload(self, number: int) -> None:
        """If it already listens to the signal: one that has just been started has read these files anyway."""
        self.write(number)
        if self._answers(number):
            self.processes[number].send_signal(signal.SIGHUP)

    def _answers(self, number: int) -> bool:
        """Its socket is opened after it has begun to listen to signals; that of one that was killed is left behind."""
        for path in (self.folder / f"agent{number}" / "run").glob("**/*"):
            if path.is_socket():
                with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(path))
                    return True
        return False

    def stop(self) -> list[int]:
        """Exit codes.

        One that was just started again is waited for: until it listens to signals, SIGTERM ends it like any program.
        """
        self.waits_for(lambda: all(self._answers(number) for number in self.processes))
        for process in self.processes.values():
            process.terminate()
        codes = [process.wait(DEADLINE_S) for process in self.processes.values()]
        self._log.close()
        return codes

    def end(self) -> None:
        """Whatever happened."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()

    def waits_for(self, holds: Callable[[], bool]) -> None:
        """Look until it holds: files tell nobody."""
        deadline = time.monotonic() + SETTLE_S
        while not holds():
            assert time.monotonic() < deadline, self.log()[-3000:]
            time.sleep(0.02)

    def log(self) -> str:
        return (self.folder / "agents.log").read_text(errors="replace")

    def _replace(self, path: Path, text: str) -> None:
        new = path.with_name(f".{path.name}")
        new.write_text(text)
        new.chmod(0o644)
        new.replace(path)


class Sender(threading.Thread):
    """Sends `count` numbers over `resources`, at most `rate` a second; the broker confirms each."""

    def __init__(self, place: Place, count: int, *, resources: int, rate: float) -> None:
        super().__init__(daemon=True)
        self.place, self.count, self.resources, self.rate = place, count, resources, rate
        self.sent = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self._send()
        except BaseException as error:
            self.failure = error
            raise

    def _send(self) -> None:
        began = time.monotonic()
        with Connection(self.place.url) as connection:
            channel = connection.channel()
            name, queue = self.place.name, self.place.queue
            channel.exchange_declare(exchange=name, type="topic", durable=True, auto_delete=False)
            channel.queue_declare(queue=queue, durable=True, auto_delete=False)
            channel.queue_bind(queue=queue, exchange=name, routing_key=queue)
            for number in range(self.count):
                body = json.dumps(envelope(message(number, f"v{number % self.resources}")))
                made = channel.prepare_message(
                    body,
                    content_type="application/json",
                    content_encoding="utf-8",
                    properties={"delivery_mode": 2},
                )
                channel.basic_publish(made, exchange=name, routing_key=queue)
                self.sent = number + 1
                ahead = self.sent / self.rate - (time.monotonic() - began)
                if ahead > 0.01:
                    time.sleep(ahead)  # the rate is what is wanted
