"""Every step up to a release, as plain data, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hitless.change import JSON
from hitless.schema.errors import SchemaError
from hitless.schema.phases import Phases
from hitless.schema.report import Phase
from hitless.schema.script import statements_of


@dataclass(frozen=True, slots=True)
class Step:
    phase: Phase
    name: str
    """The revision or data migration."""
    about: str
    statements: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        return {
            "phase": self.phase,
            "name": self.name,
            "about": self.about,
            "statements": list(self.statements),
        }


def steps_of(phases: Phases, release: str | None = None) -> tuple[Step, ...]:
    """What expand, migrate and contract would do now, in this order."""
    state = phases.status(release)
    steps = [*_revisions(phases, "expand", state.expand)]
    for name, waiting in state.pending.items():
        if waiting:
            steps.append(Step("migrate", name, "rows wait" if waiting is True else f"{waiting} rows wait"))
    steps += [Step("migrate", name, "asked after expand") for name in state.unknown]
    steps += _revisions(phases, "contract", state.contract)
    return tuple(steps)


def _revisions(phases: Phases, phase: Phase, ids: tuple[str, ...]) -> Iterator[Step]:
    for id_ in ids:
        try:
            statements = statements_of(phases.project, phases.database, id_)
        except SchemaError as error:
            statements = (f"-- {error.message}",)
        yield Step(phase, id_, phases.project.revisions[id_].about, statements)
