"""Threads for foreign code; they are the kernel's (`hitless.change.threads`)."""

from __future__ import annotations

from hitless.change.threads import exit_refused, in_thread

__all__ = ["exit_refused", "in_thread"]
