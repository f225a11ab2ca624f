"""Listens as an OpenStack service does, and prints as JSON the first notification of each priority."""

from __future__ import annotations

import json
import queue
import sys
from typing import Any

import oslo_messaging
from oslo_config import cfg

LISTEN_S = 120


class Endpoint:
    def __init__(self) -> None:
        self.heard: queue.Queue[list[Any]] = queue.Queue()

    def info(self, _context: Any, publisher: str, event: str, payload: Any, _metadata: Any) -> None:
        self.heard.put(["info", publisher, event, payload["differences"]])

    def error(self, _context: Any, publisher: str, event: str, payload: Any, _metadata: Any) -> None:
        self.heard.put(["error", publisher, event, payload["differences"]])


endpoint = Endpoint()
transport = oslo_messaging.get_notification_transport(cfg.ConfigOpts(), url=sys.argv[1])
targets = [oslo_messaging.Target(topic="notifications", exchange="openstack")]
listener = oslo_messaging.get_notification_listener(transport, targets, [endpoint], executor="threading")
listener.start()
print(json.dumps(sorted(endpoint.heard.get(timeout=LISTEN_S) for _ in range(2))), flush=True)
listener.stop()
listener.wait()
