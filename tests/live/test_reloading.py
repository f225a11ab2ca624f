"""Options that are declared restart: found wherever they stand, and refused by a process that is its own master."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field

from hitless.change import Refused
from hitless.config.keys import KeyPath
from hitless.live import Reload, Runtime
from hitless.live.reloading import restarting


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pool(Section):
    size: int = 1
    timeout: Annotated[int, Reload("live")] = 1


class Settings(Section):
    level: str = "info"
    slots: Annotated[int, Reload("restart")] = 1
    threads: int = Field(1, json_schema_extra={"reload": "restart"})
    optional: Annotated[int, Reload("restart")] | None = None
    pool: Annotated[Pool, Reload("restart")] = Pool()
    pools: dict[str, Annotated[Pool, Reload("restart")]] = {}
    free: dict[str, Pool] = {}


@pytest.mark.parametrize(
    ("path", "is_restart"),
    [
        (("level",), False),
        (("slots",), True),
        (("threads",), True),
        (("optional",), True),
        (("pool", "size"), True),
        (("pool", "timeout"), False),
        (("pools", "a", "size"), True),
        (("pools", "a", "timeout"), False),
        (("free", "a", "size"), False),
    ],
)
def test_the_innermost_mark_decides(path: KeyPath, is_restart: bool) -> None:
    assert bool(restarting(Settings, [path])) is is_restart


async def test_a_program_of_its_own_refuses_what_needs_a_new_process() -> None:
    runtime = Runtime(Settings)
    await runtime.start(settings=Settings(slots=2))
    with pytest.raises(Refused, match=r"slots: 2 → 3; pool\.size: 1 → 2: takes effect in a new process only"):
        runtime.plan(Settings(slots=3, pool=Pool(size=2), level="debug"))
    outcome = await runtime.reload(Settings(slots=3, level="debug"))
    assert (outcome.status, outcome.reason, outcome.exit_code) == ("rejected", "restart_needed", 3)
    assert (runtime.settings.slots, runtime.settings.level) == (2, "info")
    assert (await runtime.reload(Settings(slots=2, pool=Pool(timeout=5)))).status == "applied"
    await runtime.stop()
