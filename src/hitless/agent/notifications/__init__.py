"""Notifications: listeners take messages from a broker, definitions make samples and events of them, pipelines publish those."""

from __future__ import annotations
