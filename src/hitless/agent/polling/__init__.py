"""When what is polled, and by what."""

from __future__ import annotations
