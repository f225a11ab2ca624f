"""What runs on a node, and how it is stopped, upgraded and started."""

from __future__ import annotations

from hitless.rollout.nodes.opening import process_of
from hitless.rollout.nodes.process import Gone, Process

__all__ = ["Gone", "Process", "process_of"]
