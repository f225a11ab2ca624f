"""Processes of a container as the host's kernel shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
SHELLS: Final = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "busybox"})
INITS: Final = frozenset(
    {
        "tini",
        "docker-init",
        "dumb-init",
        "catatonit",
        "podman-init",
        "systemd",
        "init",
        "s6-svscan",
        "runit",
        "runsvdir",
    }
)


@dataclass(frozen=True, slots=True)
class Process:
    """One process at one moment."""

    pid: int
    name: str
    command: tuple[str, ...]
    state: str
    caught: int
    """Bit n-1 is set if signal n has a handler."""
    ignored: int
    children: tuple[int, ...]

    @classmethod
    def read(cls, pid: int) -> Process | None:
        """The process of this id in our namespace, or None if there is none (an engine elsewhere, or it has ended)."""
        folder = PROC / str(pid)
        try:
            status = dict(
                line.split(":\t", 1) for line in (folder / "status").read_text().splitlines() if ":\t" in line
            )
            words = (folder / "cmdline").read_bytes().split(b"\0")
            children = [
                int(child)
                for task in (folder / "task").iterdir()
                for child in (task / "children").read_text().split()
            ]
        except (OSError, ValueError):
            return None
        return cls(
            pid=pid,
            name=status.get("Name", ""),
            command=tuple(word.decode(errors="replace") for word in words if word),
            state=status.get("State", "?")[:1],
            caught=int(status.get("SigCgt", "0"), 16),
            ignored=int(status.get("SigIgn", "0"), 16),
            children=tuple(children),
        )

    @property
    def is_shell(self) -> bool:
        """Whether it is a shell with a script of its own (`sh -c …`)."""
        return self._program in SHELLS and any(
            word.startswith("-") and "c" in word for word in self.command[1:3]
        )

    @property
    def is_init(self) -> bool:
        return self._program in INITS or self.name in INITS

    def handles(self, number: int) -> bool:
        return bool(self.caught >> (number - 1) & 1)

    def dead_children(self) -> int:
        """How many of its children have ended and were not waited for."""
        found = (Process.read(child) for child in self.children)
        return sum(1 for child in found if child is not None and child.state == "Z")

    @property
    def _program(self) -> str:
        return Path(self.command[0]).name if self.command else self.name
