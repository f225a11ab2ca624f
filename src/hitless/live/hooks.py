"""`on_change` hooks: code that wants to know that settings change, before (and may refuse) or after (and may not)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel

from hitless.change import Deadline, Events, Refused
from hitless.live.declaration import Place
from hitless.live.errors import DeclarationError
from hitless.live.foreign import called, watched
from hitless.live.paths import NoSuchSetting, annotation_at, reader
from hitless.live.veil import Veil

INSIDE: Final[ContextVar[object]] = ContextVar("hooks", default=None)

When = Literal["prepare", "commit"]


@dataclass(frozen=True, slots=True)
class Hook:
    """`function(old, new)` is called with both settings when one of `paths` differs; with no paths, at every change."""

    function: Callable[[Any, Any], object]
    paths: tuple[str, ...]
    when: When
    place: Place

    def concerns(self, old: BaseModel, new: BaseModel) -> bool:
        return any(reader(path)(old) != reader(path)(new) for path in self.paths or ("",))


class Hooks:
    """Runs the hooks in the order of their declaration. Events: `hook.failed`, for those that may not refuse."""

    def __init__(
        self,
        hooks: tuple[Hook, ...],
        model: type[BaseModel],
        events: Events,
        timeout_s: float,
        veil: Veil,
    ) -> None:
        self._hooks: Final = hooks
        self._veil: Final = veil
        self._events: Final = events
        self._timeout_s: Final = timeout_s
        self._one_change: Final = asyncio.Lock()
        problems = list(_problems(hooks, model))
        if problems:
            raise DeclarationError(problems)

    async def prepare(self, old: BaseModel, new: BaseModel) -> None:
        """Ask whether the change may be made. Raises Refused: it may not."""
        for hook in self._concerned("prepare", old, new):
            failure = await self._run(hook, old, new)
            if failure is None or failure.reason not in ("internal_error", "cancelled", "deadline_passed"):
                if failure is not None:
                    raise failure
                continue
            raise Refused("hook_refused", f"{_label(hook)} refused: {failure.message}", failure.detail)

    async def committed(self, old: BaseModel, new: BaseModel) -> None:
        """Tell that the change was made, after the hooks of the change before have been told of that one. Failures are
        reported, and change nothing.
        """
        async with self._one_change:
            token = INSIDE.set(self)
            try:
                for hook in self._concerned("commit", old, new):
                    failure = await self._run(hook, old, new)
                    if failure is not None:
                        self._report(hook, self._veil.refusal(failure))
            finally:
                INSIDE.reset(token)

    @property
    def is_inside(self) -> bool:
        """Whether a hook asks, which would wait for itself if it waited for the hooks of a change that it makes."""
        return INSIDE.get() is self

    def _report(self, hook: Hook, failure: Refused) -> None:
        self._events.emit("hook.failed", hook=_label(hook), message=failure.message, detail=failure.detail)

    def _concerned(self, when: When, old: BaseModel, new: BaseModel) -> Iterator[Hook]:
        return (hook for hook in self._hooks if hook.when == when and hook.concerns(old, new))

    async def _run(self, hook: Hook, old: BaseModel, new: BaseModel) -> Refused | None:
        work = called(hook.function, old, new, name=_label(hook))
        ended = await watched(work, Deadline.after(self._timeout_s), f"{_label(hook)} did not end")
        return ended.failure


def _label(hook: Hook) -> str:
    return f"on_change hook {hook.function.__name__} ({hook.place})"


def _problems(hooks: tuple[Hook, ...], model: type[BaseModel]) -> Iterator[str]:
    for hook in hooks:
        for path in hook.paths:
            try:
                annotation_at(model, path)
            except NoSuchSetting as error:
                yield f"{hook.place}: on_change: {error}"
