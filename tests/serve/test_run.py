"""`hitless run`: a program that runs for long changes while it runs, inside its process or by one that is started beside it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hitless.control import ControlError
from serve.clients import free_port, pids, state, tell
from serve.live_apps import write_settings
from serve.service import READY_S, Service, wait_for

pytestmark = pytest.mark.timeout(600)  # many processes are started, perhaps on a busy machine

HEAD = """
import asyncio, json, os, socket, threading
from pathlib import Path
from typing import Annotated
from pydantic import BaseModel, ConfigDict
from hitless.config import TomlFile
from hitless.live import Reload, Runtime, Setting, lifetime, ready

def note(what, **more):
    line = json.dumps(dict(more, what=what, pid=os.getpid())) + "\\n"
    fd = os.open("notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(fd, line.encode())
    os.close(fd)

class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    level: str = "info"
    slots: Annotated[int, Reload("restart")] = 1
    port: int = 0

runtime = Runtime(Settings, name="jobs")

@runtime.on_change("level")
def told(old, new):
    note("level", level=new.level)
"""

COROUTINE = """
async def main():
    await runtime.start(TomlFile("shop.toml"))
    note("begun", level=runtime.settings.level, slots=runtime.settings.slots)
    try:
        await asyncio.Event().wait()
    finally:
        await runtime.stop()
        note("ended")
"""

POLITE = """
async def main():
    life = lifetime()
    await runtime.start(TomlFile("shop.toml"))
    note("begun", level=runtime.settings.level, slots=runtime.settings.slots)
    await life.ended()
    note("asked")
    while not Path("finished").exists():  # a job that is not broken off
        await asyncio.sleep(0.01)
    await runtime.stop()
    note("ended")
"""

THREAD = """
def main():
    life = lifetime()
    with runtime.run_in_thread(TomlFile("shop.toml")):
        note("begun", level=runtime.settings.level, slots=runtime.settings.slots)
        life.wait()
    note("ended")
"""

MODULE = """
life = lifetime()
if __name__ == "__main__":
    import sys
    note("begun", level="", slots=0, argv=[Path(sys.argv[0]).name, *sys.argv[1:]])
    ready()
    life.wait()
    note("ended")
"""

ENDING = """
async def main():
    note("begun")
    ready()
    while not Path("end").exists():
        await asyncio.sleep(0.01)
"""

EXCLUSIVE = """
@runtime.resource(exclusive="port:{port}")
class Port:
    def __init__(self, port: Annotated[int, Setting("port")]):
        self.sock = socket.create_server(("127.0.0.1", port))
    def close(self):
        self.sock.close()
"""

CANNOT_BUILD = """
@runtime.resource
class Worse:
    def __init__(self, port: Port):
        raise OSError("a bad deployment")
"""


@dataclass
class Run(Service):
    """A program in `program.py` under `hitless run`."""

    main: str = "program:main"

    def begin(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hitless", "run", self.main, "-c", str(self.config)],
                cwd=self.folder,
                env=self.environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.process

    @property
    def notes(self) -> list[dict[str, Any]]:
        path = self.folder / "notes"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def noted(self, what: str) -> list[dict[str, Any]]:
        return [each for each in self.notes if each["what"] == what]

    def await_notes(self, what: str, count: int) -> dict[str, Any]:
        wait_for(
            lambda: len(self.noted(what)) >= count,
            2 * READY_S,
            what=f"{count} × {what}",
            else_say=lambda: self.log,
        )
        return self.noted(what)[count - 1]

    def await_generation(self, number: int) -> None:
        def serves() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log
            with suppress(ControlError):  # it does not listen yet
                return bool(state(self)["generation"] == number)
            return False

        wait_for(serves, 2 * READY_S, what=f"generation {number}", else_say=lambda: self.log)


@contextmanager
def program(folder: Path, text: str, *, main: str = "program:main", **settings: Any) -> Iterator[Run]:
    (folder / "program.py").write_text(HEAD + text)
    service = Run(folder, main=main)
    service.configure(name="jobs", state_dir=str(folder / "state"), **settings)
    service.begin()
    try:
        service.await_generation(1)
        # It serves a moment before its start is recorded, and until then a change would be one too many.
        wait_for(
            lambda: not state(service)["busy"], 30, what="the start is over", else_say=lambda: service.log
        )
        yield service
    finally:
        service.end()


@pytest.mark.parametrize("text", [COROUTINE, THREAD], ids=["coroutine", "thread"])
def test_a_program_changes_inside_its_process_where_it_can_and_by_a_new_one_where_it_must(
    tmp_path: Path, text: str
) -> None:
    write_settings(tmp_path, level="one")
    with program(tmp_path, text) as service:
        (worker,) = pids(service)
        assert service.await_notes("begun", 1) == {"what": "begun", "pid": worker, "level": "one", "slots": 1}

        write_settings(tmp_path, level="two")
        told = service.command("reload", "jobs")
        assert (told.code, "changed in place" in told.out) == (0, True), told
        assert service.await_notes("level", 1) == {"what": "level", "pid": worker, "level": "two"}
        assert pids(service) == {worker}

        write_settings(tmp_path, level="two", slots=2)
        diff = service.command("diff", "jobs").out
        assert "new generation: slots takes effect in new processes only" in diff
        assert "slots: 1 → 2" in diff
        told = service.command("reload", "jobs")
        assert "new processes: slots takes effect in new processes only" in told.out
        successor = service.await_notes("begun", 2)
        assert (successor["slots"], successor["pid"] != worker) == (2, True)
        assert service.await_notes("ended", 1)["pid"] == worker
        order = [(each["what"], each["pid"]) for each in service.notes if each["what"] != "level"]
        assert order.index(("begun", successor["pid"])) < order.index(("ended", worker)), "never none"

        write_settings(tmp_path, "levl = 1\n")
        assert service.command("reload", "jobs").code == 2
        assert pids(service) == {successor["pid"]}
        assert tell(service, "rollback")["outcome"]["status"] == "applied"
        assert service.await_notes("begun", 3)["slots"] == 1
        assert service.command("stop", "jobs").code == 0
        assert service.wait() == 0
        assert len(service.noted("ended")) == 3


def test_a_program_finishes_its_job_before_it_ends(tmp_path: Path) -> None:
    write_settings(tmp_path, level="one")
    with program(tmp_path, POLITE) as service:
        (worker,) = pids(service)
        service.signal(signal.SIGTERM)
        assert service.await_notes("asked", 1)["pid"] == worker
        assert service.process is not None
        assert service.process.poll() is None, "it waits for the job"
        (tmp_path / "finished").touch()
        assert service.wait() == 0
        assert service.noted("ended")
        assert "connection.cut" not in service.log


def test_a_job_that_does_not_end_is_cut_at_the_drain_deadline_and_told(tmp_path: Path) -> None:
    write_settings(tmp_path, level="one")
    with program(tmp_path, POLITE, drain__timeout="1s") as service:
        told = service.command("stop", "jobs", "--json")
        assert (told.code, told.json["cut"]) == (4, 1), told
        assert not service.noted("ended")
        service.wait()


def test_what_only_one_process_can_have_is_given_up_before_the_next_one_starts(tmp_path: Path) -> None:
    port = free_port()
    write_settings(tmp_path, level="one", port=port)
    with program(tmp_path, EXCLUSIVE + COROUTINE) as service:
        first = service.await_notes("begun", 1)["pid"]
        write_settings(tmp_path, level="one", port=port, slots=2)
        steps = tell(service, "diff")["plan"]["steps"]
        assert f"stop generation 1 first: only one can have port:{port}" in steps
        outcome = tell(service, "reload")["outcome"]
        assert outcome["status"] == "applied", outcome
        second = service.await_notes("begun", 2)["pid"]
        assert [each["what"] for each in service.notes] == ["begun", "ended", "begun"]
        socket.create_connection(("127.0.0.1", port), 20).close()

        # A change that fails late: whoever was stopped for it is started again, with the settings that it had.
        with (tmp_path / "program.py").open("a") as file:
            file.write(CANNOT_BUILD)
        outcome = tell(service, "reload")["outcome"]
        assert (outcome["status"], outcome["generation"]) == ("rejected", 2), outcome
        assert "Worse could not be built: OSError: a bad deployment" in outcome["message"]
        again = service.await_notes("begun", 3)
        assert (again["slots"], again["pid"] not in (first, second)) == (2, True)
        socket.create_connection(("127.0.0.1", port), 20).close()


@pytest.mark.parametrize("text", [COROUTINE, THREAD], ids=["coroutine", "thread"])
def test_nothing_is_given_up_for_a_program_that_refuses_its_settings_or_ends_before(
    tmp_path: Path, text: str
) -> None:
    port = free_port()
    write_settings(tmp_path, port=port)
    with program(tmp_path, EXCLUSIVE + text) as service:
        service.await_notes("begun", 1)
        good = (tmp_path / "program.py").read_text()

        def refused(code: str) -> str:
            (tmp_path / "program.py").write_text(code)
            outcome = tell(service, "reload")["outcome"]
            assert (outcome["status"], outcome["generation"]) == ("rejected", 1), outcome
            return str(outcome["message"])

        needs_more = good.replace("port: int = 0", "port: int = 0; queue: str")
        assert "shop.toml: queue: is required" in refused(needs_more)
        assert "a bad deployment" in refused(
            f"{good}\ndef main():\n    raise RuntimeError('a bad deployment')\n"
        )
        unknown = f"{good}\n@runtime.resource\ndef one(it: Annotated[object, Needs('two')]): ...\n"
        assert "two" in refused(unknown.replace("Reload,", "Needs, Reload,"))
        assert [each["what"] for each in service.notes] == ["begun"], "the old program has gone on"
        socket.create_connection(("127.0.0.1", port), 20).close()
        write_settings(tmp_path, port=port, queue="q")
        (tmp_path / "program.py").write_text(needs_more)
        outcome = tell(service, "reload")["outcome"]
        assert outcome["status"] == "applied", outcome
        service.await_notes("begun", 2)
        assert [each["what"] for each in service.notes] == ["begun", "ended", "begun"]


def test_a_program_that_dies_or_ends_is_started_again(tmp_path: Path) -> None:
    write_settings(tmp_path, level="one")
    with program(tmp_path, COROUTINE) as service:
        os.kill(service.await_notes("begun", 1)["pid"], signal.SIGKILL)
        service.await_notes("begun", 2)
    folder = tmp_path / "ends"
    folder.mkdir()
    with program(folder, ENDING) as service:
        (folder / "end").touch()
        service.await_log("the program has ended, and nobody had asked it to")
        (folder / "end").unlink()
        service.await_notes("begun", 2)


def test_a_module_runs_as_python_runs_it(tmp_path: Path) -> None:
    with program(tmp_path, MODULE, main="program") as service:
        (worker,) = pids(service)
        begun = service.await_notes("begun", 1)
        assert begun["pid"] == worker
        assert begun["argv"] == ["program.py"], "nothing of the supervisor's"
        with (tmp_path / "program.py").open("a") as file:
            file.write("\n# new code\n")
        assert tell(service, "reload")["outcome"]["generation"] == 2
        service.await_notes("begun", 2)
        assert service.await_notes("ended", 1)["pid"] == worker


@pytest.mark.soak
def test_a_program_that_never_says_that_it_is_up_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import time\ndef main():\n    time.sleep(600)\n")
    service = Run(tmp_path)
    service.configure(name="jobs", state_dir=str(tmp_path / "state"), start__timeout="15s")
    process = service.begin()
    began = time.monotonic()
    assert process.wait(120) == 1, f"{time.monotonic() - began}: {service.log}"
    assert (
        "the program neither started its runtime nor called hitless.live.ready() within 15 s" in service.log
    )
    told = service.command("run", "program:main", "--bind", "127.0.0.1:80")
    assert told.code == 2, "what means nothing to a program is no option of run"
