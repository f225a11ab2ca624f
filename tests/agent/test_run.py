"""`hitless agent run`: a real process takes good files, refuses bad ones, and stops without leaving half a line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(400)  # several processes, one after the other

DEADLINE_S = 60.0
POLLING = "sources:\n  - {name: load, interval: 1, jitter: 0, timeout: 60, meters: [host.load.1min]}\n"
MORE = POLLING + "  - {name: memory, interval: 1, jitter: 0, timeout: 60, meters: [host.memory.total]}\n"


class Process:
    """A running agent and what it says."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.env = {**os.environ, "HITLESS_RUN_DIR": str(folder / "run"), "COLUMNS": "200"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hitless", "agent", "run", "-c", "agent.toml", *options],
            cwd=folder,
            env=self.env,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: list[str] = []
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._said:
                self._lines.append(line)
                self._said.notify_all()

    def says(self, *parts: str, after: int = 0) -> int:
        """Wait for a line with all of these; its number plus 1."""

        def found() -> int:
            return next(
                (
                    number + 1
                    for number, line in enumerate(self._lines)
                    if number >= after and all(part in line for part in parts)
                ),
                0,
            )

        with self._said:
            number = self._said.wait_for(found, DEADLINE_S)
        assert number, f"it did not say {parts}: {''.join(self._lines)}"
        return number

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hitless", *arguments]
        return subprocess.run(
            command,
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def end(self) -> int:
        self.process.terminate()
        code = self.process.wait(DEADLINE_S)
        self._reader.join()
        return code

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


def write(folder: Path, polling: str = POLLING, sink: str = "") -> None:
    sink = sink or f"file://{folder}/samples.jsonl"
    routes = 'sources:\n  - {name: all, meters: ["*"], sinks: [archive]}\n'
    files = {
        "agent.toml": f'name = "measuring"\nfiles = ["polling.yaml", "pipeline.yaml"]\nstate_dir = "{folder}/state"\n',
        "polling.yaml": polling,
        "pipeline.yaml": f"{routes}sinks:\n  - {{name: archive, publishers: ['{sink}']}}\n",
    }
    for name, text in files.items():
        new = folder / f".{name}"
        new.write_text(text)
        new.chmod(0o644)
        new.replace(folder / name)


def sources(folder: Path) -> set[str]:
    path = folder / "samples.jsonl"
    return {json.loads(line)["source"] for line in path.read_text().splitlines()} if path.exists() else set()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Process]:
    write(tmp_path)
    process = Process(tmp_path)
    yield process
    process.kill()


def test_a_running_agent_takes_good_files_and_refuses_bad_ones(agent: Process) -> None:
    folder = agent.folder
    at = agent.says("agent measuring polls 1 sources")
    write(folder, MORE)
    agent.process.send_signal(signal.SIGHUP)
    at = agent.says("committed kind=reload", after=at)

    write(folder, MORE.replace("interval: 1,", "interval: 0,"))
    agent.process.send_signal(signal.SIGHUP)
    at = agent.says(
        "rejected kind=reload", "polling.yaml:2: sources[0].interval: expected more than 0", after=at
    )
    refused = agent.ask("reload", "measuring")
    assert refused.returncode == 2
    assert "expected more than 0" in refused.stderr

    write(folder, MORE, sink=f"file://{folder}/missing/samples.jsonl")
    refused = agent.ask("reload", "measuring")
    assert refused.returncode == 3
    assert "No such file or directory" in refused.stderr

    write(folder, MORE)
    told: Any = json.loads(agent.ask("status", "measuring", "--json").stdout)
    assert told["generation"] == 1, "the settings have changed inside the process"
    assert told["applied_hash"] != told["attempted_hash"]
    assert agent.ask("reload", "measuring").returncode == 0
    told = json.loads(agent.ask("status", "measuring", "--json").stdout)
    assert told["applied_hash"] == told["attempted_hash"]

    assert agent.end() == 0
    assert sources(folder) == {"load", "memory"}
    agent.says("stopped", "'errors': 0", "'dropped': 0, 'failed': 0")


def test_an_agent_whose_files_are_bad_does_not_start(tmp_path: Path) -> None:
    write(tmp_path, POLLING.replace("host.load.1min", "cpu"))
    process = Process(tmp_path)
    try:
        process.says("polling.yaml:2: sources[0].meters: no pollster here gives any of cpu")
        assert process.process.wait(DEADLINE_S) == 2
    finally:
        process.kill()


def test_a_configuration_that_is_wrong_is_told_with_its_line(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "agent.toml").write_text('files = ["polling.yaml"]\nwatch = true\n')
    process = Process(tmp_path)
    try:
        process.says("agent.toml:2: watch: unknown key; did you mean reload.watch?")
        assert process.process.wait(DEADLINE_S) == 2
    finally:
        process.kill()


def times(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    return sorted(datetime.fromisoformat(row["timestamp"]).timestamp() for row in rows)


def test_new_code_goes_on_at_the_old_ones_due_times_and_no_tick_is_lost_or_doubled(agent: Process) -> None:
    agent.says("agent measuring polls 1 sources")
    at = 0
    for _ in range(3):
        assert agent.ask("reload", "measuring", "--restart").returncode == 0
        at = agent.says("agent measuring stopped", after=at)
    assert agent.end() == 0
    found = times(agent.folder)
    assert len(found) >= 3
    assert [round(each - found[0], 1) for each in found] == list(range(len(found)))
    assert max(abs(each - found[0] - number) for number, each in enumerate(found)) < 0.05


def test_a_killed_process_is_replaced_and_another_one_polls(agent: Process) -> None:
    at = agent.says("agent measuring polls 1 sources")
    told: Any = json.loads(agent.ask("status", "measuring", "--json").stdout)
    (worker,) = [each for row in told["generations"] for each in row["workers"]]
    os.kill(worker["pid"], signal.SIGKILL)
    agent.says("agent measuring polls 1 sources", after=at)
    assert agent.end() == 0


def test_files_that_change_are_taken_by_themselves_if_that_is_wanted(tmp_path: Path) -> None:
    write(tmp_path)
    with (tmp_path / "agent.toml").open("a") as file:
        file.write('[reload]\nwatch = true\nsettle = "100ms"\n')
    process = Process(tmp_path)
    try:
        at = process.says("agent measuring polls 1 sources")
        write_polling(tmp_path, MORE.replace("interval: 1,", "interval: 0,"))
        at = process.says("rejected kind=reload", after=at)
        write_polling(tmp_path, MORE)
        process.says("committed kind=reload", after=at)
        assert process.end() == 0
        assert not [
            line for line in process._lines if "watchfiles" in line
        ]  # its samples are beside its files
    finally:
        process.kill()


def write_polling(folder: Path, text: str) -> None:
    (folder / ".polling").write_text(text)
    (folder / ".polling").chmod(0o644)
    (folder / ".polling").replace(folder / "polling.yaml")


def test_without_a_supervisor_it_takes_files_on_sighup_as_well(tmp_path: Path) -> None:
    write(tmp_path)
    process = Process(tmp_path, "--unsupervised")
    try:
        at = process.says("agent measuring polls 1 sources")
        write(tmp_path, MORE)
        process.process.send_signal(signal.SIGHUP)
        process.says("change committed", "kind='reload'", after=at)
        assert process.end() == 0
        process.says("stopped", "'errors': 0")
    finally:
        process.kill()
