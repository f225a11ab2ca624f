"""How a command is run on a node: here, over ssh, or by ansible."""

from __future__ import annotations

from hitless.rollout.executors.errors import ExecutorError, NotRun, Unreachable
from hitless.rollout.executors.executor import Executor, Finished, Target

__all__ = ["Executor", "ExecutorError", "Finished", "NotRun", "Target", "Unreachable"]
