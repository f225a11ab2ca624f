"""A change of several things that is made on all of them or on none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from hitless.change import Deadline, DeadlinePassed
from hitless.rollout.balancers.errors import BalancerError

Act = Callable[[Deadline], Awaitable[None]]
BACK_S: Final = 10.0


async def in_step(steps: Sequence[tuple[str, Act, Act]], deadline: Deadline) -> None:
    """Of each its name, what is done, and what takes it back.

    Raises:
        BalancerError: of the step that failed; those before it were taken back, or it says which could not be.
    """
    done: list[tuple[str, Act]] = []
    for name, act, back in steps:
        done.append((name, back))  # it may have been done although its answer did not come
        try:
            await act(deadline)
        except (BalancerError, DeadlinePassed) as error:
            stuck = await asyncio.shield(_back(done))
            if stuck:
                raise type_of(error)(f"{error}; {', '.join(stuck)} could not be taken back") from error
            raise
        except asyncio.CancelledError:
            await asyncio.shield(_back(done))
            raise


def type_of(error: Exception) -> type[BalancerError]:
    """The kind of balancer's error that it stays when more is said."""
    return type(error) if isinstance(error, BalancerError) else BalancerError


async def _back(done: Sequence[tuple[str, Act]]) -> Sequence[str]:
    """Names of what could not be taken back."""
    stuck = []
    for name, back in reversed(done):
        try:
            await back(Deadline.after(BACK_S))
        except (BalancerError, DeadlinePassed):
            stuck.append(name)
    return stuck[1:] if stuck and stuck[0] == done[-1][0] else stuck
