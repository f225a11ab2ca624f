"""A group of real agents: each resource is polled once in each tick, whoever comes, goes, dies or is cut off."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.group.field import Field
from tests.servers.etcd import Etcd, etcd, etcd_server  # noqa: F401

from hitless.demo.group_audit import lapses, takeover_s

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def field(tmp_path: Path, etcd: Etcd) -> Iterator[Field]:  # noqa: F811
    port = int(etcd.endpoint.rpartition(":")[2])
    made = Field(tmp_path, url="etcd3+http://127.0.0.1:PORT", port=port)
    yield made
    made.end()


def resources(number: int) -> list[str]:
    return [f"r{each}" for each in range(number)]


def agree(field: Field) -> None:
    """Everything is as it should be, and the window was what the page says it is."""
    until = time.time() - 2.0  # what is due later may not be written yet
    findings, shares = field.audit(until=until)
    print(findings, f"{len(lapses(field.notes()))} leases have run out")
    assert findings.failed == 0, findings
    assert findings.polls > 0
    for absence in field.absences:
        seconds = takeover_s(absence, shares)
        print(f"{absence.name} was gone; others had its share after {seconds} s")
        assert seconds is not None
        assert seconds < 60.0


def test_joins_leaves_a_kill_a_cut_and_epochs_leave_out_nothing_that_somebody_could_have_polled(
    field: Field,
) -> None:
    field.write(resources(200))
    for name in ("m1", "m2"):
        field.start(name)
    field.polls_with("m1", "m2")
    field.start("m3")
    field.polls_with("m1", "m2", "m3")
    assert field.propose(field.write(resources(250))).status == "committed"
    field.kill("m2")
    field.polls_with("m1", "m3")
    field.start("m2")
    field.cut("m3")
    field.polls_with("m1", "m2")
    assert field.propose(field.write(resources(200), interval=1)).status == "committed"
    field.restore("m3")
    field.polls_with("m1", "m2", "m3")
    field.stop("m1")
    field.polls_with("m2", "m3")
    field.ticks(2)
    agree(field)
    for name in ("m2", "m3"):
        field.stop(name)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_three_agents_share_ten_thousand_resources_through_everything(tmp_path: Path, etcd: Etcd) -> None:  # noqa: F811
    port = int(etcd.endpoint.rpartition(":")[2])
    field = Field(
        tmp_path, url="etcd3+http://127.0.0.1:PORT", port=port, lease=10.0, look=0.4, lead=1.5, prepare=120.0
    )
    try:
        field.write(resources(10_000), interval=5)
        for name in ("m1", "m2", "m3"):
            field.start(name)
        field.polls_with("m1", "m2", "m3")
        for turn in range(5):
            number = 10_000 - 100 * turn
            field.kill("m2")
            field.propose(field.write(resources(number), interval=5))
            field.polls_with("m1", "m3")
            field.start("m2")
            field.polls_with("m1", "m2", "m3")
            field.ticks(2, 5.0)
            field.cut("m3")
            field.polls_with("m1", "m2")
            field.restore("m3")
            field.propose(field.write(resources(number), interval=5 - turn % 2))
            field.polls_with("m1", "m2", "m3")
            field.stop("m1")
            field.polls_with("m2", "m3")
            field.start("m1")
            field.polls_with("m1", "m2", "m3")
            field.ticks(2, 5.0)
        agree(field)
    finally:
        field.end()


def test_new_code_of_a_member_takes_its_share_at_one_boundary(tmp_path: Path) -> None:
    field = Field(tmp_path)
    try:
        field.write(resources(50), interval=1)
        field.start("m1", options=())
        field.start("m2")
        before = field.polls_with("m1", "m2")
        assert tell(field, "reload", "m1", "--restart") == 0
        state = field.until(
            lambda state: (
                {each.incarnation for each in state.members if each.name == "m1"}
                != {each.incarnation for each in before.members if each.name == "m1"}
                and len(state.members) == 2
                and not state.under_way
            ),
            "another process polls as m1",
        )
        assert state.number == before.number + 1, "one rebalance"
        field.ticks(2, 1.0)
        agree(field)
        for name in ("m1", "m2"):
            field.stop(name)
    finally:
        field.end()


def tell(field: Field, *command: str) -> int:
    import os
    import subprocess
    import sys

    env = {**os.environ, "HITLESS_RUN_DIR": str(field.folder / "r")}
    return subprocess.run(
        [sys.executable, "-m", "hitless", *command], env=env, timeout=120, check=False
    ).returncode
