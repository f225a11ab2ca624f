"""The group's protocol under any order of events: no tick is polled twice or by two configurations, and the group comes to rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.agent.group.simulation import Simulation

from hitless.agent.group import protocol
from hitless.agent.group.knowledge import Knowledge

SEEDS = range(12)
STEPS = 800


@pytest.mark.parametrize("quorum", ["all", "majority"])
def test_through_deaths_and_cuts_no_tick_is_polled_twice_nor_by_two_configurations(quorum: str) -> None:
    ended: set[str] = set()
    assignments = 0
    for seed in SEEDS:
        group = Simulation(seed, quorum=quorum)
        group.run(STEPS)
        ended.update(each.status for each in group.record.outcomes)
        assignments += len(group.assignments)
    assert ended >= {"committed", "refused", "timed_out"}
    assert assignments > 5 * len(SEEDS), "little happened"


def test_without_deaths_and_cuts_no_tick_is_left_out_either() -> None:
    for seed in SEEDS:
        Simulation(seed, disturbed=False).run(STEPS)


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_the_same_holds_in_ten_thousand_runs() -> None:
    for seed in range(10_000):
        Simulation(seed, disturbed=seed % 3 != 0, quorum="majority" if seed % 5 == 0 else "all").run(STEPS)


def seen_by_the_simulation() -> bool:
    for seed in SEEDS:
        try:
            Simulation(seed).run(STEPS)
        except AssertionError:
            return True
    return False


@pytest.mark.parametrize(
    ("where", "name", "broken"),
    [
        (Knowledge, "promise", lambda self: replace(self, armed=None)),
        (Knowledge, "has_promised", property(lambda self: False)),
        (protocol._Step, "unarmed", lambda self, change: []),
        (protocol.Rules, "guard_ms", property(lambda self: -1000)),
    ],
    ids=["no promise", "a promise that is not kept", "no waiting for promises", "boundaries in the past"],
)
def test_a_protocol_with_a_hole_does_not_pass(
    monkeypatch: pytest.MonkeyPatch, where: type, name: str, broken: object
) -> None:
    monkeypatch.setattr(where, name, broken)
    assert seen_by_the_simulation()
