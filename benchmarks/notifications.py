"""Messages a second from RabbitMQ to files: taken, made into one sample and one event each, written, acknowledged.

All messages are in the queue before the agent starts. Measured from when a tenth of them has been written to the last, by
the lines of both files; CPU time and memory are of the agent's processes, its start included. Beside it Ceilometer's own
notification agent does the same work with its own file publisher: the same definitions, topic and exchange, as it is
shipped (batches of one) and with batches as large as Hitless's. Ceilometer acknowledges a message whose publisher has failed;
Hitless does not.

Ceilometer is looked for beside `--peer-python`: `python -m venv V && V/bin/pip install ceilometer==27.0.0`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from kombu import Connection
from tests.servers.rabbitmq import RabbitMQ, running_rabbitmq

from benchmarks.options import Options
from benchmarks.results import Results, Row

NAME = "notifications"
MESSAGES = 20_000
ROUNDS = 3
RESOURCES = 500
PATIENCE_S = 300.0
LOOK_S = 0.02
BATCH = 100
PREFETCH = 200

METERS = """metric:
  - name: volume.size
    event_type: "volume.*"
    type: gauge
    unit: GiB
    volume: $.payload.size
    resource_id: $.payload.volume_id
    project_id: $.payload.tenant_id
    metadata: {display_name: $.payload.display_name, host: $.payload.host, status: $.payload.status}
"""
EVENTS = """- event_type: "volume.*"
  traits:
    resource_id: {fields: payload.volume_id}
    size: {type: int, fields: payload.size}
    status: {fields: payload.status}
    host: {fields: "publisher_id.`split(., 1, 1)`"}
    created_at: {type: datetime, fields: payload.created_at}
