"""Settings that many hosts share: documents below a key prefix of etcd, read at one revision and watched."""

from __future__ import annotations

from hitless.config.etcd.gateway import Compacted, EtcdError, Gateway, Pair, Reading
from hitless.config.etcd.source import EtcdPrefix
from hitless.config.etcd.watch import EtcdWatcher

__all__ = ["Compacted", "EtcdError", "EtcdPrefix", "EtcdWatcher", "Gateway", "Pair", "Reading"]
