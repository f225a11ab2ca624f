"""A rollout brings every node to the release, one after the other, and proves it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from rollout.ground import Ground


def test_every_node_is_drained_stopped_upgraded_started_and_given_traffic_again(ground: Ground) -> None:
    ground.write("2")
    done = ground.hitless("run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ground.releases() == dict.fromkeys(ground.nodes, "2")
    assert set(ground.traffic().values()) == {"ready"}
    for name in ground.nodes:
        assert ground.actions(name) == ["start 1", "stop", "upgrade 2", "start 2"]


def test_all_probes_of_a_runner_are_of_one_client(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[httpx.AsyncClient] = []

    class Counted(httpx.AsyncClient):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(httpx, "AsyncClient", Counted)
    ground.write("2")
    assert ground.run().status == "done"
    assert len(made) == 1
    assert made[0].is_closed
