"""What a rollout reaches a node with: commands there, with the variables of the node and of one release filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hitless.change import Deadline, DeadlinePassed
from hitless.rollout.errors import Late, RolloutError, Unreachable
from hitless.rollout.executors import Executor, ExecutorError, Finished
from hitless.rollout.executors import Unreachable as NodeUnreachable
from hitless.rollout.inventory import Node
from hitless.rollout.template import filled, filled_all

SHOWN: Final = 400
"""Characters of a command's words that a message holds: the last ones say what went wrong."""


@dataclass(frozen=True, slots=True)
class Hand:
    """One node, one release, and the executor."""

    node: Node
    values: Mapping[str, str]
    executor: Executor

    def text(self, text: str) -> str:
        return filled(text, self.values)

    async def run(
        self, command: Sequence[str], deadline: Deadline, *, env: Mapping[str, str] | None = None
    ) -> Finished:
        """The command's end, whatever it exited with.

        Raises:
            Unreachable: the node does not answer.
            Late: the command had not ended at the deadline; it was ended.
            RolloutError: it cannot be run there.
        """
        words = filled_all(command, self.values)
        given = {name: self.text(value) for name, value in (env or {}).items()}
        try:
            return await self.executor.run(self.node.target, words, deadline, env=given)
        except NodeUnreachable as error:
            raise Unreachable("node_unreachable", f"{self.node.name}: {error}") from error
        except ExecutorError as error:
            raise RolloutError(error.reason, f"{self.node.name}: {error}") from error
        except DeadlinePassed as error:
            raise Late(
                "command_late", f"{self.node.name}: {words[0]} had not ended after {error.seconds:g} s"
            ) from error

    async def do(
        self, command: Sequence[str], deadline: Deadline, *, env: Mapping[str, str] | None = None
    ) -> Finished:
        """The same for a command that must exit with 0. Raises RolloutError if it does not."""
        done = await self.run(command, deadline, env=env)
        if not done.ok:
            raise RolloutError(
                "command_failed",
                f"{self.node.name}: {' '.join(filled_all(command, self.values))} exited with {done.code}: {said(done)}",
            )
        return done


def said(done: Finished) -> str:
    """The end of what a command wrote, on one line."""
    text = " ".join((done.errors.strip() or done.output.strip()).split())
    return text[-SHOWN:] or "it said nothing"
