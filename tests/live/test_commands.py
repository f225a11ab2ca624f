"""Every command of an operator on a program of its own that has a runtime: what is printed, and the exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hitless.control import ControlClient, ControlError

pytestmark = pytest.mark.timeout(600)  # many processes are started, perhaps on a busy machine

PROGRAM = """
import asyncio, os
from pathlib import Path
from typing import Annotated
from pydantic import BaseModel, ConfigDict
from hitless.config import Secret, TomlFile
from hitless.live import Reload, Runtime, Setting, Triggers

class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    url: str = "db://one"
    password: Secret | None = None
    port: Annotated[int, Reload("restart")] = 80

runtime = Runtime(Settings, name="volumes")

async def until(file):
    while not Path(file).exists():
        await asyncio.sleep(0.01)

@runtime.resource
class Driver:
    def __init__(self, url: Annotated[str, Setting("url")]):
        if url == "db://broken":
            raise ConnectionError("there is no db://broken")
    def close(self): ...

@runtime.resource
async def slow(url: Annotated[str, Setting("url")]) -> None:
    if url == "db://slow":
        Path("building").touch()
        await until("built")

async def copy():
    async with runtime.action("copy volume", Driver):
        Path("copying").touch()
        await until("copied")

async def main():
    await runtime.start(TomlFile("volumes.toml"), triggers=Triggers(control=True, state_dir="state"))
    task = asyncio.create_task(copy())
    Path("started").touch()
    await until("end")
    await runtime.stop()

