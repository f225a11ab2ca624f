"""Hitless: change a running Python service without losing a request."""

from __future__ import annotations

__version__ = "0.1.0"
