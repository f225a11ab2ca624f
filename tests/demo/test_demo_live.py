"""The demonstration of live changes shows what it says, and notices when it is not so."""

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
from hitless.demo import live, run, storage
from hitless.demo.place import example


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "t"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.timeout(300)
def test_no_copy_notices_any_change(capsys: pytest.CaptureFixture[str], own_folder: Path) -> None:
    assert run("live", as_json=True) == 0
    report = json.loads(capsys.readouterr().out)
    found = {key: report[key] for key in ("part", "ok", "failed", "closed_by_server")}
    assert found == {"part": "live", "ok": True, "failed": 0, "closed_by_server": 0}
    outcomes = {step["name"]: step["outcome"] for step in report["steps"]}
    assert outcomes == {
        "start": "serving",
        "steady": "unchanged",
        "backend added": "applied, generation 2",
        "address changed": "applied, generation 3",
        "options changed": "applied, generation 4",
        "unreachable address": "rejected: build_failed",
        "bad directory": "rejected: build_failed",
        "wrong type": "rejected: configuration_invalid",
        "rollback": "applied, generation 5",
        "backend removed": "applied, generation 6",
        "backend back": "applied, generation 7",
        "compare": "as written",
        "stop": "stopped",
    }
    assert all(step["requests"] >= live.ENOUGH for step in report["steps"][1:-2])
    assert list(own_folder.iterdir()) == []
    assert left_behind(own_folder) == []


def test_a_service_that_does_not_start_fails_the_demonstration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, own_folder: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(example("volumes"), broken)
    (broken / "volumes" / "service.py").write_text("1 / 0\n")
    monkeypatch.setattr(storage, "example", lambda _: broken)
    assert run("live", as_json=True) == 1
    report = json.loads(capsys.readouterr().out)
    assert [step["name"] for step in report["steps"]] == ["start"]
    assert "ZeroDivisionError" in report["steps"][0]["outcome"]
    assert left_behind(own_folder) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupting_it_ends_every_process_and_removes_every_file(
    own_folder: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "hitless", "demo", "live"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"TMPDIR": str(own_folder)})
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("address changed"):
                break
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 2
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    _, alive = psutil.wait_procs(started, timeout=30)
    assert alive == []
    assert list(own_folder.iterdir()) == []
