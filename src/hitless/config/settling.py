"""When changed content may be taken: everything that decides it is in this file, and the clock is given."""

from __future__ import annotations

from typing import Final


class Settling:
    """Content is named by its hash. It is taken when it is not what serves, not what was tried last, and
    was the same for `settle_s` seconds. What was tried and failed is tried again only after other content
    was seen: the same content would fail the same way.
    """

    def __init__(self, settle_s: float, applied: str | None = None) -> None:
        self._settle_s: Final = settle_s
        self._applied = applied
        self._attempted = applied
        self._failed: str | None = None
        self._candidate: str | None = None
        self._settles_at = 0.0

    @property
    def failed(self) -> str | None:
        """The content that was tried, failed, and still stands there; None if all is well."""
        return self._failed

    def applied(self, content: str) -> None:
        """This content serves now."""
        self._applied = self._attempted = content
        self._failed = self._candidate = None

    def failed_with(self, content: str) -> None:
        """This content was tried and failed; what served before still does."""
        self._attempted = self._failed = content

    def see(self, content: str, now: float) -> bool:
        """Whether the content that is seen `now` is to be taken. It then counts as tried."""
        if content == self._applied:
            # Back to what serves: nothing to do, and nothing that failed is left to be sorry for.
            self.applied(content)
            return False
        if content == self._attempted:
            self._candidate = None
            return False
        if content != self._candidate:
            self._candidate, self._settles_at = content, now + self._settle_s
        if now < self._settles_at:
            return False
        self._attempted, self._failed, self._candidate = content, None, None
        return True

    def due_s(self, now: float) -> float | None:
        """Seconds until what was seen last has settled, or None if nothing is settling."""
        if self._candidate is None:
            return None
        return max(0.0, self._settles_at - now)
