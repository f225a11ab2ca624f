"""Leases: who uses what. A lease keeps its generation, and with it every resource of it, from being closed.

A lease taken inside another one, in the same task, in a child task or in a thread that got the context, is on the same
generation, whatever has been committed since. When the outer lease has ended, it is on the current one.

This is the hot path: one short lock, slots, no generator, nothing computed that only a report needs.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import CodeType, TracebackType
from typing import Any, Final, Generic, TypeVar

from hitless.live.errors import NotRunning, WouldBlock
from hitless.live.gate import Gate
from hitless.live.node import NodeId
from hitless.live.snapshot import Snapshot

T_co = TypeVar("T_co", covariant=True)

NO_RUNTIME: Final = (
    "the runtime is not running; start it first: await runtime.start(…), or runtime.run_in_thread(…)"
)


class Leases:
    """The generations that are in use, and the one lock that leases and commits share."""

    __slots__ = ("current", "gate", "generations", "innermost", "lock")

    def __init__(self) -> None:
        # Re-entrant, because a signal handler may take a lease between any two instructions of a thread that holds it.
        self.lock: Final = threading.RLock()
        self.current: Snapshot[Any] | None = None
        self.generations: list[Snapshot[Any]] = []
        """The current one and those that still drain, oldest first."""
        self.gate: Gate | None = None
        """Holds back new users of what is being replaced; None but for moments."""
        self.innermost: Final[ContextVar[Lease[Any] | None]] = ContextVar("lease", default=None)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """In this block there is no lease: what runs because of it is part of nobody's action."""
        token = self.innermost.set(None)
        try:
            yield
        finally:
            self.innermost.reset(token)

    def seen(self) -> Snapshot[Any]:
        """The generation of the innermost lease, or the current one. Raises NotRunning."""
        lease = self.innermost.get()
        found = (lease.generation if lease is not None else None) or self.current
        if found is None:
            raise NotRunning(NO_RUNTIME)
        return found


class Lease(Generic[T_co]):
    """`with lease as driver:` or `async with lease as driver:`, once.

    Raises (from both):
        NotRunning: the runtime is not started, or stopped.
        UnknownResource: this generation has no such instance.
        Replaced: it was stopped for its successor while the outer lease, which had not named it, went on.
        QueueFull: too many wait for its successor already.
        DeadlinePassed: its successor did not come in time.
    """

    __slots__ = ("_code", "_instruction", "_leases", "action", "generation", "id", "outer", "since")

    def __init__(
        self, leases: Leases, node_id: tuple[str, str | None] | None, action: str | None = None
    ) -> None:
        frame = sys._getframe(2)
        self._leases = leases
        # Not the line: to find it the interpreter reads a table, which takes as long as all the rest.
        self._code: CodeType = frame.f_code
        self._instruction = frame.f_lasti
        self.id = node_id
        """What it is for; None for the generation as a whole."""
        self.action = action
        self.outer: Lease[Any] | None = None
        self.generation: Snapshot[Any] | None = None
        """The generation that it keeps; None before and after."""

    @property
    def settings(self) -> Any:
        """The settings of its generation. Raises NotRunning outside of the with block."""
        if self.generation is None:
            raise NotRunning("this lease is not held; read its settings inside of its with block")
        return self.generation.settings

    @property
    def where(self) -> str:
        """File and line at which it was taken."""
        line = next(
            (at for begin, end, at in self._code.co_lines() if begin <= self._instruction < end), None
        )
        return f"{self._code.co_filename}:{line or self._code.co_firstlineno}"

    @property
    def what(self) -> str:
        """What it is for, for people."""
        what = "the generation" if self.id is None else str(NodeId(*self.id))
        return f"{self.action} ({what})" if self.action is not None else what

    def __enter__(self) -> T_co:
        if self.generation is not None:
            raise RuntimeError(f"the lease of {self.what} is held already; take another one")
        leases = self._leases
        outer = leases.innermost.get()
        with leases.lock:
            gate = leases.gate
            if gate is None or not gate.holds_back(self.id, outer):
                generation = (outer.generation if outer is not None else None) or leases.current
                if generation is None:
                    raise NotRunning(NO_RUNTIME)
                found: Any = generation
                if self.id is not None:
                    instance = generation.instances.get(self.id)
                    if instance is None:
                        raise generation.missing(NodeId(*self.id))
                    found = instance.object
                generation.held.add(self)
                gate = None
        if gate is not None:
            gate.wait()
            return self.__enter__()
        self.generation = generation
        self.outer = outer
        self.since = time.monotonic()
        leases.innermost.set(self)
        return found  # type: ignore[no-any-return]

    async def __aenter__(self) -> T_co:
        while True:
            gate = self._leases.gate
            if gate is not None and gate.holds_back(self.id, self._leases.innermost.get()):
                await gate.wait_async()
            try:
                return self.__enter__()
            except WouldBlock:  # the runtime's thread has closed a gate since
                continue

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        generation, leases = self.generation, self._leases
        assert generation is not None, "a lease is left once"
        # In this order: whoever sees a generation here, under the lock, finds it still held.
        self.generation = None
        leases.innermost.set(self.outer)
        self.outer = None
        with leases.lock:
            generation.held.discard(self)
            wake = generation.wake
            if wake is None or (generation.held and not generation.watchers):
                return
        wake()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)