"""
HITLESS = """name = "bench"
files = ["pipeline.yaml", "event_pipeline.yaml"]
state_dir = "state"
[notifications]
urls = ["{url}"]
exchanges = ["{place}"]
topics = ["{place}"]
meters = ["meters.d"]
events = ["events.yaml"]
prefetch = {prefetch}
batch_size = {batch}
"""
SHARDS = '[notifications.shards]\ncount = 8\nname = "{place}"\n'
CEILOMETER = """[DEFAULT]
transport_url = {rabbit}
pipeline_cfg_file = {folder}/pipeline.yaml
event_pipeline_cfg_file = {folder}/event_pipeline.yaml
[notification]
workers = 1
batch_size = {batch}
batch_timeout = 1
notification_control_exchanges = {place}
[oslo_messaging_notifications]
topics = {place}
[oslo_messaging_rabbit]
rabbit_qos_prefetch_count = {prefetch}
heartbeat_in_pthread = false
[meter]
meter_definitions_dirs = {folder}/meters.d
[event]
definitions_cfg_file = {folder}/events.yaml
[publisher]
telemetry_secret = bench
"""


@dataclass(frozen=True)
class Subject:
    name: str
    batch: int
    config: str
    """Template of its configuration file."""
    command: Callable[[Path], list[str]]


@dataclass(frozen=True)
class Figures:
    rate: float
    """Messages a second."""
    cpu_ms: float
    """For a thousand messages."""
    memory_mib: float
    """The most that its processes had, together."""


async def measure(options: Options) -> Results:
    skipped: list[str] = []
    subjects = _subjects(options, skipped)
    found: dict[str, list[Figures]] = {each.name: [] for each in subjects}
    with running_rabbitmq() as broker:
        for number in range(ROUNDS):
            for subject in subjects:
                figures = _run(subject, broker)
                found[subject.name].append(figures)
                options.note(f"{NAME}: round {number + 1} {subject.name}: {figures}")
    rows = [_row(name, each) for name, each in found.items()]
    title = f"{MESSAGES} messages, medians of {ROUNDS} rounds"
    details = {name: [vars(each) for each in figures] for name, figures in found.items()}
    return Results(NAME, __doc__ or "", {title: rows}, skipped, details)


def _row(name: str, figures: list[Figures]) -> Row:
    rates = [each.rate for each in figures]
    return {
        "agent": name,
        "messages/s": f"{statistics.median(rates):.0f}",
        "from – to": f"{min(rates):.0f} – {max(rates):.0f}",
        "CPU ms per 1000": f"{statistics.median(each.cpu_ms for each in figures):.0f}",
        "memory MiB": f"{statistics.median(each.memory_mib for each in figures):.0f}",
    }


def _subjects(options: Options, skipped: list[str]) -> list[Subject]:
    def hitless(_: Path) -> list[str]:
        return [sys.executable, "-m", "hitless", "agent", "run", "--unsupervised", "-c", "agent.conf.toml"]

    found = [
        Subject("hitless", BATCH, HITLESS, hitless),
        Subject(
            "hitless, 8 shards (each message twice through the broker)", BATCH, HITLESS + SHARDS, hitless
        ),
    ]
    program = Path(options.python).parent / "ceilometer-agent-notification"
    if not program.exists():
        skipped.append(f"ceilometer ({program} is not there)")
        return found

    def ceilometer(folder: Path) -> list[str]:
        return [str(program), "--config-file", str(folder / "agent.conf.toml"), "--log-file", "log"]

    return [
        *found,
        Subject("ceilometer 27.0.0, batches of 1 (its default)", 1, CEILOMETER, ceilometer),
        Subject(f"ceilometer 27.0.0, batches of {BATCH}", BATCH, CEILOMETER, ceilometer),
    ]


def _run(subject: Subject, broker: RabbitMQ) -> Figures:
    place = f"bench{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix="hitless-bench-", dir="/tmp") as path:
        folder = Path(path)
        _write(folder, subject, broker, place)
        _send(broker, place)
        environ = {**os.environ, "HITLESS_RUN_DIR": str(folder / "run")}
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen(
                subject.command(folder), cwd=folder, env=environ, stdout=said, stderr=said
            )
        try:
            return _watched(process, folder)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _watched(process: subprocess.Popen[bytes], folder: Path) -> Figures:
    files = [_Lines(folder / name) for name in ("samples.jsonl", "events.jsonl")]
    agent, memory = psutil.Process(process.pid), 0.0
    began, first = 0.0, 0
    deadline = time.monotonic() + PATIENCE_S
    while True:
        written = min(each.count() for each in files)
        if not began and written >= MESSAGES // 10:
            began, first = time.monotonic(), written
        if written >= MESSAGES:
            ended = time.monotonic()
            break
        if process.poll() is not None or time.monotonic() > deadline:
            said = "".join(
                (folder / name).read_text(errors="replace")[-1500:]
                for name in ("said", "log")
                if (folder / name).exists()
            )
            raise RuntimeError(f"only {written} of {MESSAGES} were written: {said}")
        time.sleep(LOOK_S)  # files tell nobody
    family = [agent, *agent.children(recursive=True)]
    memory = sum(each.memory_info().rss for each in family) / 2**20
    times = [each.cpu_times() for each in family]
    cpu_s = sum(each.user + each.system for each in times)
    return Figures((MESSAGES - first) / (ended - began), cpu_s * 1e6 / MESSAGES, memory)


class _Lines:
    """Counts the lines of a file that grows, reading each once."""

    def __init__(self, path: Path) -> None:
        self._path, self._at, self._count = path, 0, 0

    def count(self) -> int:
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._at)
                new = file.read()
            self._at += len(new)
            self._count += new.count(b"\n")
        return self._count


def _write(folder: Path, subject: Subject, broker: RabbitMQ, place: str) -> None:
    values: Mapping[str, object] = {
        "url": broker.url(""),
        "rabbit": broker.url("").replace("amqp://", "rabbit://"),
        "place": place,
        "folder": folder,
        "batch": subject.batch,
        "prefetch": PREFETCH,
    }
    json_option = "" if subject.config.startswith("name") else "?json"
    (folder / "meters.d").mkdir()
    for name, text in {
        "agent.conf.toml": subject.config.format(**values),
        "meters.d/meters.yaml": METERS,
        "events.yaml": EVENTS,
        "pipeline.yaml": _pipeline("meters", f"file://{folder}/samples.jsonl{json_option}"),
        "event_pipeline.yaml": _pipeline("events", f"file://{folder}/events.jsonl{json_option}"),
    }.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)


def _pipeline(what: str, publisher: str) -> str:
    source = {"name": "all", what: ["*"], "sinks": ["file"]}
    sink = {"name": "file", "publishers": [publisher]}
    return json.dumps({"sources": [source], "sinks": [sink]})


def _send(broker: RabbitMQ, place: str) -> None:
    queue = f"{place}.info"
    with Connection(broker.url("")) as connection:
        channel = connection.channel()
        channel.exchange_declare(exchange=place, type="topic", durable=False, auto_delete=False)
        channel.queue_declare(queue=queue, durable=False, auto_delete=False)
        channel.queue_bind(queue=queue, exchange=place, routing_key=queue)
        for number in range(MESSAGES):
            made = channel.prepare_message(
                _message(number), content_type="application/json", content_encoding="utf-8"
            )
            channel.basic_publish(made, exchange=place, routing_key=queue)


def _message(number: int) -> str:
    content = {
        "message_id": str(uuid.uuid4()),
        "publisher_id": "volume.host1@lvm",
        "event_type": "volume.resize.end",
        "priority": "INFO",
        "timestamp": "2026-11-27 10:00:00.000123",
        "payload": {
            "volume_id": f"volume-{number % RESOURCES}",
            "size": number,
            "tenant_id": "9a1f6d0d2b7e4c1f",
            "user_id": "3c0b7f9a",
            "display_name": f"disk {number}",
            "host": "host1@lvm#pool",
            "status": "in-use",
            "created_at": "2026-11-27T09:00:00",
            "volume_attachment": [{"server_id": "i-1", "mountpoint": "/dev/vdb"}],
        },
        "_context_user_id": "3c0b7f9a",
        "_context_project_id": "9a1f6d0d2b7e4c1f",
        "_context_request_id": f"req-{number}",
        "_unique_id": uuid.uuid4().hex,
    }
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(content)})
