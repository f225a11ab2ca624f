"""Where samples go: one module per scheme."""

from __future__ import annotations
