"""From settings to an executor."""

from __future__ import annotations

from hitless.rollout.executors.executor import Executor
from hitless.rollout.executors.local import LocalExecutor
from hitless.rollout.executors.settings import AnsibleSettings, ExecutorSettings, LocalSettings, SshSettings
from hitless.rollout.executors.ssh import SshExecutor


def executor(settings: ExecutorSettings) -> Executor:
    """The executor that is described; close it in the end.

    Raises:
        ExecutorError: what it needs is not installed.
    """
    if isinstance(settings, LocalSettings):
        return LocalExecutor(settings)
    if isinstance(settings, SshSettings):
        return SshExecutor(settings)
    return _ansible(settings)


def _ansible(settings: AnsibleSettings) -> Executor:
    from hitless.rollout.executors.ansible import AnsibleExecutor  # only who uses it has it installed

    return AnsibleExecutor(settings)
