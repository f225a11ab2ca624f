"""Hitless beside its peers, in one run, on one machine. `python -m benchmarks` runs it; docs/benchmarks.md
explains it."""

from __future__ import annotations
