"""What can poll, discover and publish: what comes with Hitless, and what other packages offer as entry points."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

POLLSTER: Final = "hitless.pollster"
DISCOVERY: Final = "hitless.discovery"
PUBLISHER: Final = "hitless.publisher"
TRANSFORMER: Final = "hitless.transformer"
LISTENER: Final = "hitless.listener"
TRAIT: Final = "hitless.trait"

_POLLING: Final = "hitless.agent.polling"
_HOST: Final = "hitless.agent.polling.host"
_PROCESSES: Final = "hitless.agent.polling.processes"
_PUBLISHERS: Final = "hitless.agent.publishers"
_TRANSFORMERS: Final = "hitless.agent.transformers"
_PROBE: Final = "hitless.agent.polling.probe"
_TRAITS: Final = "hitless.agent.notifications.traits"
BUILT_IN: Final[Mapping[str, Mapping[str, str]]] = {
    POLLSTER: {
        "host.cpu.count": f"{_HOST}:cpu_count",
        "host.cpu.time": f"{_HOST}:cpu_time",
        "host.load.1min": f"{_HOST}:load_1",
        "host.load.5min": f"{_HOST}:load_5",
        "host.load.15min": f"{_HOST}:load_15",
        "host.memory.total": f"{_HOST}:memory_total",
        "host.memory.available": f"{_HOST}:memory_available",
        "host.swap.used": f"{_HOST}:swap_used",
        "host.disk.read.bytes": f"{_HOST}:disk_read",
        "host.disk.write.bytes": f"{_HOST}:disk_write",
        "host.filesystem.total": f"{_HOST}:filesystem_total",
        "host.filesystem.used": f"{_HOST}:filesystem_used",
        "host.network.incoming.bytes": f"{_HOST}:network_incoming",
        "host.network.outgoing.bytes": f"{_HOST}:network_outgoing",
        "host.processes": f"{_PROCESSES}:number",
        "process.count": f"{_PROCESSES}:count",
        "process.cpu.time": f"{_PROCESSES}:cpu_time",
        "process.memory.rss": f"{_PROCESSES}:memory_rss",
        "process.threads": f"{_PROCESSES}:threads",
        "http.up": f"{_PROBE}:up",
        "http.status": f"{_PROBE}:status",
        "http.latency": f"{_PROBE}:latency",
        "http.certificate.days": f"{_PROBE}:certificate_days",
        "prometheus.scrape": f"{_POLLING}.scrape:scrape",
        "prometheus.up": f"{_POLLING}.scrape:up",
        "sql.query": f"{_POLLING}.query:query",
        "container.running": f"{_POLLING}.containers:running",
        "container.healthy": f"{_POLLING}.containers:healthy",
        "container.restarts": f"{_POLLING}.containers:restarts",
        "container.memory.usage": f"{_POLLING}.containers:memory_usage",
        "container.memory.limit": f"{_POLLING}.containers:memory_limit",
        "container.cpu.time": f"{_POLLING}.containers:cpu_time",
        "service.up": f"{_POLLING}.services:up",
        "service.generation": f"{_POLLING}.services:generation",
        "service.drift": f"{_POLLING}.services:drift",
        "service.draining": f"{_POLLING}.services:draining",
        "service.workers": f"{_POLLING}.services:workers",
    },
    DISCOVERY: {
        "containers": f"{_POLLING}.containers:containers",
        "local_node": f"{_POLLING}.local:local_node",
        "services": f"{_POLLING}.services:services",
    },
    PUBLISHER: {
        "amqp": f"{_PUBLISHERS}.amqp:AmqpPublisher",
        "amqps": f"{_PUBLISHERS}.amqp:AmqpPublisher",
        "file": f"{_PUBLISHERS}.file:FilePublisher",
        "http": f"{_PUBLISHERS}.web:WebPublisher",
        "https": f"{_PUBLISHERS}.web:WebPublisher",
        "log": f"{_PUBLISHERS}.log:LogPublisher",
        "otlp+http": f"{_PUBLISHERS}.otlp:OtlpPublisher",
        "otlp+https": f"{_PUBLISHERS}.otlp:OtlpPublisher",
        "prometheus": f"{_PUBLISHERS}.prometheus:PrometheusPublisher",
        "sqlite": f"{_PUBLISHERS}.sqlite:SqlitePublisher",
    },
    TRANSFORMER: {
        "accumulator": f"{_TRANSFORMERS}.aggregation:Accumulator",
        "aggregator": f"{_TRANSFORMERS}.aggregation:Aggregator",
        "arithmetic": f"{_TRANSFORMERS}.arithmetic:Arithmetic",
        "delta": f"{_TRANSFORMERS}.conversions:Delta",
        "rate_of_change": f"{_TRANSFORMERS}.conversions:RateOfChange",
        "unit_conversion": f"{_TRANSFORMERS}.conversions:UnitConversion",
    },
    LISTENER: {},
    TRAIT: {
        "split": f"{_TRAITS}:Split",
        "bitfield": f"{_TRAITS}:Bitfield",
        "timedelta": f"{_TRAITS}:TimeDelta",
        "map": f"{_TRAITS}:Map",
    },
}


class PluginError(Exception):
    """A plug-in that is not there or cannot be loaded; the message says which, and what to do."""


class Plugins:
    """Looked up once; loaded when first asked for. `more` are plug-ins that need no installation, by group and name."""

    def __init__(self, more: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._more: Final = more or {}
        self._points: Final[dict[tuple[str, str], list[EntryPoint]]] = {}
        self._loaded: Final[dict[tuple[str, str], Any]] = {}
        for group in BUILT_IN:
            for point in entry_points(group=group):
                self._points.setdefault((group, point.name), []).append(point)

    def names(self, group: str) -> tuple[str, ...]:
        offered = (name for each, name in self._points if each == group)
        return tuple(sorted({*BUILT_IN[group], *self._more.get(group, {}), *offered}))

    def load(self, group: str, name: str) -> Any:
        """Raises PluginError."""
        if (group, name) not in self._loaded:
            self._loaded[group, name] = self._load(group, name)
        return self._loaded[group, name]

    def _load(self, group: str, name: str) -> Any:
        what = group.partition(".")[2]
        if name in (more := self._more.get(group, {})):
            return more[name]
        points = self._points.get((group, name), [])
        if len(points) > 1 or (points and name in BUILT_IN[group]):
            whose = ", ".join(each.value for each in points)
            raise PluginError(f"several packages offer the {what} {name} ({whose}); uninstall all but one")
        if not points and name not in BUILT_IN[group]:
            known = ", ".join(self.names(group)) or "none"
            raise PluginError(f"there is no {what} {name}; install its package (there are: {known})")
        value = points[0].value if points else BUILT_IN[group][name]
        module, _, attribute = value.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:
            raise PluginError(
                f"the {what} {name} ({value}) cannot be loaded: {type(error).__name__}: {error}"
            ) from error
