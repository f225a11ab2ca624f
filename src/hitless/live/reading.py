"""Reads the sources: in a thread and under a deadline, because disks hang and large files take their time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from pydantic import BaseModel

from hitless.change import Deadline, DeadlinePassed, Refused
from hitless.change.ending import to_refusal
from hitless.change.threads import in_thread
from hitless.config import ConfigError, Loaded, Source, SourceUnreachable, load
from hitless.config.checked import checked
from hitless.live.wish import Wish

S = TypeVar("S", bound=BaseModel)

Read = tuple[Wish[S] | Refused, Loaded[S] | None]


class Reader(Generic[S]):
    """One reading at a time: a source that hangs costs one thread, however often it is asked."""

    def __init__(self, model: type[S], sources: Sequence[Source], timeout_s: float) -> None:
        self._model: Final = model
        self._sources: Final = tuple(sources)
        self._timeout_s: Final = timeout_s
        self._free: Final = asyncio.Event()
        self._free.set()

    async def read(self) -> Read[S]:
        """The sources as they are now, or why they cannot be taken."""
        if not self._sources:
            return Refused(
                "no_sources", "the runtime was started without sources; give the settings to reload"
            ), None
        try:
            return await Deadline.after(self._timeout_s).wait(self._read(), "the sources were not read")
        except (DeadlinePassed, SourceUnreachable) as error:
            return Refused("source_unreachable", f"{error}; it can be tried again"), None
        except ConfigError as error:
            return Refused("configuration_invalid", str(error), invalid=True), None
        except Exception as error:  # noqa: BLE001 - validators of the model are foreign code
            return to_refusal(error), None

    async def _read(self) -> Read[S]:
        while not self._free.is_set():  # a reading that was given up, and goes on
            await self._free.wait()
        self._free.clear()
        return await in_thread(self._load, "load settings", over=self._free.set)

    def _load(self) -> Read[S]:
        loaded = load(self._model, *self._sources)
        return Wish.of(loaded.settings), loaded


def revived(model: type[S], text: str) -> S:
    """Settings that came as JSON from another process. Raises Refused: this one does not take them."""
    try:
        return checked(model, json.loads(text), lambda _: "")[0]
    except ConfigError as error:
        raise Refused("configuration_invalid", str(error), invalid=True) from None
    except Exception as error:  # noqa: BLE001 - validators of the model are foreign code
        raise to_refusal(error) from None
