"""Containers that are taken out of a real load balancer, as containers.toml says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.containers.engines import ONE_BY_DEFAULT, PrivateEngine, busybox_tree
from tests.containers.hitless_cli import Operator
from tests.servers.haproxy import running_haproxy, web

from hitless.containers import InvalidParameters
from hitless.rollout.balancers.opening import from_table

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
SERVES = "trap 'exit 0' TERM; echo serving; while :; do sleep 0.2; done"


@pytest.fixture
def served(engine: PrivateEngine, name: str) -> Iterator[str]:
    engine.load("balanced:one", busybox_tree(), f'CMD ["sh", "-c", "{SERVES}"]')
    engine.run(name, image="balanced:one")
    engine.await_log(name, "serving")
    yield name
    engine.remove(name)


@pytest.mark.parametrize("engine", ONE_BY_DEFAULT, indirect=True)
def test_a_container_is_out_of_haproxy_when_it_stops_and_in_again_when_it_serves(
    served: str, engine: PrivateEngine, operator: Operator
) -> None:
    with running_haproxy(web([("web-1", "127.0.1.1:1")])) as haproxy:
        operator.configure(
            f'[balancer.front]\nkind = "haproxy"\ninstances = ["{haproxy.socket}"]\nbackends = "web"\n'
            f'[service.{served}]\ndrain.balancer = "front"\ndrain.server = "web-1"\ndrain.timeout = "30s"\n'
        )
        said = operator.run("restart", served, "--settle", "0.5s", "--json")
        assert said.code == 0, said
        assert "DRAIN" not in haproxy.ask("show stat")
        assert "enters drain state" in haproxy.log.read_text()
        said = operator.run("stop", served, "--drain-server", "nobody", "--json")
        assert (said.code, said.first["reason"]) == (3, "drain_failed"), said
        assert "has no server nobody" in said.first["message"]
        assert engine.state(served) == "running"
        assert operator.run("stop", served, "--json").code == 0
        assert "DRAIN" in haproxy.ask("show stat")
        said = operator.run("stop", served, "--drain-balancer", "back", "--json")
        assert said.code == 2, said
        assert "there is no balancer back; containers.toml has front" in said.err


def test_a_balancer_that_makes_no_sense_is_told_by_its_key() -> None:
    with pytest.raises(
        InvalidParameters, match=r"containers\.toml: balancer\.front\.instances: field required"
    ):
        from_table("front", {"kind": "haproxy"})
    with pytest.raises(InvalidParameters, match=r"balancer\.front"):
        from_table("front", {"kind": "magic"})
