"""`hitless containers` that ends by SIGKILL at an exact step: `python -m tests.containers.dies STEP WHEN WORDS…`.

A step is a call that changes something at the engine, or a write of what is under way; WHEN is `before` it or `after` it. The
environment variable DIES_COUNT names a file in which the number of steps that were passed is left.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hitless.__main__ import main
from hitless.containers.engine import Engine
from hitless.containers.intents import Intents


class Steps:
    def __init__(self, step: int, when: str) -> None:
        self.step, self.when, self.passed = step, when, 0
        self.names: list[str] = []

    def begin(self, name: str) -> int:
        self.passed += 1
        self.names.append(name)
        count = os.environ.get("DIES_COUNT")
        if count:
            Path(count).write_text("\n".join(self.names))
        if self.passed == self.step and self.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        return self.passed

    def end(self, number: int) -> None:
        if number == self.step and self.when == "after":
            os.kill(os.getpid(), signal.SIGKILL)


def wrap(steps: Steps) -> None:
    answer, put, remove = Engine._answer, Intents.put, Intents.remove

    async def counted(self: Engine, method: Any, path: str, *words: Any, **more: Any) -> Any:
        if method == "GET" or "/exec" in path:
            return await answer(self, method, path, *words, **more)
        number = steps.begin(f"{method} {path}")
        try:
            return await answer(self, method, path, *words, **more)
        finally:
            steps.end(number)

    def writing(does: Callable[..., None], name: str) -> Callable[..., None]:
        def write(*words: Any) -> None:
            number = steps.begin(name)
            does(*words)
            steps.end(number)

        return write

    Engine._answer = counted  # type: ignore[method-assign]
    Intents.put = writing(put, "put")  # type: ignore[method-assign]
    Intents.remove = writing(remove, "remove")  # type: ignore[method-assign]


if __name__ == "__main__":
    wrap(Steps(int(sys.argv[1]), sys.argv[2]))
    sys.argv[1:] = sys.argv[3:]
    main()
