"""The demonstration of a group shows what it says, and leaves nothing behind."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from demo.leftovers import left_behind
from hitless.demo import run


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "t"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_no_resource_is_missed_or_polled_twice(capsys: pytest.CaptureFixture[str], own_folder: Path) -> None:
    assert run("agent", as_json=True) == 0
    report = json.loads(capsys.readouterr().out)
    found = {key: report[key] for key in ("part", "ok", "failed")}
    assert found == {"part": "agent", "ok": True, "failed": 0}
    outcomes = {step["name"]: step["outcome"] for step in report["steps"]}
    refused = {"no such meter", "half a file", "sink that cannot be", "interval 0"}
    assert {name for name, outcome in outcomes.items() if outcome.startswith("refused")} == refused
    assert outcomes["kill -9"].startswith("the others had its share after")
    assert sum(step["requests"] for step in report["steps"]) > 100
    assert list(own_folder.iterdir()) == []
    assert left_behind(own_folder) == []
