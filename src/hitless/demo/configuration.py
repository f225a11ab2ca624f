"""volumes.toml, as an operator edits it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

Table = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the file says; an edit makes another one."""

    backends: Mapping[str, Table]
    copying: Table = field(default_factory=dict)
    top: Table = field(default_factory=dict)

    def but(
        self, *, copying: Table | None = None, top: Table | None = None, **backends: Table | None
    ) -> Configuration:
        """With these keys, and these backends; one that is None goes."""
        merged = {**self.backends, **backends}
        return replace(
            self,
            backends={name: each for name, each in merged.items() if each is not None},
            copying={**self.copying, **(copying or {})},
            top={**self.top, **(top or {})},
        )

    def text(self) -> str:
        tables = {f"backends.{name}": each for name, each in self.backends.items()} | {
            "copying": self.copying
        }
        lines = _lines(self.top)
        for name, table in tables.items():
            lines += ["", f"[{name}]", *_lines(table)]
        return "\n".join(lines) + "\n"

    def write(self, path: Path) -> None:
        """Replace the file whole, as an editor does."""
        new = path.with_name(f".{path.name}.new")
        new.touch(mode=0o600)
        new.write_text(self.text())
        new.replace(path)


def _lines(table: Table) -> list[str]:
    """As TOML; JSON writes numbers and plain text the same way."""
    return [f"{key} = {json.dumps(value)}" for key, value in table.items()]
