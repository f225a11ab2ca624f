"""Tell others when a change begins and how it ended: a log, a command, a webhook, a message broker. A sink that is down
delays no change.
"""

from __future__ import annotations

from hitless.notify.amqp import AmqpSink
from hitless.notify.command import CommandSink
from hitless.notify.log import LogSink
from hitless.notify.notice import Notice, Phase
from hitless.notify.notifier import Notifier
from hitless.notify.outbox import Counts, Outbox
from hitless.notify.sink import Retries, Sink, SinkFailed
from hitless.notify.webhook import WebhookSink

__all__ = [
    "AmqpSink",
    "CommandSink",
    "Counts",
    "LogSink",
    "Notice",
    "Notifier",
    "Outbox",
    "Phase",
    "Retries",
    "Sink",
    "SinkFailed",
    "WebhookSink",
]
