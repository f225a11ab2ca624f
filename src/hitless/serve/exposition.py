"""Prometheus text from the figures of `hitless.serve.metrics`, through a collector that is made for one exposition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_COUNTERS: Final = {
    "requests": "requests begun",
    "connections_opened": "connections accepted",
    "connections_adopted": "connections taken over from another worker",
    "handed_over": "connections handed over to another worker",
    "taken_back": "connections whose handover was refused",
    "lingered": "connections closed idle at the end of drain.linger",
    "cut": "connections cut at the drain deadline",
    "websockets": "WebSockets opened",
}


class Collector:
    """Metrics are built at each scrape from what the service says, so none can be registered twice or go stale."""

    def __init__(self, figures: Mapping[str, Any]) -> None:
        self._figures: Final = figures

    def collect(self) -> Iterable[Metric]:
        yield from _counters(self._figures)
        yield from _gauges(self._figures)
        yield from _changes(self._figures)


def exposition(figures: Mapping[str, Any]) -> str:
    """Prometheus text format 0.0.4."""
    registry = CollectorRegistry()
    registry.register(Collector(figures))
    return generate_latest(registry).decode()


def _counters(figures: Mapping[str, Any]) -> Iterator[Metric]:
    counters = figures["counters"]
    for name, text in _COUNTERS.items():
        yield CounterMetricFamily(f"hitless_{name}", f"{text}, since the start", value=counters.get(name, 0))
    responses = CounterMetricFamily(
        "hitless_responses", "responses by class, since the start", labels=["class"]
    )
    for digit in "12345":
        responses.add_metric([f"{digit}xx"], counters.get(f"responses_{digit}xx", 0))
    yield responses
    yield CounterMetricFamily(
        "hitless_worker_deaths", "workers that died unasked", value=figures["worker_deaths"]
    )


def _gauges(figures: Mapping[str, Any]) -> Iterator[Metric]:
    for name, text in (
        ("generation", "number of the generation that serves"),
        ("connections", "open connections"),
        ("in_flight", "requests in flight"),
        ("drains", "drains in progress"),
    ):
        yield GaugeMetricFamily(f"hitless_{name}", text, value=figures[name])
    workers = GaugeMetricFamily("hitless_workers", "workers by state", labels=["state"])
    for state, count in figures["workers"].items():
        workers.add_metric([state], count)
    yield workers
    yield GaugeMetricFamily(
        "hitless_start_time_seconds", "when the service was started", value=figures["started"]
    )


def _changes(figures: Mapping[str, Any]) -> Iterator[Metric]:
    changes = CounterMetricFamily(
        "hitless_changes",
        "attempted changes by kind, outcome and reason",
        labels=["kind", "status", "reason"],
    )
    for row in figures["changes"]:
        changes.add_metric([row["kind"], row["status"], row["reason"]], row["count"])
    yield changes
    yield GaugeMetricFamily(
        "hitless_last_change_successful",
        "1 if the last change did what was asked",
        value=int(figures["last_change_good"]),
    )
    yield GaugeMetricFamily(
        "hitless_last_change_success_timestamp_seconds",
        "when a change last succeeded",
        value=figures["last_success"],
    )
    phases = GaugeMetricFamily(
        "hitless_change_phase_seconds", "duration of each phase of the last change", labels=["phase"]
    )
    for phase, seconds in figures["phase_seconds"].items():
        phases.add_metric([phase], seconds)
    yield phases
    yield GaugeMetricFamily(
        "hitless_import_seconds", "time that the application's import took", value=figures["import_seconds"]
    )
    yield InfoMetricFamily(
        "hitless_settings",
        "hashes of the settings that serve and of those last attempted; where they differ, the last change was refused",
        value={"applied": figures["applied_hash"], "attempted": figures["attempted_hash"]},
    )
