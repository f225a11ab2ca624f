"""What a new container is created with, and whether it may run beside the old one. No engine is needed to decide either."""

from __future__ import annotations

from typing import Any

import pytest
from tests.containers.test_parameters import DOCKER, container

from hitless.containers import (
    Alternates,
    CannotOverlap,
    Container,
    Ended,
    Overlap,
    Parameters,
    StopOutcome,
    parameters,
)
from hitless.containers.fixed import asked_for, without_arguments
from hitless.containers.overlap import overlap
from hitless.containers.spec import Spec, creation

BALANCER = {"drain.host": ("balancer",), "drain.host_undo": ("balancer",)}


def spec(old: Container) -> Spec:
    return creation(old, image="x", image_config={}, policy=old.policy)


def networked(address: str | None = None, host_ip: str = "", port: str = "", **host: Any) -> Container:
    """On the network `inside`, perhaps with an address and a port of its own."""
    endpoint = {"IPAMConfig": {"IPv4Address": address} if address else None, "Aliases": ["web"]}
    ports = {"80/tcp": [{"HostIp": host_ip, "HostPort": port}]} if port else {}
    found = container(HostConfig={"NetworkMode": "inside", "PortBindings": ports, **host})
    raw = {
        **found.raw,
        "NetworkSettings": {"Networks": {"inside": endpoint}},
        "Mounts": host.pop("Mounts", []),
    }
    return Container.from_inspect(raw)


def applied(old: Container, **given: Any) -> Parameters:
    return parameters(old, DOCKER, given={key.replace("__", "."): value for key, value in given.items()})


def decided(old: Container, after: Container | None = None, **given: Any) -> Overlap:
    return overlap(old, before=spec(old), after=spec(after or old), parameters=applied(old, **given))


def test_each_container_takes_the_alternate_that_its_predecessor_has_not() -> None:
    ways = Alternates(
        publish=("127.0.0.1:8101:80", "127.0.0.1:8102:80"),
        address=("inside=10.0.0.1", "inside=10.0.0.2"),
        env=("PORT=1", "PORT=2"),
    )
    places = []
    now = spec(networked("10.0.0.1", "127.0.0.1", "8101"))
    for _ in range(3):
        now = ways.switched(now)
        port = now.ports["80/tcp"][0]["HostPort"]
        places.append((port, now.networks["inside"]["IPAMConfig"]["IPv4Address"], now.body["Env"]))
    assert places == [
        ("8102", "10.0.0.2", ["PORT=1"]),
        ("8101", "10.0.0.1", ["PORT=2"]),
        ("8102", "10.0.0.2", ["PORT=1"]),
    ]
    assert now.networks["inside"]["Aliases"] == ["web"]


@pytest.mark.parametrize(
    ("mine", "theirs", "is_contested"),
    [
        (networked("10.0.0.1"), networked("10.0.0.1"), True),
        (networked("10.0.0.1"), networked("10.0.0.2"), False),
        (networked(port="80"), networked(host_ip="127.0.0.1", port="80"), True),
        (networked(host_ip="127.0.0.2", port="80"), networked(host_ip="127.0.0.1", port="80"), False),
        (networked(port="80"), networked(port="81"), False),
        (networked(port="0"), networked(port="0"), False),
    ],
)
def test_what_only_one_can_have_is_a_port_or_an_address_that_is_the_same(
    mine: Container, theirs: Container, is_contested: bool
) -> None:
    if not is_contested:
        assert decided(mine, theirs, order="new_first").new_first
        return
    with pytest.raises(CannotOverlap, match="only one can have"):
        decided(mine, theirs, order="new_first")
    assert not decided(mine, theirs, **BALANCER).new_first


def test_new_first_is_for_those_that_can_be_reached_and_do_not_share() -> None:
    assert "no balancer" in decided(networked()).why
    assert decided(networked(), **BALANCER).new_first
    assert decided(networked(), alternate__env=("PORT=1", "PORT=2")).new_first
    assert "host's network" in decided(networked(NetworkMode="host"), **BALANCER).why
    volume = {"Type": "volume", "Name": "v", "Destination": "/data", "RW": True}
    assert "both would write to /data" in decided(networked(Mounts=[volume]), **BALANCER).why
    assert (
        "both would write to /data" in decided(networked(Mounts=[{**volume, "Type": "bind"}]), **BALANCER).why
    )
    assert decided(networked(Mounts=[{**volume, "RW": False}]), **BALANCER).new_first
    assert decided(networked(Mounts=[volume]), order="new_first").new_first, "who asks for it knows"
    assert not decided(networked(), order="old_first", **BALANCER).new_first


def test_addresses_are_read_from_the_command_that_gave_them() -> None:
    engines = "podman run --network=inside:ip=10.0.0.9,mac=aa:bb,alias=x --net outside --ip6 fd00::9 image"
    theirs = ["serve", "--ip", "1"]
    words = without_arguments((*engines.split(" "), *theirs), theirs)
    assert asked_for(words, ["inside", "outside"]) == {
        "inside": {"IPv4Address": "10.0.0.9", "MacAddress": "aa:bb", "IPv6Address": "fd00::9"},
        "outside": {},
    }
    alone = ("podman", "run", "--ip", "10.0.0.8", "image")
    assert asked_for(without_arguments(alone, ["serve"]), ["podman"]) == {
        "podman": {"IPv4Address": "10.0.0.8"}
    }
    assert asked_for(without_arguments((), []), ["inside"]) == {}, "it was created by no command"


def test_volumes_without_a_name_are_kept_by_the_name_that_they_have() -> None:
    had = [
        {"Type": "volume", "Name": "first", "Destination": "/a", "RW": True},
        {"Type": "volume", "Name": "second", "Destination": "/b", "RW": False},
    ]
    old = networked(Mounts=had)
    raw = {**old.raw, "HostConfig": {**old.raw["HostConfig"], "Mounts": [{"Type": "volume", "Target": "/a"}]}}
    host = spec(Container.from_inspect(raw)).body["HostConfig"]
    assert host["Mounts"] == [{"Type": "volume", "Target": "/a", "Source": "first"}]
    assert host["Binds"] == ["second:/b:ro"]


def test_one_that_runs_again_is_not_taken_for_stopped() -> None:
    assert StopOutcome("web", "1", Ended.LOST, "exit_code", "").is_stopped
    assert not StopOutcome("web", "1", Ended.LOST, "resurrected", "").is_stopped
    assert not StopOutcome("web", "1", Ended.LOST, "engine_gone", "").is_stopped
