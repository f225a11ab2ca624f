"""The demonstration shows what it says, notices when it is not so, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from demo.leftovers import left_behind
from hitless.demo import DemoReport, StepReport, parts, run, serve
from hitless.demo import place as places

DEMO = [sys.executable, "-m", "hitless", "demo", "serve"]


@pytest.fixture(autouse=True)
def short_steps(monkeypatch, tmp_path):
    """Steps as long as their changes need, in a folder of the test's own."""
    tmp_path = tmp_path / "t"
    tmp_path.mkdir()
    monkeypatch.setattr(serve, "UPLOAD_S", 0.4)
    monkeypatch.setattr(serve, "THINK", (0.0, 0.2))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def release(monkeypatch, tmp_path: Path, *, file: str, old: str, new: str) -> None:
    """Let the demonstration run another image store: with one thing changed."""
    changed = tmp_path / "changed"
    shutil.copytree(places.example(), changed)
    path = changed / "imagestore" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    monkeypatch.setattr(places, "example", lambda: changed)


def test_nobody_notices_any_change(capsys, tmp_path):
    assert run("serve", as_json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"part", "ok", "failed", "closed_by_server", "steps"}
    assert (report["part"], report["ok"], report["failed"], report["closed_by_server"]) == (
        "serve",
        True,
        0,
        0,
    )
    outcomes = {step["name"]: step["outcome"] for step in report["steps"]}
    assert outcomes == {
        "start": "serving",
        "steady": "unchanged",
        "storage path and workers": "applied, generation 2",
        "new code": "applied, generation 3",
        "broken configuration": "rejected: configuration_invalid",
        "broken code": "rejected: import_failed",
        "rollback": outcomes["rollback"],
        "stop": "stopped",
    }
    assert outcomes["rollback"].startswith("applied, generation ")
    assert all(step["requests"] > 50 for step in report["steps"][1:-1])
    assert {frozenset(step) for step in report["steps"]} == {
        frozenset(("name", "outcome", "requests", "failed", "closed_by_server", "max_ms"))
    }
    assert list((tmp_path / "t").iterdir()) == []
    assert left_behind(tmp_path / "t") == []


def test_a_request_that_fails_fails_the_demonstration(monkeypatch, capsys, tmp_path):
    listing = "    if action is Action.LIST:\n"
    broken = f'{listing}        assert VERSION != "2.0"\n'
    release(monkeypatch, tmp_path, file="routes.py", old=listing, new=broken)
    assert run("serve") == 1
    shown = capsys.readouterr().out
    assert "bad_status" in shown
    assert "serve: failed" in shown


def test_a_service_that_does_not_start_fails_the_demonstration(monkeypatch, capsys, tmp_path):
    release(monkeypatch, tmp_path, file="version.py", old='VERSION = "1.0"', new="VERSION = 1 / 0")
    assert run("serve", as_json=True) == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["ok"]
    assert [step["name"] for step in report["steps"]] == ["start"]
    assert "ZeroDivisionError" in report["steps"][0]["outcome"]
    assert left_behind(tmp_path / "t") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupting_it_ends_every_process_and_removes_every_file(tmp_path, number):
    environ = {"TMPDIR": str(tmp_path / "t")}
    process = subprocess.Popen(DEMO, stdout=subprocess.PIPE, text=True, env=environ)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("new code"):
                break
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) > 3
        process.send_signal(number)
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 1
    _, alive = psutil.wait_procs(started, timeout=5)
    assert alive == []
    assert list((tmp_path / "t").iterdir()) == []


def test_an_unknown_part_is_a_usage_error(capsys):
    assert run("nonsense") == 2
    assert "there are: serve" in capsys.readouterr().err


def test_a_part_that_this_machine_cannot_run_is_left_out_and_said(monkeypatch, capsys):
    monkeypatch.setattr(serve, "missing", lambda: "no image store")
    monkeypatch.setattr(parts, "existing", lambda: ["serve"])
    assert run() == 0
    assert "left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("step", "ok"),
    [
        (StepReport("s", "applied", 10), True),
        (StepReport("s", "applied", 10, failed=1), False),
        (StepReport("s", "applied", 10, closed_by_server=1), False),
        (StepReport("s", "applied", 10, as_expected=False), False),
    ],
)
def test_a_report_is_ok_only_if_nothing_failed_was_closed_or_surprised(step, ok):
    assert DemoReport("p", (step,)).ok is ok
    assert not DemoReport("p", ()).ok


def test_keys_of_the_configuration_are_edited_where_they_stand():
    text = 'name = "a"  # why\n\n[env]\nname = "b"\n'
    assert places.edited(text, ["env", "name"], "c") == 'name = "a"  # why\n\n[env]\nname = "c"\n'
    assert places.edited(text, ["name"], ["x", 1]) == 'name = ["x", 1]\n\n[env]\nname = "b"\n'
    with pytest.raises(LookupError, match=r"env\.other"):
        places.edited(text, ["env", "other"], 1)
