"""The commands as an operator uses them: what they print, and their exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from serve.clients import Held, fetch, in_flight_now, pids, place, state, tell, write_teller
from serve.service import Service, running, wait_for


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    write_teller(tmp_path)
    with running(tmp_path, name="api", drain__timeout="30s") as started:
        yield started


def test_reload_says_what_differs_how_it_ended_and_what_drains(service: Service) -> None:
    service.configure(workers=2, env={"A": "1"})
    diff = service.command("diff", "api")
    assert diff.code == 0
    for line in (
        "reload: generation 1 → 2",
        "  workers: 1 → 2",
        '  env.A: (not set) → "1"',
        "  - start 2 workers",
    ):
        assert line in diff.out.splitlines()
    as_json = service.command("diff", "--json").json
    assert [each["key"] for each in as_json["plan"]["differences"]] == ["workers", "env.A"]
    assert state(service)["generation"] == 1, "nothing has moved"

    with Held(place(service)) as slow:
        slow.send("/slow/20")
        wait_for(lambda: in_flight_now(service) == 1, 20, what="a request in flight")
        told = service.command("reload")
        assert told.code == 0, told
        assert "workers: 1 → 2" in told.out
        assert "applied: generation 2 serves" in told.out
        assert "generation 1 drains: 1 workers, at most 30 s" in told.out
        shown = service.command("status", "api")
        assert "generation 1 drains (replaced): 1 workers left" in shown.out
        assert "GET /slow/20, " in shown.out


def test_status_tells_machines_who_a_drain_waits_for(service: Service) -> None:
    with Held(place(service)) as slow:
        slow.send("/slow/20?secret=1")
        wait_for(lambda: in_flight_now(service) == 1, 20, what="a request in flight")
        assert service.reload().json["drains"][0]["generation"] == 1
        shown = service.status()
        (drain,) = shown["drains"]
        (worker,) = drain["workers"]
        (waits,) = worker["waits_for"]
        host, port = slow.sock.getsockname()
        assert waits["peer"] == f"{host}:{port}"
        assert (waits["method"], waits["path"], waits["state"]) == ("GET", "/slow/20", "answering")
        assert 0 < waits["in_flight_s"] <= waits["age_s"] + 1 < 30
        assert 0 < drain["deadline_s"] <= 30
        assert drain["why"] == "replaced"
        current = shown["generations"][0]
        assert (current["number"], current["state"], current["app"]) == (2, "serving", "app:app")
        assert current["interface"] == "asgi"
        assert shown["applied_hash"] == shown["attempted_hash"] == current["settings_hash"]
        assert shown["last_outcome"]["status"] == "applied"


def test_a_reload_need_not_be_waited_for(service: Service) -> None:
    (service.folder / "app.py").write_text("import time; time.sleep(0.5); from nowhere import app")
    told = service.command("reload", "--no-wait")
    assert told.code == 0
    assert "has begun" in told.out
    again = service.command("reload", "--no-wait")
    assert again.code in (0, 5)
    wait_for(lambda: state(service)["last_outcome"]["status"] == "rejected", 10, what="the outcome")
    assert state(service)["last_outcome"]["reason"] in ("module_missing", "import_failed")


def test_one_change_at_a_time_and_none_for_ever(service: Service) -> None:
    good = (service.folder / "app.py").read_text()
    (service.folder / "app.py").write_text("import time\ntime.sleep(60)\n")
    with begun(service, "reload", "--json", "--timeout", "8") as first:
        wait_for(lambda: state(service)["busy"], 30, what="a change in progress")
        busy = service.command("reload")
        assert busy.code == 5
        assert "a reload (asked for by uid" in busy.err
        assert "in progress" in busy.err
        out, _ = first.communicate(timeout=30)
        assert first.returncode == 3, "the old generation still serves, and the command knows it"
        assert json.loads(out)["outcome"]["reason"] == "deadline_passed"
        assert "within 8 s" in json.loads(out)["outcome"]["message"]
    (service.folder / "app.py").write_text(good)
    assert service.command("reload").code == 0
    assert fetch(place(service)).status == 200


def begun(service: Service, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "hitless", *arguments], cwd=service.folder, env=service.environ,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_scale_takes_a_number_and_perhaps_a_name(service: Service) -> None:
    assert "applied: generation 1 serves" in service.command("scale", "3").out
    assert len(pids(service)) == 3
    assert service.command("scale", "api", "1", "--json").json["plan"]["differences"] == [
        {"key": "workers", "old": 3, "new": 1}
    ]
    assert "unchanged" in service.command("scale", "1").out
    assert service.command("scale", "api", "0").code == 2
    assert service.command("scale", "api").code == 2
    assert service.command("scale", "api", "many").code == 2


def test_history_names_who_asked_what_differed_and_how_it_ended(service: Service) -> None:
    service.configure(workers=2)
    assert service.reload().code == 0
    service.configure(workers="'x'")
    assert service.reload().code == 2
    rows = service.command("history", "--json").json
    assert [(row["plan"]["kind"], row["status"], row["reason"]) for row in rows] == [
        ("reload", "rejected", "configuration_invalid"),
        ("reload", "applied", None),
        ("start", "applied", None),
    ]
    assert rows[1]["plan"]["differences"] == [{"key": "workers", "old": 1, "new": 2}]
    assert rows[1]["requested_by"].startswith(f"uid {os.geteuid()} (pid ")
    assert set(rows[1]["timings"]) >= {"plan", "prepare", "commit"}
    wait_for(lambda: tell(service, "history")[1]["drained"], 20, what="the end of the drain in the journal")
    assert len(service.command("history", "-n", "1", "--json").json) == 1
    assert "workers: 1 → 2" in service.command("history").out


def test_stop_waits_for_what_is_in_flight(service: Service) -> None:
    with Held(place(service)) as slow:
        slow.send("/slow/4")
        wait_for(lambda: in_flight_now(service) == 1, 20, what="a request in flight")
        began = time.monotonic()
        told = service.command("stop", "api")
        assert told.code == 0, told
        assert "nothing was cut" in told.out
        assert slow.receive().status == 200
        assert service.wait() == 0
        assert time.monotonic() - began < 25
    assert service.command("status", "api").code == 6


def test_stop_tells_when_it_had_to_cut(service: Service) -> None:
    with Held(place(service)) as slow:
        slow.send("/slow/30")
        wait_for(lambda: in_flight_now(service) == 1, 20, what="a request in flight")
        assert service.reload().code == 0, (
            "a drain that has begun before, with a longer deadline, is no excuse"
        )
        began = time.monotonic()
        told = service.command("stop", "--timeout", "0.5")
        assert told.code == 4, told
        assert "1 connections were cut" in told.err
        assert time.monotonic() - began < 10
        assert service.wait() == 0


def test_services_are_found_by_name_by_path_and_alone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with ExitStack() as stack:
        first = stack.enter_context(running(made(tmp_path, "one"), name="one", control=str(run / "one.sock")))
        environ = {**first.environ, "HITLESS_RUN_DIR": str(run)}

        def hitless(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "hitless", *arguments]
            return subprocess.run(
                command, env=environ, capture_output=True, text=True, check=False, timeout=60
            )

        assert json.loads(hitless("status", "--json").stdout)["name"] == "one", "the only one needs no name"
        stack.enter_context(running(made(tmp_path, "two"), name="two", control=str(run / "two.sock")))
        listed = json.loads(hitless("services", "--json").stdout)
        assert listed == [{"name": name, "control": str(run / f"{name}.sock")} for name in ("one", "two")]
        ambiguous = hitless("reload")
        assert ambiguous.returncode == 6
        assert "one, two" in ambiguous.stderr
        assert json.loads(hitless("status", "two", "--json").stdout)["name"] == "two"
        assert json.loads(hitless("status", str(run / "one.sock"), "--json").stdout)["name"] == "one"
        for nobody in ("three", str(run / "three.sock")):
            assert hitless("status", nobody).returncode == 6
        taken = Service(tmp_path / "one")
        taken.start(expect=1)
        assert "is already running" in taken.log
        os.kill(first.pid, signal.SIGKILL)  # its socket stays behind
        first.wait()
        assert hitless("status", str(run / "one.sock")).returncode == 6
        assert json.loads(hitless("status", "--json").stdout)["name"] == "two"


def made(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    write_teller(folder / name)
    return folder / name


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["status"], 6),
        (["reload", "api"], 6),
        (["stop", "/nowhere.sock"], 6),
        (["services"], 0),
        (["nonsense"], 2),
        (["status", "--nonsense"], 2),
        (["reload", "--timeout", "soon"], 2),
        (["scale"], 2),
        (["serve"], 2),
        (["serve", "app:app", "--workers", "0"], 2),
        (["serve", "app:app", "--bind", "nonsense"], 2),
        (["--version"], 0),
        (["--help"], 0),
    ],
)
def test_exit_codes_without_a_service(tmp_path: Path, arguments: list[str], code: int) -> None:
    environ: dict[str, Any] = {**os.environ, "HITLESS_RUN_DIR": str(tmp_path / "run")}
    command = [sys.executable, "-m", "hitless", *arguments]
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
