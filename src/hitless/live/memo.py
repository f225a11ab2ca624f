"""Values that are computed from settings and resources: derived ones, and results of calls that are kept.

Each is a resource of its own: a new one is made exactly when something that it reads has changed, so nobody has to remember
to flush it.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, ParamSpec, TypeVar, cast

from hitless.live.lease import Lease, Leases

P = ParamSpec("P")
T = TypeVar("T")

MISSING: Final = object()


class Derived(Generic[T]):
    """Call it to have the value of the generation that the caller is on."""

    def __init__(self, leases: Leases, name: str, function: Callable[..., object]) -> None:
        self._leases: Final = leases
        self.name: Final = name
        self.__doc__ = function.__doc__

    def __call__(self) -> T:
        lease: Lease[T] = Lease(self._leases, (self.name, None))
        with lease as value:
            return value


class Memo:
    """The results of one function for one set of inputs; the oldest are forgotten."""

    def __init__(self, function: Callable[..., Any], inputs: dict[str, Any], size: int) -> None:
        self._function: Final = function
        self._inputs: Final = inputs
        self._size: Final = size
        self._results: Final[OrderedDict[Hashable, Any]] = OrderedDict()

    def call(self, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        key = (args, tuple(sorted(named.items())))
        found = self._results.get(key, MISSING)
        return self._keep(key, self._function(*args, **named, **self._inputs)) if found is MISSING else found

    async def call_async(self, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        key = (args, tuple(sorted(named.items())))
        found = self._results.get(key, MISSING)
        return (
            self._keep(key, await self._function(*args, **named, **self._inputs))
            if found is MISSING
            else found
        )

    def _keep(self, key: Hashable, result: Any) -> Any:
        # Single operations, each atomic: two threads may compute the same result, and none sees half of one.
        self._results[key] = result
        while len(self._results) > self._size:
            self._results.popitem(last=False)
        return result


def remembering(leases: Leases, name: str, function: Callable[P, T]) -> Callable[..., T]:
    """Calls go to the `Memo` of the generation that the caller is on; inputs are not passed by callers."""

    def call(*args: Any, **named: Any) -> Any:
        lease: Lease[Memo] = Lease(leases, (name, None))
        with lease as memo:
            return memo.call(args, named)

    async def call_async(*args: Any, **named: Any) -> Any:
        lease: Lease[Memo] = Lease(leases, (name, None))
        async with lease as memo:
            return await memo.call_async(args, named)

    chosen = call_async if inspect.iscoroutinefunction(function) else call
    chosen.__name__, chosen.__doc__ = function.__name__, function.__doc__
    return cast("Callable[..., T]", chosen)


def maker_of(function: Callable[..., Any], size: int) -> Callable[..., Memo]:
    """Makes an empty memo from the inputs."""

    def make(**inputs: Any) -> Memo:
        return Memo(function, inputs, size)

    make.__name__ = function.__name__
    return make
