"""What a rollout asks of whatever runs commands on nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

from hitless.change import Deadline

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Target:
    """A node, as far as running commands there goes."""

    name: str
    address: str
    """A host name, or an address; what `ssh` is given."""
    user: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    """The executor's own, such as `port`; each executor refuses those that it does not know."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that was run to its end, whatever it exited with."""

    code: int
    """Its exit code; 128 + N if signal N ended it."""
    output: str
    errors: str
    """Both are text; of a lot of it only the beginning and the end are kept, with a line between that says how much is
    missing."""

    @property
    def ok(self) -> bool:
        return self.code == 0


class Executor(Protocol):
    """Runs commands on nodes, many at once."""

    async def run(
        self,
        node: Target,
        command: Sequence[str],
        deadline: Deadline,
        *,
        env: Mapping[str, str] = NOTHING,
        stdin: bytes | None = None,
    ) -> Finished:
        """Run the words of `command` (no shell takes them apart) with `env` added to the environment, and `stdin` or
        nothing to read.

        Cancelling ends the command and what it has started.

        Raises:
            Unreachable: nobody can say whether the node would run it; it was not begun, or the connection broke
                (`was_begun`).
            NotRun: the node answers, and the command cannot be begun there (no such program, no permission).
            DeadlinePassed: it did not end in time. It and what it has started were ended first, as far as the
                node could still be reached.
        """

    async def aclose(self) -> None:
        """End what still runs, and close connections."""
