"""What a run was asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.peers import PEERS, Peer


@dataclass(frozen=True, slots=True)
class Options:
    """Shared by all suites; a suite uses what concerns it."""

    python: str
    """The interpreter that has the peers."""
    only: tuple[str, ...] = ()
    """Names (or beginnings of names) of the peers to run; empty for all."""
    rounds: int = 5
    seconds: float = 5.0
    reloads: int = 5
    workers: tuple[int, ...] = (1, 2)
    import_s: float = 1.0
    reload_workers: int = 2
    rows: int = 5_000_000
    databases: tuple[str, ...] = ("sqlite", "mariadb", "postgres")
    note: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)

    def peers(self, suite: str, skipped: list[str]) -> Iterator[Peer]:
        """Those to run in `suite`; one that this machine lacks is said, and added to `skipped`."""
        for peer in PEERS:
            if suite not in peer.suites or (self.only and not peer.name.startswith(self.only)):
                continue
            lacks = peer.lacks(self.python)
            if lacks is None:
                yield peer
            else:
                self.note(f"{suite}: {peer.name} is skipped: {lacks}")
                skipped.append(f"{peer.name} ({lacks})")
