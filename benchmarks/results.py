"""A suite's result as a value, and the two files it becomes: JSON for machines, a Markdown table for
people."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Results:
    """Tables of one suite. The first keys of the rows, in order, are the columns of the Markdown tables."""

    suite: str
    about: str
    tables: Mapping[str, Sequence[Row]]
    skipped: Sequence[str] = ()
    details: Mapping[str, object] = field(default_factory=dict)
    """Raw figures, for the JSON only."""
    missed: Sequence[str] = ()
    """What is promised and was not held, a phrase each."""

    def write(self, folder: Path, *, machine: Mapping[str, str], command: str) -> list[Path]:
        """Write SUITE.json and SUITE.md; their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        whole = {
            "suite": self.suite,
            "measured": when,
            "command": command,
            "machine": dict(machine),
            "tables": {title: list(rows) for title, rows in self.tables.items()},
            "skipped": list(self.skipped),
            "details": dict(self.details),
        }
        files = [folder / f"{self.suite}.json", folder / f"{self.suite}.md"]
        files[0].write_text(json.dumps(whole, indent=1) + "\n")
        files[1].write_text(self.markdown(when=when, machine=machine, command=command))
        return files

    def markdown(self, *, when: str, machine: Mapping[str, str], command: str) -> str:
        facts = " · ".join(f"{name} {value}" for name, value in machine.items() if value)
        parts = [f"# {self.suite}\n\n{self.about}\n\nMeasured {when} by `{command}` on: {facts}."]
        parts += [f"## {title}\n\n{table(rows)}" for title, rows in self.tables.items()]
        if self.skipped:
            parts.append("Skipped: " + "; ".join(self.skipped) + ".")
        if self.missed:
            parts.append("**Missed: " + "; ".join(self.missed) + ".**")
        return "\n\n".join(parts) + "\n"


def reason(error: Exception) -> str:
    """An error in one line."""
    return (str(error) or type(error).__name__).splitlines()[0]


def table(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    if not rows:
        return "(nothing was measured)"
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(row.get(column, "")) for column in columns) + " |" for row in rows]
    return "\n".join(lines)
