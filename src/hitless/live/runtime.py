"""The runtime: declarations, leases, and changes of one long-lived program. This is the face; the work is beside it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from types import FrameType
from typing import Any, Final, Generic, TypeVar, Unpack, cast, overload

from pydantic import BaseModel

from hitless.change import JSON, Event, Events, Outcome, Plan
from hitless.config import Source
from hitless.live.apps import AsgiApp, LiveAsgi, LiveWsgi, WsgiApp
from hitless.live.background import Background
from hitless.live.declaration import Declaration, Options, Place, Role, declare
from hitless.live.drains import Overdue
from hitless.live.errors import NotRunning
from hitless.live.graph import Graph
from hitless.live.hooks import Hook, When
from hitless.live.lease import NO_RUNTIME, Lease, Leases
from hitless.live.memo import Derived, maker_of, remembering
from hitless.live.service import Service
from hitless.live.snapshot import Snapshot
from hitless.live.timeouts import Limits
from hitless.live.triggers import Triggers
from hitless.notify import Sink

S = TypeVar("S", bound=BaseModel)
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

CACHE_SIZE: Final = 1024


class Runtime(Generic[S]):
    """Keeps the resources of a program as its settings want them, while they are used.

    1. Every action sees one generation: settings and resources that belong together.
    2. Only what reads something that changed is built, updated or closed.
    3. A change that fails changes nothing; the outcome says why.
    4. A resource is closed exactly once, when nobody uses it, after everything that was built with it.

    `name` is that of the control socket and the journal; without it there is no control socket, and the journal ends with
    the program. `overdue` says what becomes of leases that are held past `limits.drain_s`. `notify` are the sinks that are told
    when a change begins and how it ended.
    """

    def __init__(
        self,
        model: type[S],
        *,
        name: str | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        overdue: Overdue = "wait",
        notify: Sequence[Sink] = (),
    ) -> None:
        self.model: Final = model
        self.name: Final = name
        self.limits: Final = limits
        self.overdue: Final[Overdue] = overdue
        self.notify: Final = tuple(notify)
        self.events: Final = Events()
        self.leases: Final = Leases()
        self.declarations: Final[list[Declaration]] = []
        self.hooks: Final[list[Hook]] = []
        self.reports: Final[dict[str, Callable[[], JSON]]] = {}
        """What the program adds to its status, by name."""
        self.graph: Graph | None = None
        self._service: Service[S] | None = None

    # Declarations

    @overload
    def resource(self, maker: F, /) -> F: ...
    @overload
    def resource(self, **options: Unpack[Options]) -> Callable[[F], F]: ...
    def resource(self, *maker: Any, **options: Any) -> Any:
        """Declare a resource: a function or class, sync or async, or a generator that builds, yields and closes."""

        def decorate(maker: Callable[..., Any]) -> Any:
            self._declare(declare(maker, cast("Options", options), frame=_outside(sys._getframe(1))))
            return maker

        return decorate(*maker) if maker else decorate

    def derived(self, function: Callable[..., T]) -> Derived[T]:
        """Declare a value that is computed from settings and resources; call the result to have it."""
        self._declare(declare(function, {}, frame=sys._getframe(1), role=Role.DERIVED))
        return Derived(self.leases, function.__name__, function)

    @overload
    def cached(self, function: Callable[..., T], /) -> Callable[..., T]: ...
    @overload
    def cached(self, *, size: int = CACHE_SIZE) -> Callable[[Callable[..., T]], Callable[..., T]]: ...
    def cached(self, *function: Any, size: int = CACHE_SIZE) -> Any:
        """Keep the results of calls until something that the function reads has changed.

        Parameters that are settings or resources are given to it; the others are the caller's, and come first.
        """

        def decorate(function: Callable[..., Any]) -> Any:
            maker, frame = maker_of(function, size), _outside(sys._getframe(1))
            self._declare(declare(maker, {}, frame=frame, role=Role.CACHE, asks=function))
            return remembering(self.leases, function.__name__, function)

        return decorate(*function) if function else decorate

    def on_change(self, *paths: str, when: When = "commit") -> Callable[[F], F]:
        """Call the function with the old and the new settings when one of the paths (or anything) differs.

        In `prepare` it may refuse, by raising; after `commit` it may not.
        """

        def decorate(function: F) -> F:
            self.hooks.append(Hook(function, paths, when, Place.of(sys._getframe(1))))
            return function

        return decorate

    def _declare(self, declaration: Declaration) -> None:
        if self._service is not None:
            raise NotRunning(f"{declaration} is declared too late: the runtime has been started")
        self.declarations.append(declaration)

    # Use

    @overload
    def lease(self) -> Lease[Snapshot[S]]: ...
    @overload
    def lease(self, resource: type[T], key: str | None = None) -> Lease[T]: ...
    @overload
    def lease(self, resource: str | Callable[..., object], key: str | None = None) -> Lease[Any]: ...
    def lease(self, resource: Any = None, key: str | None = None) -> Lease[Any]:
        """Use a resource, by type, name, or the function that makes it; or the whole generation: `lease()`.

        Raises:
            UnknownResource: nothing like it was declared.
        """
        if resource is None:
            return Lease(self.leases, None)
        return Lease(self.leases, (self._name_of(resource), key))

    def action(self, name: str, resource: Any = None, key: str | None = None) -> Lease[Any]:
        """In-progress work: a lease that is counted and shown by `name`. Without a resource it may use all of them."""
        return Lease(self.leases, None if resource is None else (self._name_of(resource), key), name)

    @property
    def settings(self) -> S:
        """The settings of the generation of the innermost lease, or of the current one."""
        found: S = self.leases.seen().settings
        return found

    @property
    def generation(self) -> int:
        """The number of the generation that new leases get."""
        current = self.leases.current
        return current.number if current is not None else 0

    @property
    def hashes(self) -> tuple[str | None, str | None]:
        """Of the settings that are in force, and of those that were asked for last. They differ after a refusal."""
        if self._service is None:
            return None, None
        applied = self._service.applied
        return None if applied is None else applied.hash, self._service.attempted_hash

    def _name_of(self, resource: Any) -> str:
        if self.graph is None:
            raise NotRunning(NO_RUNTIME)
        return self.graph.name_of(resource)

    # Life

    async def start(
        self,
        *sources: Source,
        settings: S | None = None,
        triggers: Triggers = Triggers(),  # noqa: B008 - frozen
    ) -> Outcome:
        """Build the first generation from the sources, or from `settings`.

        Raises:
            DeclarationError: the declarations do not fit together, or the settings model.
            StartFailed: the settings are not valid, or something could not be built.
        """
        if self._service is not None:
            raise NotRunning("the runtime has been started already; a stopped one is not started again")
        self.graph = Graph(self.model, self.declarations)
        self._service = Service(self, self.graph, sources, triggers)
        return await self._service.start(settings)

    async def stop(self) -> None:
        """Take no more changes, let leases end within `limits.drain_s`, close everything."""
        await self._at_home(self._running().stop())

    def run_in_thread(
        self,
        *sources: Source,
        settings: S | None = None,
        triggers: Triggers = Triggers(),  # noqa: B008 - frozen
    ) -> Background:
        """For programs without an event loop: start in a thread of its own, and return when the first generation serves.

        Raises: as `start`.
        """
        background = Background(
            lambda: self.start(*sources, settings=settings, triggers=triggers), self.stop, self._forget_hangup
        )
        if triggers.sighup and self._running().host is None:
            self._running().hangup.install()  # here: the thread of the loop cannot take signals
        return background

    def _forget_hangup(self) -> None:
        self._running().hangup.uninstall()

    def asgi(
        self,
        app: AsgiApp,
        *sources: Source,
        triggers: Triggers = Triggers(),  # noqa: B008 - frozen
    ) -> LiveAsgi:
        """The ASGI application with this runtime around it: it starts and stops with the lifespan, and each HTTP request
        sees one generation.
        """
        return LiveAsgi(self, app, sources, triggers)

    def wsgi(
        self,
        app: WsgiApp,
        *sources: Source,
        triggers: Triggers = Triggers(),  # noqa: B008 - frozen
    ) -> LiveWsgi:
        """The WSGI application with this runtime around it: it starts and stops with each worker of `hitless serve`, or with
        the first request elsewhere, and each request sees one generation.
        """
        return LiveWsgi(self, app, sources, triggers)

    async def reload(self, settings: S | None = None, *, requested_by: str = "a call") -> Outcome:
        """Read the sources again (or take `settings`) and change what differs.

        Raises:
            ChangeInProgress: another change is being made.
        """
        return await self._at_home(self._running().reload(settings, requested_by=requested_by))

    async def rollback(self, *, requested_by: str = "a call") -> Outcome:
        """Back to the settings before the current ones. Raises ChangeInProgress."""
        return await self._at_home(self._running().rollback(requested_by=requested_by))

    def reload_sync(self, settings: S | None = None, *, requested_by: str = "a call") -> Outcome:
        """As `reload`, from a thread without an event loop."""
        return self._running().from_thread(self.reload(settings, requested_by=requested_by))

    def rollback_sync(self, *, requested_by: str = "a call") -> Outcome:
        """As `rollback`, from a thread without an event loop."""
        return self._running().from_thread(self.rollback(requested_by=requested_by))

    def plan(self, settings: S) -> Plan:
        """What putting these settings in force would build, update, keep and close, and why. Nothing moves.

        Raises:
            Refused: it must not be done.
        """
        return self._running().plan(settings)

    async def drained(self) -> None:
        """Wait until no replaced generation is in use any more. Bound it with a deadline."""
        await self._at_home(self._running().drained())

    def subscribe(self, subscriber: Callable[[Event], None]) -> Callable[[], None]:
        """Call `subscriber` with every event, in the runtime's thread; the returned function ends that."""
        return self.events.subscribe(subscriber)

    def _running(self) -> Service[S]:
        if self._service is None:
            raise NotRunning(NO_RUNTIME)
        return self._service

    async def _at_home(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the runtime's loop, which may be another one than the caller's."""
        home = self._running().loop
        if asyncio.get_running_loop() is home:
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, home))


def _outside(frame: FrameType | None) -> FrameType:
    """The frame of the program that declares."""
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    assert frame is not None
    return frame
