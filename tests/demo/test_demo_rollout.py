"""The demonstration of a rolling upgrade, with the balancer that it brings along."""

from __future__ import annotations

import json
import tempfile

import pytest

from demo.leftovers import left_behind
from hitless.demo import haproxy, run


@pytest.mark.timeout(600)
def test_three_nodes_are_upgraded_behind_our_own_balancer_and_nobody_notices(capsys, tmp_path, monkeypatch):
    folder = tmp_path / "t"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(haproxy, "installed", lambda: None)
    assert run("rollout", as_json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["part"], report["ok"], report["failed"], report["closed_by_server"]) == (
        "rollout",
        True,
        0,
        0,
    )
    outcomes = {step["name"]: step["outcome"] for step in report["steps"]}
    assert list(outcomes) == ["start", "upgrade", "check"]
    assert outcomes["upgrade"] == "release 2 on 3 nodes, contracted"
    assert not left_behind(folder)
