"""A rollout brings every node to the release, one after the other, and proves it."""

from __future__ import annotations

from rollout.ground import Ground


def test_every_node_is_drained_stopped_upgraded_started_and_given_traffic_again(ground: Ground) -> None:
    ground.write("2")
    done = ground.hitless("run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ground.releases() == dict.fromkeys(ground.nodes, "2")
    assert set(ground.traffic().values()) == {"ready"}
    for name in ground.nodes:
        assert ground.actions(name) == ["start 1", "stop", "upgrade 2", "start 2"]
