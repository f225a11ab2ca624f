"""What is so now: nodes, balancers and database as they answer when they are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from hitless.change import Deadline
from hitless.rollout.balancers import ServerState
from hitless.rollout.data import Data, Known
from hitless.rollout.errors import RolloutError
from hitless.rollout.executors import Executor
from hitless.rollout.hand import Hand
from hitless.rollout.inventory import Node
from hitless.rollout.nodes import Process
from hitless.rollout.probe import Answer, Probes
from hitless.rollout.reading import Rollout
from hitless.rollout.state import Seen, Traffic
from hitless.rollout.traffic import Balancers, together
from hitless.schema import State

LOOKS: Final = 64
"""Nodes that are looked at at once."""


@dataclass(frozen=True, slots=True)
class Survey:
    """One look at everything. What could not be looked at is in `errors`, by what it is."""

    seen: Mapping[str, Seen]
    health: Mapping[str, Answer]
    """Of every node that runs something."""
    servers: Mapping[str, Mapping[str, ServerState]]
    """Of every balancer."""
    state: State | None
    known: Known | None
    errors: Mapping[str, RolloutError]


class World:
    """Looks at the nodes of a rollout; changes nothing."""

    def __init__(
        self, rollout: Rollout, *, process: Process, probes: Probes, balancers: Balancers, executor: Executor, data: Data | None
    ) -> None:  # fmt: skip
        self.rollout: Final = rollout
        self.process: Final = process
        self.probes: Final = probes
        self.balancers: Final = balancers
        self.data: Final = data
        self._executor: Final = executor
        self._few: Final = asyncio.Semaphore(LOOKS)

    def hand(self, node: Node, release: str | None = None) -> Hand:
        values = self.rollout.values(node, release or self.rollout.release)
        return Hand(node, values, self._executor)

    def deadline(self) -> Deadline:
        """For one look."""
        return Deadline.after(self.rollout.settings.deadlines.observe)

    async def look(self, node: Node, traffic: Mapping[str, Traffic] | None = None) -> Seen:
        """One node. Raises RolloutError if it, or a balancer, cannot be asked."""
        deadline = self.deadline()
        hand = self.hand(node)
        if traffic is None and self.balancers.are_any:
            traffic = await self.balancers.traffic(deadline)
        async with self._few:
            gone = await self.process.gone(hand, deadline)
            version = await self.probes.version(hand, deadline)
            # What answers is there, whatever a command says that looks for it in the wrong place.
            is_gone = gone.is_gone and not version.ok
            installed = await self.process.installed(hand, deadline) if is_gone else None
        return Seen(
            node=node.name,
            is_gone=is_gone,
            release=self._release(version.value) if version.ok else None,
            installed=self._release(installed) if installed is not None else None,
            traffic=(traffic or {}).get(node.server) if self.balancers.are_any else None,
            why="" if version.ok else version.value,
        )

    async def gone(self, node: Node) -> tuple[bool, str]:
        """Whether nothing of the service is left there, and what was found. What answers is there, whatever a command says that
        looks for it in the wrong place."""
        hand, deadline = self.hand(node), self.deadline()
        gone = await self.process.gone(hand, deadline)
        if not gone.is_gone:
            return False, gone.why
        version = await self.probes.version(hand, deadline)
        if not version.ok:
            return True, gone.why
        return (
            False,
            f"it answers that it runs {version.value}, and what looks for its processes says: {gone.why}",
        )

    async def survey(self) -> Survey:
        """Everything; raises nothing."""
        errors: dict[str, RolloutError] = {}
        servers: Mapping[str, Mapping[str, ServerState]] = {}
        try:
            servers = await self.balancers.servers(self.deadline())
        except RolloutError as error:
            errors["balancers"] = error
        traffic = together(list(servers.values()))
        found = dict(
            await asyncio.gather(
                *(self._surveyed(node, traffic, errors) for node in self.rollout.nodes.values())
            )
        )
        state, known = await self._database(errors)
        seen = {name: each[0] for name, each in found.items() if each is not None}
        health = {name: each[1] for name, each in found.items() if each is not None and each[1] is not None}
        return Survey(seen, health, servers, state, known, errors)

    async def healthy(self, nodes: Iterable[Node]) -> dict[str, Answer]:
        """One probe of each."""
        nodes = list(nodes)
        answers = await asyncio.gather(*(self._healthy(node) for node in nodes))
        return {node.name: answer for node, answer in zip(nodes, answers, strict=True)}

    async def _surveyed(
        self, node: Node, traffic: Mapping[str, Traffic], errors: dict[str, RolloutError]
    ) -> tuple[str, tuple[Seen, Answer | None] | None]:
        try:
            seen = await self.look(node, traffic)
            return node.name, (seen, None if seen.is_gone else await self._healthy(node))
        except RolloutError as error:
            errors[node.name] = error
            return node.name, None

    async def _healthy(self, node: Node) -> Answer:
        async with self._few:
            try:
                return await self.probes.healthy(self.hand(node), self.deadline())
            except RolloutError as error:
                return Answer(False, error.message)

    async def _database(self, errors: dict[str, RolloutError]) -> tuple[State | None, Known | None]:
        if self.data is None:
            return None, None
        try:
            return await self.data.state(), await self.data.known()
        except RolloutError as error:
            errors["database"] = error
            return None, None

    def _release(self, version: str) -> str:
        """The release whose nodes say this; what they say, if it is none that is listed."""
        return self.rollout.release_of(version) or version
