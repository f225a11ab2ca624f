"""Configuration epochs of real agents: all members, or none; whatever one of them does in the middle."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.group.field import DEADLINE_S, Field

from hitless.agent.group.epochs import Proposal

pytestmark = pytest.mark.timeout(600)

DEATHS = (
    "group.drafted",
    "group.prepared",
    "group.settled",
    "group.promised",
    "group.swapping",
    "group.swapped",
)
"""Where a member may die in an epoch; `group.committing` and `group.committed` only the one that commits passes."""
ODD = "m2"
OTHERS = ("m1", "m3")


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Field]:
    made = Field(tmp_path, lease=2.0, look=0.1, lead=0.5)
    yield made
    made.end()


def begin(field: Field) -> None:
    field.write(["a", "b", "c", "d", "e", "f"], interval=1)
    for name in (*OTHERS, ODD):
        field.start(name)
    field.polls_with(*OTHERS, ODD)


def good(field: Field) -> None:
    assert field.propose(field.write(["a", "b", "c", "d", "e", "f"], interval=1)).status == "committed"


def proposed(field: Field, sink: str = "", **settings: float) -> Proposal:
    sinks = f"odd://{sink}?who={ODD}" if sink else ""
    return field.propose(field.write(["a", "b", "c", "d", "e", "f"], interval=1, sink=sinks), **settings)


def refuses(field: Field) -> None:
    found = proposed(field, "refuse")
    assert (found.status, found.who) == ("refused", ODD)
    assert "it does not want to" in found.why
    field.polls_with(*OTHERS, ODD)


def hangs(field: Field) -> None:
    found = proposed(field, "hang", prepare=3.0)
    assert found.status in ("timed_out", "refused"), found
    assert ODD in found.who
    field.polls_with(*OTHERS, ODD)


def dies(field: Field, point: str) -> None:
    """The others decide without it, and it comes back to what they have decided."""
    field.fault(ODD, point)
    outcome = proposed(field)
    assert outcome.status == "committed", outcome
    field.has_died(ODD)
    field.start(ODD)
    field.polls_with(*OTHERS, ODD)


def agree(field: Field) -> None:
    findings, shares = field.audit(until=time.time() - 2.0)
    print(findings)
    assert findings.failed == 0, findings
    committed = [each for each in field.state().outcomes if each.status == "committed"]
    assert len({each.epoch for each in shares}) >= min(len(committed), 2)
    assert all(each.epoch <= field.state().epoch for each in shares)


def test_one_that_refuses_hangs_or_dies_never_makes_two_configurations_be_in_force(field: Field) -> None:
    begin(field)
    refuses(field)
    hangs(field)
    dies(field, "group.promised")
    good(field)
    agree(field)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_hundred_epochs_with_one_that_refuses_hangs_or_dies_at_each_phase(field: Field) -> None:
    begin(field)
    points = itertools.cycle(DEATHS)
    for number in range(100):
        kind = number % 10
        if kind == 0:
            refuses(field)
        elif kind == 5:
            hangs(field)
        elif kind in (2, 4, 6, 8):
            dies(field, next(points))
        else:
            good(field)
        print(number, field.state().epoch, flush=True)
    agree(field)


def ask(field: Field, *command: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(field.folder / "site"), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "hitless", "agent", *command],
        cwd=field.folder / "m1",
        env=env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_an_operator_proposes_and_sees_who_polls_by_what(tmp_path: Path) -> None:
    field = Field(tmp_path, prepare=10.0)
    try:
        first = field.write(["a"])
        field.start("m1")
        field.start("m2")
        state = field.polls_with("m1", "m2")

        told = json.loads(ask(field, "status", "--json").stdout)
        assert {each["name"]: each["applied"] for each in told["members"]} == {
            "m1": state.config,
            "m2": state.config,
        }
        assert told["drift"] == 0
        assert 'hitless_group_drift{group="g"} 0.0' in ask(field, "status", "--prometheus").stdout

        refused = ask(field, "epoch", "propose", *field.write(["a"], sink="odd://refuse?who=m2"))
        assert refused.returncode == 3
        assert "epoch 2 is refused by m2" in refused.stderr
        assert "it does not want to" in refused.stderr
        invalid = ask(field, "epoch", "propose", *field.write(["a"], sink="nothing://"))
        assert invalid.returncode == 2
        assert "nothing" in invalid.stderr
        shown = ask(field, "epoch", "status").stdout
        assert "epoch 2" in shown
        assert "refused: m2" in shown
        told = field.state()
        assert (told.epoch, told.drift) == (1, 0)
        assert any(each.attempted != each.applied for each in told.members)

        for name in ("m1", "m2"):
            field.stop(name)
        nobody = ask(field, "epoch", "propose", *first)
        assert (nobody.returncode, "no member" in nobody.stderr) == (6, True)
    finally:
        field.end()


@pytest.mark.soak
def test_a_store_that_has_lost_everything_is_an_empty_group_that_begins_anew(field: Field) -> None:
    begin(field)
    shutil.rmtree(field.folder / "groups")
    field.until(lambda state: len(state.members) == 3, "all have joined again")
    good(field)
    field.polls_with(*OTHERS, ODD)
    assert field.state().epoch == 1
