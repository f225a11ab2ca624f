"""What a group needs of the place where it meets holds in each of them: real servers, and a directory."""

from __future__ import annotations

import os
import socket
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.servers.etcd import Etcd, etcd, etcd_server  # noqa: F401
from tests.servers.redis import redis_server  # noqa: F401
from tests.servers.zookeeper import zookeeper_server  # noqa: F401

from hitless.agent.group.coordinator import Coordinator, GroupError, LeaseLost, Unreachable
from hitless.agent.group.directory import Directory, boottime
from hitless.agent.group.member import Member, Register
from hitless.agent.group.options import GroupSettings
from hitless.agent.group.places import coordinator
from hitless.agent.group.record import Draft, Record
from hitless.config.etcd import Gateway

pytestmark = pytest.mark.timeout(300)

LEASE_S = 1.0
DEADLINE_S = 60.0
Make = Callable[[], Coordinator]


@pytest.fixture(params=["file", "etcd3", "zookeeper", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    urls = {
        "file": lambda: f"file://{tmp_path}/groups",
        "etcd3": lambda: request.getfixturevalue("etcd").endpoint.replace("http", "etcd3+http"),
        "zookeeper": lambda: f"zookeeper://127.0.0.1:{request.getfixturevalue('zookeeper_server')}",
        "redis": lambda: f"redis://127.0.0.1:{request.getfixturevalue('redis_server')}",
    }
    settings = GroupSettings(
        name=uuid.uuid4().hex, url=urls[request.param](), lease=LEASE_S, look=0.1, timeout=5
    )
    made: list[Coordinator] = []

    def one() -> Coordinator:
        made.append(coordinator(settings.model_copy(update={"timeout": 5.0})))
        return made[-1]

    yield one
    for each in made:
        each.leave()
        each.close()


def register(name: str, life: str = "1", **more: object) -> Register:
    return Register(member=Member(name=name, incarnation=life)).model_copy(update=more)


def test_each_member_sees_what_the_others_say(make: Make) -> None:
    one, two = make(), make()
    assert not one.look().registers
    one.join(register("one"))
    two.join(register("two"))
    one.renew(register("one", trouble="none"))
    seen = two.look().registers
    assert seen == {"one@1": register("one", trouble="none"), "two@1": register("two")}
    one.leave()
    assert set(two.look().registers) == {"two@1"}


def test_of_two_writes_on_the_same_version_one_is_refused(make: Make) -> None:
    one, two = make(), make()
    first = one.look()
    assert (first.record, first.version) == (Record(), 0)
    draft = Draft(epoch=1, config="c", by="one", expires=5)
    assert one.write(Record(epochs=1, draft=draft), 0)
    assert not two.write(Record(epochs=7), 0)
    seen = two.look()
    assert seen.record == Record(epochs=1, draft=draft)
    assert two.write(Record(epochs=2), seen.version)
    assert not one.write(Record(epochs=3), seen.version)
    for number in range(3, 12):
        assert one.write(Record(epochs=number), one.look().version)
    assert two.look().record == Record(epochs=11)


def test_who_has_lost_its_lease_is_gone_and_cannot_come_back_in_the_same_life(make: Make) -> None:
    one, two = make(), make()
    two.join(register("two"))
    one.join(register("one"))
    one.renew(register("one"))
    began = boottime()
    lose(one)
    deadline = time.monotonic() + DEADLINE_S
    while set(two.look().registers) != {"two@1"}:
        assert time.monotonic() < deadline
        two.renew(register("two"))
        time.sleep(0.05)
    assert boottime() - began >= one.lease_s * 0.9, "others may not take over before the lease has run out"
    with pytest.raises(LeaseLost):
        renewed_again(one)
    one.join(register("one", "2"))
    assert set(two.look().registers) == {"one@2", "two@1"}


def lose(place: Coordinator) -> None:
    """As a member does that the network is taken from: it says nothing more."""
    kazoo = getattr(getattr(place, "_tooz", None), "_coord", None)
    if kazoo is not None:  # its heartbeats are its own
        kazoo.set_hosts("127.0.0.1:9")
        kazoo._connection._socket.shutdown(socket.SHUT_RDWR)


def renewed_again(place: Coordinator) -> None:
    """When the network is back. Of an expired session the client first hears when it is connected again."""
    kazoo = getattr(getattr(place, "_tooz", None), "_coord", None)
    if kazoo is None:
        place.renew(register("one"))
        return
    kazoo.set_hosts(place._url.partition("//")[2])  # type: ignore[attr-defined]
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        with suppress(Unreachable):
            place.renew(register("one"))


def test_a_configuration_is_found_by_its_hash(make: Make) -> None:
    one, two = make(), make()
    assert two.get("none") is None
    one.put("hash", "sources: []\n" * 1000)
    one.put("hash", "sources: []\n" * 1000)
    assert two.get("hash") == "sources: []\n" * 1000


@pytest.mark.parametrize(
    "url", ["etcd3+http://127.0.0.1:9", "zookeeper://127.0.0.1:9", "redis://127.0.0.1:9", "file:///proc/no"]
)
def test_a_place_that_is_not_there_is_told_with_its_address(url: str) -> None:
    settings = GroupSettings(name="g", url=url, lease=2, look=0.1, timeout=0.5)
    place = coordinator(settings)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9|/proc/no"):
        place.join(register("one"))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1", "file://relative/path", "memcached://x", "etcd3+http://a:b@127.0.0.1"]
)
def test_a_url_that_is_no_place_is_refused(url: str) -> None:
    with pytest.raises(GroupError, match="expected"):
        coordinator(GroupSettings(name="g", url=url))


def test_a_process_that_is_stopped_while_it_renews_does_not_come_back_to_life(tmp_path: Path) -> None:
    """It has looked at its lease, stops, the others count it as gone, and then it writes its register."""
    one, two = Directory(tmp_path, 0.3), Directory(tmp_path, 0.3)
    one.join(register("one"))
    wait_until(lambda: not two.look().registers)
    one._until = boottime() + 60.0  # what it had seen before it was stopped
    one_says = one._is_gone
    answers = iter([False])
    one._is_gone = lambda name: next(answers, None) is None and one_says(name)  # type: ignore[method-assign]
    with pytest.raises(LeaseLost):
        one.renew(register("one"))


def test_a_directory_of_another_machine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = Directory(tmp_path, 5.0), Directory(tmp_path, 5.0)
    one.join(register("one"))
    monkeypatch.setattr("hitless.agent.group.directory.boot_id", lambda: "another machine")
    with pytest.raises(Unreachable, match="a directory is for one machine"):
        two.look()


def test_what_was_killed_in_the_middle_of_writing_is_not_read(tmp_path: Path) -> None:
    one = Directory(tmp_path, 5.0)
    one.join(register("one"))
    assert one.write(Record(epochs=1), 0)
    for folder in ("record", "members"):
        (tmp_path / folder / ".half").write_text('{"epochs": 1')
    assert one.look().record == Record(epochs=1)
    assert set(one.look().registers) == {"one@1"}
    assert len(list((tmp_path / "record").iterdir())) == 2


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_a_power_failure_has_left_of_a_member_holds_up_the_others_no_longer_than_its_lease(
    tmp_path: Path,
) -> None:
    meeting = Directory(tmp_path / "group", 30.0)
    meeting.join(register("one"))
    left = tmp_path / "group" / "members" / "two@1"
    left.write_text("")
    with pytest.raises(Unreachable, match="two@1 is not a member"):
        meeting.look()
    os.utime(left, (0, 0))
    assert {each.member.name for each in meeting.look().registers.values()} == {"one"}
    meeting.leave()


def test_a_key_of_etcd_that_is_nothing_of_a_group_is_named_and_nobody_goes_on_without_it(etcd: Etcd) -> None:  # noqa: F811
    name = uuid.uuid4().hex
    settings = GroupSettings(name=name, url=etcd.endpoint.replace("http", "etcd3+http"), lease=5, timeout=1)
    meeting = coordinator(settings)
    meeting.join(register("one"))
    odd = f"/hitless/groups/{name}/group/members/odd"
    Gateway((etcd.endpoint,), 10).ask(
        "/v3/kv/put", {"key": b64encode(odd.encode()).decode(), "value": b64encode(b"garbage").decode()}
    )
    with pytest.raises(Unreachable, match=f"{odd}: Invalid JSON") as refused:
        meeting.look()
    assert "\n" not in str(refused.value)
    meeting.leave()
