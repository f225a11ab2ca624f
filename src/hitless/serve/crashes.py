"""How soon a dead worker is replaced: at once, unless workers keep dying."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

WINDOW_S: Final = 60.0
FREE: Final = 3
"""Deaths within the window that are mended without delay."""
LONGEST_S: Final = 30.0


@dataclass(slots=True)
class Crashes:
    """Deaths of the last minute."""

    clock: Callable[[], float] = time.monotonic
    _times: deque[float] = field(default_factory=lambda: deque(maxlen=1000))

    def note(self, at: float) -> None:
        self._times.append(at)

    def reset(self) -> None:
        self._times.clear()

    @property
    def recent(self) -> int:
        """Deaths within the window."""
        horizon = self.clock() - WINDOW_S
        while self._times and self._times[0] < horizon:
            self._times.popleft()
        return len(self._times)

    @property
    def delay_s(self) -> float:
        """Seconds to wait before the next attempt: 0 at first, then doubling from 0.25 up to 30."""
        excess = self.recent - FREE
        return 0.0 if excess <= 0 else min(LONGEST_S, 0.25 * 2.0 ** (excess - 1))
