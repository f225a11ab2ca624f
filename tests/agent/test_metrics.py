"""The agent's figures as a scrape sees them."""

from __future__ import annotations

import asyncio
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from tests.agent.ground import DEADLINE_S, Ground, every, one_sample, running

from hitless.agent.metrics import AgentCollector, MetricsServer
from hitless.agent.polling.pollster import Poll
from hitless.agent.sample import Sample

Found = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scraped(server: MetricsServer) -> Found:
    def get() -> str:
        with urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=DEADLINE_S) as answer:
            return str(answer.read().decode())

    families = text_string_to_metric_families(await asyncio.to_thread(get))
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value
        for family in families
        for each in family.samples
    }


def value(found: Found, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


async def test_hashes_reloads_ticks_and_samples_are_shown() -> None:
    def fails(poll: Poll) -> list[Sample]:
        raise ZeroDivisionError

    ground = Ground(a=one_sample, fails=fails)
    sources = {"s": every(1, "a", jitter=0), "t": every(1, "fails", jitter=0)}
    agent = ground.agent(running(sources, {"x": ("kept://a",)}))
    server = MetricsServer("127.0.0.1:0", [AgentCollector(agent)])
    await agent.start()
    for step in (0.0, 1.0, 1.0):
        await ground.clock.turn(step)
        async with asyncio.timeout(DEADLINE_S):
            await agent._poller.idle()
    await ground.one("kept://a").has(3)
    await agent.reload(running(sources, {"x": ("kept://a",)}))
    await agent.reload(running({"s": sources["s"]}, {"x": ("kept://a",)}))
    assert value(await scraped(server), "hitless_agent_configuration_drift") == 0
    await agent.reload(running(sources, {"x": ("kept://unopenable",)}))
    found = await scraped(server)
    await agent.stop()
    server.close()
    sink = "x 0 kept://a"
    assert value(found, "hitless_agent_samples_total", sink=sink, what="offered") == 3
    assert value(found, "hitless_agent_samples_total", sink=sink, what="published") == 3
    assert value(found, "hitless_agent_samples_total", sink=sink, what="dropped") == 0
    assert value(found, "hitless_agent_waiting", sink=sink) == 0
    assert value(found, "hitless_agent_polls_total", what="errors") == 3
    assert value(found, "hitless_agent_tick_lateness_seconds_count") == 6
    assert (
        value(found, "hitless_agent_tick_lateness_seconds_bucket", le="0.001") == 6
    )  # its clock is the test's
    reloads = {
        outcome: value(found, "hitless_agent_reloads_total", outcome=outcome)
        for outcome in ("applied", "unchanged", "rejected", "rolled_back")
    }
    assert reloads == {"applied": 2, "unchanged": 1, "rejected": 1, "rolled_back": 0}  # the start is one
    assert value(found, "hitless_agent_generation") == 2
    assert value(found, "hitless_agent_configuration_drift") == 1
    assert value(found, "hitless_agent_last_reload_success_timestamp_seconds") > 0
    (info,) = [dict(labels) for name, labels in found if name == "hitless_agent_configuration_info"]
    assert info["applied"] != info["attempted"]
