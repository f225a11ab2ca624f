"""Instances that are reloaded, restarted or silent while one of their servers drains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from hitless.change import Deadline
from hitless.change.process import identity, is_alive
from hitless.rollout.balancers.errors import BalancerError, BalancerUnreachable
from hitless.rollout.balancers.haproxy_instance import Look


class Restarts:
    """Of one drain. The new process does not know of the drain, nor does it count the old one's sessions."""

    def __init__(self, server: str, told: Callable[[str], None], silent_s: float) -> None:
        self._server: Final = server
        self._told: Final = told
        self._silent_s: Final = silent_s
        self._pids: dict[str, int] = {}
        self._identities: dict[str, str | None] = {}
        self._leaving: dict[str, str] = {}
        self._silent: Deadline | None = None
        self._restarted: set[str] = set()

    @property
    def is_anybody_left(self) -> bool:
        """Whether a process that was replaced may still have sessions."""
        self._leaving = {name: who for name, who in self._leaving.items() if is_alive(who)}
        return bool(self._leaving)

    def seen(self, looks: Mapping[str, Look]) -> set[str]:
        """The instances that are new since the drain was last confirmed.

        Raises:
            BalancerError: the sessions of an old process cannot be seen.
        """
        if self._silent is not None:
            self._told(f"all instances answer again; {self._server} drains on")
            self._silent = None
        for name, look in looks.items():
            before = self._pids.get(name)
            self._pids[name] = look.pid
            if before is not None and before != look.pid:
                self._restarted.add(name)
                self._replaced(name, look)
            self._identities[name] = _haproxy(name, look.pid)
        return self._restarted

    def confirm(self) -> None:
        """The drain holds at all of them."""
        self._restarted = set()

    def silence(self, error: BalancerUnreachable) -> None:
        """An instance does not answer, which it may while it restarts.

        Raises:
            BalancerUnreachable: it has not for too long.
        """
        if self._silent is None:
            self._silent = Deadline.after(self._silent_s)
            self._told(f"{error}; {self._server} drains on")
        elif self._silent.expired:
            raise error

    def _replaced(self, name: str, look: Look) -> None:
        who = self._identities.get(name)
        self._told(
            f"haproxy at {name} was reloaded or restarted while {self._server} drained; it drains there again"
        )
        if look.is_whole:
            return  # the master shows what the old process still has
        if who is None:
            raise BalancerError(
                f"haproxy at {name} was reloaded or restarted while {self._server} drained, and the sessions of its old"
                " process cannot be seen; drain it again, and name its master socket to have them counted"
            )
        if is_alive(who):
            self._leaving[name] = who


def _haproxy(name: str, pid: int) -> str | None:
    """Which process it is, if it runs on this machine and where we can see it."""
    if name.startswith("tcp://"):
        return None
    try:
        command = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None
    return identity(pid) if command == "haproxy" else None
