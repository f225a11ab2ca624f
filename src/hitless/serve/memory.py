"""Memory of processes that live for months: the supervisor's, and what a template shares with its workers."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress


def give_back() -> None:
    """Returns to the system what imports and start-up have left free, and spares later collections what will stay."""
    gc.collect()
    gc.freeze()
    with suppress(AttributeError, OSError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
