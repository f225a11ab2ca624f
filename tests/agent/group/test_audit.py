"""The audit finds what it is there to find."""

from __future__ import annotations

from hitless.agent.definition import PollingSource
from hitless.agent.polling.partition import static_group
from hitless.demo.group_audit import Absence, Findings, Poll, Shares, assignments, audit, takeover_s

RESOURCES = tuple("abcdef")
SOURCE = PollingSource(interval=1, meters=("m",), resources=RESOURCES, jitter=0.0)
FIRST = Shares(1, 10_000, 1, "c", ("one@1", "two@1"))
ALONE = Shares(2, 20_000, 1, "c", ("one@1",))
ALL: list[Poll] = [(second * 1000, "s", each) for second in range(10, 30) for each in RESOURCES]
OF_TWO = next(each for each in RESOURCES if FIRST.owner(static_group(RESOURCES), each) == "two")


def audited(polls: list[Poll], *absences: Absence) -> Findings:
    sources = {"c": {"s": SOURCE}}
    findings = Findings()
    return audit(polls, [FIRST, ALONE], sources, absences=absences, until=30.0, findings=findings)


def test_where_each_tick_was_polled_once_nothing_is_found() -> None:
    assert audited(ALL).failed == 0


def test_a_sample_that_is_missing_or_comes_twice_is_found() -> None:
    assert audited(ALL[1:]).missing == [ALL[0]]
    assert audited([*ALL, ALL[5]]).doubled == [ALL[5]]


def test_what_was_polled_outside_of_the_grid_or_by_another_configuration_is_found() -> None:
    strays = [(10_500, "s", "a"), (11_000, "another", "a")]
    assert sorted(audited([*ALL, *strays]).stray) == sorted(strays)


def test_only_the_share_of_a_dead_member_is_excused_and_only_until_others_have_it() -> None:
    death = Absence("two", 15.0)
    in_the_window, before, after = (17_000, "s", OF_TWO), (12_000, "s", OF_TWO), (20_000, "s", OF_TWO)
    of_one = next(each for each in RESOURCES if FIRST.owner(static_group(RESOURCES), each) == "one")
    lost = [in_the_window, before, after, (17_000, "s", of_one)]
    found = audited([each for each in ALL if each not in lost], death)
    assert found.excused == 1
    assert sorted(found.missing) == sorted([before, after, (17_000, "s", of_one)])
    assert takeover_s(death, [FIRST, ALONE]) == 5.0


def test_diaries_that_contradict_each_other_are_found() -> None:
    note = {"what": "assignment", "number": 1, "boundary": 5, "epoch": 1, "config": "c", "members": ["one@1"]}
    findings = Findings()
    assignments([[note], [{**note, "config": "d"}]], findings)
    assignments([[note], [{**note, "number": 2}]], findings)
    forces = [[{"what": "in_force", "epoch": 1, "config": each}] for each in "cd"]
    assignments(forces, findings)
    assert len(findings.contradictions) == 3
