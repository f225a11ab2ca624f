"""All hostile cases, by name."""

from __future__ import annotations

from typing import Final

from serve.hostile import chunks, framing, lines, sessions, targets
from serve.hostile.case import Case

CASES: Final[tuple[Case, ...]] = (
    *framing.CASES,
    *chunks.CASES,
    *lines.CASES,
    *targets.CASES,
    *sessions.CASES,
)
"""For any server."""
HANDSHAKES: Final = sessions.HANDSHAKES
"""For servers that speak WebSocket."""
BY_NAME: Final = {case.name: case for case in (*CASES, *HANDSHAKES)}
