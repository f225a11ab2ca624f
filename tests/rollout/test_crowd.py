"""Many nodes at once: what a rollout costs its runner. `python -m benchmarks rollout` does it with 200."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.rollout.crowd import running_crowd

NODES = 16
CPU_PER_NODE_S = 0.5
MEMORY_PER_NODE_KIB = 1024
"""Several times what was measured: what is caught is work or memory that grows with the square of the nodes."""


@pytest.mark.timeout(300)
def test_many_nodes_are_upgraded_in_batches_and_cost_the_runner_little(tmp_path: Path) -> None:
    with running_crowd(tmp_path, NODES) as crowd:
        cost = crowd.run(batch=8)
        assert cost.status == "done"
        assert {crowd.release(name) for name in crowd.addresses} == {"2"}
        assert "DRAIN" not in crowd.haproxy.ask("show stat")
        assert "MAINT" not in crowd.haproxy.ask("show stat")
    assert cost.cpu_s / NODES < CPU_PER_NODE_S
    assert (cost.memory_kib - cost.memory_before_kib) / NODES < MEMORY_PER_NODE_KIB
