"""Options that a running process cannot take in: changing them means new processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from hitless.config.keys import KeyPath, dotted
from hitless.config.schema import item_of, section_of, strip

How = Literal["live", "restart"]


@dataclass(frozen=True, slots=True)
class Reload:
    """How a change of an option takes effect: `Annotated[int, Reload("restart")]`.

    `live` (what every option is that says nothing) or `restart`: only in a new process. On a table it holds for everything
    in it that does not say otherwise. `Field(json_schema_extra={"reload": "restart"})` says the same.
    """

    how: How


def restarting(model: type[BaseModel], paths: Iterable[KeyPath]) -> tuple[str, ...]:
    """Those of the settings, by dotted key, that need a new process."""
    return tuple(dotted(path) for path in paths if _how(model, path) == "restart")


def _how(model: type[BaseModel], path: KeyPath) -> How:
    """What the innermost mark on the way says."""
    found: How = "live"
    annotation: Any = model
    for part in path:
        section = section_of(annotation)
        if section is not None and part in section.model_fields:
            info = section.model_fields[str(part)]
            extra = info.json_schema_extra
            said = extra.get("reload") if isinstance(extra, Mapping) else None
            found = "restart" if said == "restart" else "live" if said == "live" else found
            annotation, marks = strip(info.annotation, tuple(info.metadata))
        else:
            annotation, marks = strip(item_of(annotation))
        for mark in marks:
            if isinstance(mark, Reload):
                found = mark.how
    return found
