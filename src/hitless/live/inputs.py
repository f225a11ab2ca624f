"""What a resource can ask for: markers for the annotations of its parameters.

def driver(
    url: Annotated[str, Setting("database.url")],     one setting, or a whole table of them
    limits: Limits,                                   the table of settings of this model
    pool: Pool,                                       the resource of this type
    audit: Annotated[Log, Needs("audit")],            the resource of this name
    backend: Annotated[Backend, Each()],              with per="backends": the value of this instance's key
    name: Annotated[str, EachKey()],                  with per="backends": the key itself
    drivers: Mapping[str, Driver],                    all instances of a resource that has `per`, by key
)
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Setting:
    """The setting at a dotted path. The resource is rebuilt (or updated) when its value is another one."""

    path: str


@dataclass(frozen=True, slots=True)
class Needs:
    """A resource by name; by type where `name` is None.

    Of a resource that has `per`, `key` says which instance, or `key_from` the setting that holds its key:
    a dotted path, or `each.…` for one beside the instance's own settings. Without a value there the
    parameter is None.
    """

    name: str | None = None
    key: str | None = None
    key_from: str | None = None


@dataclass(frozen=True, slots=True)
class Each:
    """The value in the mapping that `per` names."""


@dataclass(frozen=True, slots=True)
class EachKey:
    """The key in the mapping that `per` names."""


Marker = Setting | Needs | Each | EachKey
