"""A group's state for Prometheus. Alert on `hitless_group_drift > 0` for longer than a change takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from hitless.agent.group.state import GroupState


class GroupCollector(Collector):
    """Reads the state anew at each scrape."""

    def __init__(self, state: Callable[[], GroupState]) -> None:
        self._state: Final = state

    def collect(self) -> Iterator[Any]:
        state = self._state()
        group = [state.name]
        for name, about, value in (
            ("members", "members with a lease", len(state.members)),
            ("polling", "members that have a share of the work", _polling(state)),
            ("drift", "members whose configuration is not the group's", state.drift),
            ("epoch", "the epoch that the group polls by", state.epoch),
        ):
            gauge = GaugeMetricFamily(f"hitless_group_{name}", about, labels=["group"])
            gauge.add_metric(group, value)
            yield gauge
        shared = CounterMetricFamily(
            "hitless_group_assignments", "how often the work was shared out anew", labels=["group"]
        )
        shared.add_metric(group, state.number)
        yield shared
        yield self._configs(state)
        yield self._epochs(state)

    def _configs(self, state: GroupState) -> GaugeMetricFamily:
        found = GaugeMetricFamily(
            "hitless_group_member_config",
            "hashes of the configurations that members poll by, and have tried last",
            labels=["group", "member", "state", "sha256"],
        )
        for member in state.members:
            found.add_metric([state.name, member.name, "applied", member.applied], 1)
            found.add_metric([state.name, member.name, "attempted", member.attempted], 1)
        return found

    def _epochs(self, state: GroupState) -> GaugeMetricFamily:
        found = GaugeMetricFamily(
            "hitless_group_member_epoch", "the epoch that a member polls by", labels=["group", "member"]
        )
        for member in state.members:
            found.add_metric([state.name, member.name], member.epoch)
        return found


def _polling(state: GroupState) -> int:
    return sum(each.role == "polling" for each in state.members)


def exposition(state: GroupState) -> str:
    """In Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(GroupCollector(lambda: state))
    return generate_latest(registry).decode()
