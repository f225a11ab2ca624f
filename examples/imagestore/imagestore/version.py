"""The version of the code."""

from __future__ import annotations

VERSION = "1.0"
