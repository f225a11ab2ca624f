"""What a group of agents has done, held against what it should have: from the members' diaries and the samples that arrived.

Each resource is to be polled once in each tick. A sample may be missing only where the member that owned the resource in that tick
was dead or cut off; one too many is never excused, nor one by a configuration that was not in force.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from hitless.agent.definition import PollingSource
from hitless.agent.group.grid import Grid
from hitless.agent.group.member import Member
from hitless.agent.group.ring import ring_of
from hitless.agent.polling.discovery import LOCAL
from hitless.agent.polling.partition import static_group

FLUSH_MS: Final = 2000
"""Before a death: what was polled and not yet written."""
SHOWN: Final = 5

Poll = tuple[int, str, str]
"""Due time (ms), source, resource."""


@dataclass(frozen=True, slots=True)
class Absence:
    """A member that may have polled nothing from then on (Unix time), until it was given a share again in a new life, or came to
    itself in time.
    """

    name: str
    since: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Shares:
    """One assignment, as the members noted it."""

    number: int
    boundary: int
    epoch: int
    config: str
    members: tuple[str, ...]

    def owner(self, group_id: str, resource: str) -> str:
        members = tuple(Member(name=each.partition("@")[0], incarnation="") for each in self.members)
        found = ring_of(members).owner(f"{group_id}\0{resource}")
        return "" if found is None else found.name


@dataclass(slots=True)
class Findings:
    polls: int = 0
    missing: list[Poll] = field(default_factory=list)
    """Though their owner was there."""
    excused: int = 0
    """Missing, and their owner was gone."""
    doubled: list[Poll] = field(default_factory=list)
    stray: list[Poll] = field(default_factory=list)
    """By a configuration that was not in force, or at a time that is on no grid."""
    contradictions: list[str] = field(default_factory=list)
    """What two diaries say differently."""

    @property
    def failed(self) -> int:
        return len(self.missing) + len(self.doubled) + len(self.stray) + len(self.contradictions)

    def __str__(self) -> str:
        lists = ("missing", "doubled", "stray", "contradictions")
        told = (f"{len(getattr(self, each))} {each} {getattr(self, each)[:SHOWN]}" for each in lists)
        return f"{self.polls} polls, {self.excused} excused, " + ", ".join(told)


def diary(path: Path) -> list[Mapping[str, Any]]:
    """Notes of one member, oldest first."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def samples(paths: Iterable[Path]) -> Iterator[Poll]:
    """What file:// publishers have written; half a line at the end of a file was never written."""
    for path in paths:
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            at = datetime.fromisoformat(row["timestamp"]).timestamp()
            yield round(at * 1000), row["source"], row["resource_id"]


def assignments(diaries: Iterable[Sequence[Mapping[str, Any]]], findings: Findings) -> list[Shares]:
    """All that any member has noted, in order; what does not fit together is a finding."""
    found: dict[int, Shares] = {}
    configs: dict[int, str] = {}
    for note in (note for notes in diaries for note in notes):
        if note["what"] == "in_force" and configs.setdefault(note["epoch"], note["config"]) != note["config"]:
            findings.contradictions.append(
                f"epoch {note['epoch']} is {configs[note['epoch']]} and {note['config']}"
            )
        if note["what"] == "assignment":
            shares = Shares(
                note["number"], note["boundary"], note["epoch"], note["config"], tuple(note["members"])
            )
            if found.setdefault(shares.number, shares) != shares:
                findings.contradictions.append(f"{found[shares.number]} is also {shares}")
    ordered = [found[number] for number in sorted(found)]
    for one, two in pairwise(ordered):
        if one.boundary >= two.boundary or one.epoch > two.epoch:
            findings.contradictions.append(f"{two} comes after {one}")
    return ordered


def lapses(diaries: Iterable[Sequence[Mapping[str, Any]]]) -> list[Absence]:
    """What members say of themselves: that they were held up, or cut off, for longer than their leases."""
    found = []
    for note in (note for notes in diaries for note in notes):
        if note["what"] in ("lapsed", "lost"):
            until = note["at"] if note["what"] == "lapsed" else None
            found.append(Absence(note["member"].partition("@")[0], note["since"], until))
    return found


def audit(
    polls: Iterable[Poll],
    shares: Sequence[Shares],
    sources: Mapping[str, Mapping[str, PollingSource]],
    *,
    absences: Sequence[Absence] = (),
    until: float,
    findings: Findings,
) -> Findings:
    """`sources`: of each configuration, by its hash, each of one meter; one that is discovered is local, and has what is found as
    its resources. Ticks from the first assignment up to `until` (Unix time) are looked at."""
    end = int(until * 1000)
    counted = Counter(each for each in polls if each[0] < end)
    findings.polls = sum(counted.values())
    expected: set[Poll] = set()
    for number, each in enumerate(shares):
        stop = shares[number + 1].boundary if number + 1 < len(shares) else end
        for name, source in sources[each.config].items():
            group_id = LOCAL if source.discovery else static_group(source.resources)
            for due in _ticks(Grid.of(name, source), each.boundary, min(stop, end)):
                for resource in source.resources:
                    poll = (due, name, resource)
                    expected.add(poll)
                    if not counted[poll]:
                        owner = each.owner(group_id, resource)
                        if _is_absent(owner, due, shares[: number + 1], absences):
                            findings.excused += 1
                        else:
                            findings.missing.append(poll)
    findings.doubled += [each for each, times in counted.items() if times > 1]
    findings.stray += [each for each in counted if each not in expected]
    return findings


def _ticks(grid: Grid, start: int, stop: int) -> Iterator[int]:
    number = grid.at_or_after(start)
    while (due := grid.due(number)) < stop:
        yield due
        number += 1


def _is_absent(owner: str, due: int, past: Sequence[Shares], absences: Sequence[Absence]) -> bool:
    """Whether it was gone in that tick, and had not come back as somebody new since."""
    for absence in absences:
        since = absence.since * 1000 - FLUSH_MS
        if absence.name != owner or due < since:
            continue
        if absence.until is not None:
            if due <= absence.until * 1000:
                return True
            continue
        before = [each for each in past if each.boundary <= absence.since * 1000]
        lives_before = _lives(owner, before[-1:])
        if _lives(owner, past[-1:]) <= lives_before:
            return True
    return False


def _lives(owner: str, shares: Sequence[Shares]) -> set[str]:
    return {each for one in shares for each in one.members if each.partition("@")[0] == owner}


def takeover_s(absence: Absence, shares: Sequence[Shares]) -> float | None:
    """How long after it was gone others had its share; None if nobody has taken it."""
    since = absence.since * 1000
    lives = _lives(absence.name, [each for each in shares if each.boundary <= since][-1:])
    for each in shares:
        if each.boundary > since and not lives & set(each.members):
            return (each.boundary - since) / 1000
    return None
