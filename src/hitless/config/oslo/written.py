"""What stands in a service's files, found by the names that an option has or had."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from oslo_config import cfg

from hitless.config.ini_lines import Entry, Lines
from hitless.config.oslo.options import section_name

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """The values of one option, and where the last of them stands."""

    texts: tuple[str, ...]
    where: str


class Files:
    """The lines of all files, in order. What was asked for is remembered: the rest nobody declared."""

    def __init__(self, files: Sequence[Lines]) -> None:
        self._files: Final[list[dict[tuple[str, str], Entry]]] = []
        self.sections: Final[dict[str, str]] = {}
        """Where each section begins, by name as oslo.config compares them."""
        self._asked: Final[set[tuple[str, str]]] = set()
        for lines in files:
            self._files.append(_normalised(lines))
            for name, where in lines.sections.items():
                self.sections.setdefault(section_name(name), where)

    def find(self, section: str, option: cfg.Opt) -> Written | None:
        """What is written for the option: in the last file that has it; for a MultiOpt, in all of them."""
        names = names_of(option, section)
        self._asked.update(names)
        found: list[tuple[tuple[str, str], Entry]] = []
        for entries in reversed(self._files):
            here = [(name, entries[name]) for name in names if name in entries]
            found = [*here, *found] if option.multi else here
            if found and not option.multi:
                break
        if not found:
            return None
        self._warn(found, names[0], option)
        texts = (
            tuple(text for _, entry in found for text in entry.texts)
            if option.multi
            else found[0][1].texts[-1:]
        )
        return Written(texts, found[-1 if option.multi else 0][1].where)

    def others(self) -> Iterator[tuple[str, str, Entry]]:
        """Everything that was not asked for: section, key, and its last entry."""
        merged = {name: entry for entries in self._files for name, entry in entries.items()}
        for (section, key), entry in merged.items():
            if (section, key) not in self._asked:
                yield section, key, entry

    def _warn(
        self, found: Sequence[tuple[tuple[str, str], Entry]], current: tuple[str, str], option: cfg.Opt
    ) -> None:
        for name, entry in found:
            if name != current:
                log.warning(
                    "%s: %s is deprecated; write %s in [%s]", entry.where, name[1], current[1], current[0]
                )
            elif option.deprecated_for_removal:
                log.warning(
                    "%s: %s will be removed; leave it out. %s",
                    entry.where,
                    name[1],
                    " ".join((option.deprecated_reason or "").split()),
                )


def names_of(option: cfg.Opt, section: str) -> list[tuple[str, str]]:
    """Section and key under which the option may stand, the current one first."""
    names = [(section, option.dest)]
    for old in option.deprecated_opts:
        if old.name or old.group:
            names.append((section_name(old.group) if old.group else section, old.name or option.dest))
    return list(dict.fromkeys(names))


def _normalised(lines: Lines) -> dict[tuple[str, str], Entry]:
    """By section name as oslo.config compares them; of two spellings, the one that is spelt so counts."""
    entries: dict[tuple[str, str], Entry] = {}
    for (section, key), entry in lines.entries.items():
        name = section_name(section)
        if name == section or (name, key) not in entries:
            entries[name, key] = entry
    return entries
