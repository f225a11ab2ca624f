"""Polling agents whose pipelines change while they run; Ceilometer's files are read as they are."""

from __future__ import annotations