asyncio.run(main())
"""


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Program:
    folder: Path
    process: subprocess.Popen[bytes]

    def hitless(self, *words: str, code: int = 0) -> Said:
        done = subprocess.run(
            [sys.executable, "-m", "hitless", *words],
            cwd=self.folder,
            env=environ(self.folder),
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    def tell(self, method: str) -> Any:
        """A command straight over the control socket: without the start of a Python process, where that is not the point."""
        with ControlClient(self.folder / "run" / "volumes.sock") as client:
            return client.call(method, timeout_s=60)

    def write(self, text: str) -> None:
        write(self.folder, text)

    def touch(self, name: str) -> None:
        (self.folder / name).touch()

    def await_file(self, name: str) -> None:
        deadline = time.monotonic() + 60
        while not (self.folder / name).exists():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, f"no {name} within 60 s"
            time.sleep(0.02)


def environ(folder: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HITLESS_")}
    return {**clean, "HITLESS_RUN_DIR": str(folder / "run")}


def write(folder: Path, text: str) -> None:
    draft = folder / "volumes.new"
    draft.write_text(text)
    draft.chmod(0o644)
    draft.rename(folder / "volumes.toml")


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    (tmp_path / "program.py").write_text(PROGRAM)
    write(tmp_path, 'url = "db://one"\n')
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "program.py"], cwd=tmp_path, env=environ(tmp_path), stdout=log, stderr=log
        )
    program = Program(tmp_path, process)
    try:
        program.await_file("copying")
        yield program
    finally:
        for name in ("copied", "built", "end"):
            program.touch(name)
        try:
            assert process.wait(60) == 0, (tmp_path / "log").read_text()
        finally:
            process.kill()


def test_reload_is_told_while_an_action_holds_the_old_generation(program: Program) -> None:
    program.write('url = "db://two"\npassword = "sesame"\n')
    diff = program.hitless("diff", "volumes").out.splitlines()
    assert diff[0] == "reload: generation 1 → 2"
    assert '  url: "db://one" → "db://two"' in diff
    assert "  - rebuild Driver: url changed" in diff
    as_json = program.tell("diff")
    assert [each["key"] for each in as_json["plan"]["differences"]] == ["url", "password"]
    assert "volumes would take its configuration" in program.hitless("check", "volumes").out
    assert program.tell("check")["hash"] == as_json["plan"]["attempted_hash"]

    told = program.hitless("reload", "volumes").out
    assert 'url: "db://one" → "db://two"' in told
    assert "applied: generation 2 serves" in told
    assert "generation 1 drains: 1 leases, at most 60 s" in told
    assert "sesame" not in told + "".join(diff)

    shown = program.hitless("status", "volumes").out
    assert "volumes  pid " in shown
    assert "no address" not in shown
    assert "generation 1 drains (replaced): 1 leases left" in shown
    assert f"copy volume (Driver), taken at {program.folder}/program.py:" in shown
    status = program.hitless("status", "--json").json
    assert status["kind"] == "live"
    assert status["pid"] == program.process.pid
    assert [(each["number"], each["state"]) for each in status["generations"]] == [
        (2, "serving"),
        (1, "draining"),
    ]
    assert status["generations"][1]["actions"] == {"copy volume": 1}
    assert status["applied_hash"] == status["attempted_hash"] == as_json["plan"]["attempted_hash"]
    (drain,) = status["drains"]
    assert (drain["leases_left"], drain["generation"]) == (1, 1)

    program.touch("copied")
    deadline = time.monotonic() + 60
    while program.tell("drains"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (row, _) = program.hitless("history", "volumes", "--json").json
    assert (row["status"], row["drained"]["cut"]) == ("applied", 0)
    assert "applied: generation 3 serves" in program.hitless("rollback", "volumes").out
    shown = program.hitless("history", "volumes").out.splitlines()
    assert shown[0].split()[:3] == ["#", "when", "change"]
    assert [line.split()[0] for line in shown if " rollback " in line or " reload " in line] == ["3", "2"]


def test_what_is_refused_is_told_with_its_exit_code_and_changes_nothing(program: Program) -> None:
    applied = program.tell("status")["applied_hash"]
    program.write("ulr = 1\n")
    for words in (("reload", "volumes"), ("diff", "volumes"), ("check", "volumes")):
        assert "volumes.toml:1: ulr: unknown key; did you mean url?" in program.hitless(*words, code=2).err
    program.write('url = "db://broken"\n')
    told = program.hitless("reload", "volumes", code=3).err
    assert "rejected (build_failed)" in told
    assert "there is no db://broken" in told
    assert "generation 1 still serves" in told
    status = program.tell("status")
    assert (status["applied_hash"], status["attempted_hash"] != applied) == (applied, True)
    assert status["last_outcome"]["reason"] == "build_failed"
    assert "last change rejected (build_failed)" in program.hitless("status").out
    program.write("port = 81\n")
    for command in ("reload", "diff"):
        told = program.hitless(command, "volumes", code=3).err
        assert "port: 80 → 81: takes effect in a new process only (declared reload=restart)" in told
    (refused, *_) = program.tell("history")
    assert [each["key"] for each in refused["plan"]["differences"]] == ["port"]
    assert [row["reason"] for row in program.tell("history")] == [
        "restart_needed",
        "build_failed",
        "configuration_invalid",
        None,
    ]
    assert "there is no earlier generation" in program.hitless("rollback", "volumes", code=3).err
    program.write('url = "db://one"\n')
    assert program.hitless("reload", "--json").json["outcome"]["status"] == "unchanged"


def test_a_second_change_is_refused_as_busy_and_nobody_there_has_its_own_code(program: Program) -> None:
    program.write('url = "db://slow"\n')
    assert "the reload has begun" in program.hitless("reload", "volumes", "--no-wait").out
    program.await_file("building")
    assert "is in progress" in program.hitless("reload", "volumes", code=5).err
    assert "is in progress" in program.hitless("status").out
    program.touch("built")
    deadline = time.monotonic() + 60
    while program.tell("status")["generation"] != 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "there is no service shop" in program.hitless("reload", "shop", code=6).err


def test_what_only_a_service_of_processes_can_do_is_refused_in_words(program: Program) -> None:
    assert "its own master" in program.hitless("reload", "volumes", "--restart", code=1).err
    for method in ("scale", "metrics", "upgrade", "stop"):
        with pytest.raises(ControlError, match="volumes is a program of its own, not under hitless run: "):
            program.tell(method)
    told = program.hitless("stop", "volumes", code=1).err
    assert f"stop it as it was started (kill -TERM {program.process.pid}, or systemctl stop)" in told
    assert "checked without options" in program.hitless("check", "volumes", "--workers", "2", code=2).err
