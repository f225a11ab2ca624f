"""The agent's own figures for Prometheus: what is in force and what was asked for, samples by sink, ticks, reloads.

They are read when they are scraped, from what is in force then: nothing is registered for a sink, and of one that is gone only its
counts stay.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from hitless.agent.agent import Agent
from hitless.agent.tally import POLLS, SAMPLES, Tally
from hitless.change import Event

ENDS: Final = {
    "change.committed": "applied",
    "change.unchanged": "unchanged",
    "change.rejected": "rejected",
    "change.rolled_back": "rolled_back",
}


class AgentCollector(Collector):
    """Of one agent, made before it is started."""

    def __init__(self, agent: Agent) -> None:
        self._agent: Final = agent
        self._reloads: Final = dict.fromkeys(ENDS.values(), 0)
        self._succeeded_at = 0.0
        agent.runtime.subscribe(self._told)

    def _told(self, event: Event) -> None:
        outcome = ENDS.get(event.name)
        if outcome is not None:
            self._reloads[outcome] += 1
            if outcome in ("applied", "unchanged"):
                self._succeeded_at = time.time()

    def collect(self) -> Iterable[Metric]:
        """Called by the scrape's thread."""
        yield from self._configuration()
        tally = self._agent.tally
        yield from _polls(tally)
        yield from _sinks(tally)
        yield from _messages(self._agent)

    def _configuration(self) -> Iterator[Metric]:
        applied, attempted = self._agent.runtime.hashes
        hashes = {"applied": applied or "", "attempted": attempted or ""}
        yield InfoMetricFamily("hitless_agent_configuration", "Hashes of the definition.", value=hashes)
        yield GaugeMetricFamily(
            "hitless_agent_configuration_drift",
            "1 while what was asked for last is not in force.",
            value=float(applied != attempted),
        )
        yield GaugeMetricFamily(
            "hitless_agent_generation", "Changes that were applied.", value=self._agent.runtime.generation
        )
        reloads = CounterMetricFamily("hitless_agent_reloads", "Changes by outcome.", labels=["outcome"])
        for outcome, count in self._reloads.items():
            reloads.add_metric([outcome], count)
        yield reloads
        yield GaugeMetricFamily(
            "hitless_agent_last_reload_success_timestamp_seconds",
            "When the definition was last found to be in force.",
            value=self._succeeded_at,
        )


def _polls(tally: Tally) -> Iterator[Metric]:
    polls = CounterMetricFamily(
        "hitless_agent_polls", "Calls of pollsters, and what became of them.", labels=["what"]
    )
    for what in POLLS:
        polls.add_metric([what], tally.polls[what])
    yield polls
    late = tally.lateness
    yield HistogramMetricFamily(
        "hitless_agent_tick_lateness_seconds",
        "How long after its due time a source's polls began.",
        buckets=late.cumulative(),
        sum_value=late.total,
    )


def _sinks(tally: Tally) -> Iterator[Metric]:
    samples = CounterMetricFamily(
        "hitless_agent_samples", "Samples and events by sink and publisher.", labels=["sink", "what"]
    )
    waiting = GaugeMetricFamily("hitless_agent_waiting", "Those that wait in its buffer.", labels=["sink"])
    for name, counts in list(tally.sinks.items()):
        now = dict(counts)
        for what in SAMPLES:
            samples.add_metric([name, what], now.get(what, 0))
        waiting.add_metric([name], tally.waiting(name))
    yield samples
    yield waiting


def _messages(agent: Agent) -> Iterator[Metric]:
    messages = CounterMetricFamily(
        "hitless_agent_messages", "Messages by broker, and what became of them.", labels=["broker", "what"]
    )
    for broker, counts in agent.taken().items():
        for what, count in counts.items():
            messages.add_metric([broker, what], count)
    yield messages
    unacked = GaugeMetricFamily(
        "hitless_agent_unacked_messages",
        "Those that are here and not acknowledged.",
        labels=["listener", "broker"],
    )
    for each in agent.listeners():
        unacked.add_metric([str(each["listener"]), str(each["broker"])], float(each["unacked"]))
    yield unacked


class MetricsServer:
    """Serves `/metrics` from a thread of its own."""

    def __init__(self, bind: str, collectors: Iterable[Collector]) -> None:
        """Raises OSError: the address cannot be had."""
        registry = CollectorRegistry()
        for each in collectors:
            registry.register(each)
        host, _, port = bind.rpartition(":")
        found: Any = start_http_server(int(port), host.strip("[]"), registry)
        self._server, self._thread = found

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
