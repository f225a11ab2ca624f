"""Signals as engines, images and people write them: `SIGTERM`, `term`, `15`, `SIGRTMIN+3`."""

from __future__ import annotations

import re
import signal
from typing import Final

OFFSET: Final = re.compile(r"SIG(RTMIN|RTMAX)([+-])(\d+)")
DEFAULT: Final = "SIGTERM"
KILL: Final = "SIGKILL"


def parse_signal(text: object) -> str:
    """The signal's name, as in `SIGTERM`.

    Raises:
        ValueError: there is no such signal.
    """
    said = str(text).strip().upper()
    if said.isdigit():
        return _name(int(said))
    name = said if said.startswith("SIG") else f"SIG{said}"
    if match := OFFSET.fullmatch(name):
        base = signal.SIGRTMIN if match[1] == "RTMIN" else signal.SIGRTMAX
        return _name(int(base) + (int(match[3]) if match[2] == "+" else -int(match[3])))
    if name in signal.Signals.__members__:
        return name
    raise ValueError(f"{text!r} is no signal; write for example SIGTERM, SIGQUIT or 15")


def number(name: str) -> int:
    """What the kernel calls it."""
    if match := OFFSET.fullmatch(name):
        base = signal.SIGRTMIN if match[1] == "RTMIN" else signal.SIGRTMAX
        return int(base) + (int(match[3]) if match[2] == "+" else -int(match[3]))
    return int(signal.Signals[name])


def _name(value: int) -> str:
    try:
        return signal.Signals(value).name
    except ValueError:
        if signal.SIGRTMIN < value < signal.SIGRTMAX:
            return f"SIGRTMIN+{value - signal.SIGRTMIN}"
        raise ValueError(f"there is no signal {value}; write for example SIGTERM, SIGQUIT or 15") from None
