"""The options of a service, by section, as its libraries list them for oslo.config."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from os import PathLike
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from oslo_config import cfg
from pydantic import BaseModel

from hitless.config.ini_lines import DEFAULT_SECTION

if TYPE_CHECKING:
    from hitless.config.oslo.file import OsloFile

Reload: TypeAlias = Literal["live", "restart"]
"""Whether a changed option can be put in force in the running process."""
Listed: TypeAlias = Iterable[tuple[str | cfg.OptGroup | None, Iterable[cfg.Opt]]]
"""As the functions behind the entry points `oslo.config.opts` return it."""
Options: TypeAlias = Mapping[str, cfg.Opt]
"""By dest: the name with `_` for `-`, which is also what stands in the file."""

LISTS: Final = "oslo.config.opts"
DEFAULTS: Final = "oslo.config.opts.defaults"


class OsloOptionsError(Exception):
    """The option definitions cannot be had, or do not fit together."""


@dataclass(frozen=True, slots=True)
class Backends:
    """Sections that are named by an option, with the same options in each: `enabled_backends = lvm-1,nfs-1`.

    `options` is the section of which each of them has the options (Cinder's `backend_defaults`), or the options themselves. What
    stands in that section holds for every backend that does not say otherwise, as in Cinder.
    """

    options: str | Sequence[cfg.Opt]
    listed_in: str = "enabled_backends"
    """An option of [DEFAULT]: a list of names, or of `name:type` pairs as in Glance."""
    field: str = "backends"
    """The setting that holds them, by name."""


@dataclass(frozen=True, slots=True)
class OsloOptions:
    """What can stand in a service's file. `model` and `file` are made from it.

    Options that are declared `mutable` are put in force in the running process, the others by a new one; `live` and `restart` say
    otherwise for options or whole sections, dotted: `"database"`, `"debug"`, `"backends"`. Sections in `ignore` may hold anything.
    """

    sections: Mapping[str, Options]
    """By name in lower case, but for DEFAULT."""
    backends: Backends | None = None
    live: Collection[str] = ()
    restart: Collection[str] = ()
    ignore: Collection[str] = ()
    fields: Mapping[str, str] = field(init=False, repr=False)
    """The setting that holds each section."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", {name: field_name(name) for name in self.sections})
        self._check()

    @classmethod
    def of(
        cls,
        listed: Listed,
        *,
        backends: Backends | None = None,
        live: Collection[str] = (),
        restart: Collection[str] = (),
        ignore: Collection[str] = (),
    ) -> OsloOptions:
        """From lists of options. Where an option is listed twice, the first counts.

        Raises:
            OsloOptionsError: two settings would have the same name.
        """
        sections: dict[str, dict[str, cfg.Opt]] = {DEFAULT_SECTION: {}}
        for group, options in listed:
            name = group.name if isinstance(group, cfg.OptGroup) else group
            section = sections.setdefault(section_name(name), {})
            for option in options:
                section.setdefault(option.dest, option)
        return cls(
            sections, backends, tuple(live), tuple(restart), tuple(section_name(each) for each in ignore)
        )

    @classmethod
    def of_namespaces(
        cls,
        *namespaces: str,
        backends: Backends | None = None,
        live: Collection[str] = (),
        restart: Collection[str] = (),
        ignore: Collection[str] = (),
    ) -> OsloOptions:
        """From the entry points that `oslo-config-generator` reads: `"cinder", "oslo.db", "oslo.log"`.

        As there, the packages may first set other defaults for the options of their libraries.

        Raises:
            OsloOptionsError: a namespace is not installed, or two settings would have the same name.
        """
        found = [_entry_point(name) for name in namespaces]
        for each in entry_points(group=DEFAULTS):
            if each.name in namespaces:
                each.load()()
        listed = [item for each in found for item in each.load()()]
        return cls.of(listed, backends=backends, live=live, restart=restart, ignore=ignore)

    def model(self, name: str = "Settings") -> type[BaseModel]:
        """A frozen model with the options of [DEFAULT] at the top, and a table for each section."""
        from hitless.config.oslo.model import settings_model

        return settings_model(self, name)

    def file(
        self,
        *paths: str | PathLike[str],
        directory: str | PathLike[str] | None = None,
        allow_writable: bool = False,
    ) -> OsloFile:
        """The service's files, as with `--config-file` (later ones win), and after them the `*.conf` of `directory`."""
        from hitless.config.oslo.file import OsloFile

        return OsloFile(self, paths, directory, allow_writable)

    def of_each_backend(self) -> Options:
        """The options that each backend's section may hold."""
        if self.backends is None:
            return {}
        if isinstance(self.backends.options, str):
            return self.sections[section_name(self.backends.options)]
        return {option.dest: option for option in self.backends.options}

    def reload_of(self, path: str, option: cfg.Opt) -> Reload:
        """How a change of the setting at the dotted path is put in force."""
        return self._said(path) or ("live" if option.mutable else "restart")

    def reload_of_backends(self) -> Reload:
        """How a backend that is new or gone is."""
        return (None if self.backends is None else self._said(self.backends.field)) or "restart"

    def _said(self, path: str) -> Reload | None:
        """What was said of the setting, or of the nearest section above it."""
        for length in range(path.count(".") + 1, 0, -1):
            above = ".".join(path.split(".")[:length])
            if above in self.restart:
                return "restart"
            if above in self.live:
                return "live"
        return None

    def _check(self) -> None:
        tops = [
            *self.sections[DEFAULT_SECTION],
            *(self.fields[each] for each in self.sections if each != DEFAULT_SECTION),
        ]
        if self.backends is not None:
            tops.append(self.backends.field)
            shared = self.backends.options
            if isinstance(shared, str) and section_name(shared) not in self.sections:
                raise OsloOptionsError(
                    f"backends: there is no section [{shared}] whose options they could have"
                )
        twice = sorted({each for each in tops if tops.count(each) > 1})
        if twice:
            raise OsloOptionsError(
                f"two options or sections are called {', '.join(twice)}; leave one of them out"
            )


def section_name(name: str | None) -> str:
    """As oslo.config compares them."""
    return DEFAULT_SECTION if name is None or name.upper() == DEFAULT_SECTION else name.lower()


def field_name(section: str) -> str:
    """The setting that holds a section: sections may have dashes and dots, settings may not."""
    return re.sub(r"\W", "_", section).lstrip("_")


def _entry_point(name: str) -> EntryPoint:
    known = {each.name: each for each in entry_points(group=LISTS)}
    if name in known:
        return known[name]
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else "; is its package installed here?"
    raise OsloOptionsError(f"no installed package lists options as {name}{hint}")
