"""The volume service under load through changes, good and bad: no action is lost, no volume half-copied, and the connections of
backends that go are closed as they should be, as their target sees it.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.demo.storage_checks import rows, stored

from hitless.control import ControlClient
from hitless.demo import storage, volume_load
from hitless.demo.configuration import Configuration
from hitless.demo.place import example
from hitless.demo.service import Service
from hitless.demo.storage import CLEAN, Target, target, volume_service
from hitless.demo.volume_client import Lost, VolumeClient
from hitless.demo.volume_load import VolumeLoad

RATE = 400_000
SIZES = (50_000, 250_000)
AFTER_EACH = 6
"""Requests that end between two changes."""
DISK = {"kind": "directory", "path": "disk"}
THIN = {"kind": "pool", "path": "thin.pool", "size": "512MiB"}
TOP = {"default_backend": "disk", "requests": "unix:volumes.sock", "database": "sqlite:volumes.sqlite"}
COPYING = {"at_once": 32, "chunk": "32KiB", "bytes_per_s": RATE}
ALWAYS = ("disk", "thin")

Edit = Callable[[Configuration], Configuration]


@dataclass
class Ground:
    """A running service with its targets, and what an operator does to it."""

    folder: Path
    service: Service
    targets: list[Target]
    silent: socket.socket
    """Accepts nobody and says nothing."""
    in_force: Configuration
    before: Configuration | None = None
    generation: int = 1
    found: Counter[str] = field(default_factory=Counter)

    @property
    def config(self) -> Path:
        return self.folder / "volumes.toml"

    @property
    def door(self) -> Path:
        return self.folder / "volumes.sock"

    @property
    def silent_address(self) -> str:
        return f"127.0.0.1:{self.silent.getsockname()[1]}"

    @property
    def stores(self) -> dict[str, Path]:
        return {portal: each.store for each in self.targets for portal in each.portals}

    async def ask(self, method: str, **params: int) -> Any:
        def call() -> Any:
            with ControlClient(self.folder / "r" / "volumes.sock", timeout_s=60) as client:
                return client.call(method, params)

        return await asyncio.to_thread(call)

    async def change(self, new: Configuration) -> None:
        """A good one."""
        new.write(self.config)
        outcome = (await self.ask("reload"))["outcome"]
        assert outcome["status"] == "applied", outcome
        self._applied(new, outcome)

    async def rollback(self) -> None:
        assert self.before is not None
        outcome = (await self.ask("rollback"))["outcome"]
        assert outcome["status"] == "applied", outcome
        self._applied(self.before, outcome)

    async def refused(self, text: str) -> tuple[str, str]:
        """A bad one: nothing changes; reason and message."""
        self.config.write_text(text)
        outcome = (await self.ask("reload"))["outcome"]
        assert outcome["status"] == "rejected", outcome
        assert outcome["generation"] == self.generation
        self.found[outcome["reason"]] += 1
        return outcome["reason"], outcome["message"]

    async def settled(self) -> None:
        """The targets have seen the end of every connection to what is no longer in force."""
        used = {each.get("address") for each in self.in_force.backends.values()}
        for each in self.targets:
            for portal in each.portals:
                if portal not in used:
                    await each.closed(portal)

    async def stop(self) -> None:
        self.service.process.terminate()
        assert await self.service.exited(60) == 0, self.service.tail()

    def requests(self) -> Counter[str]:
        """How many there are in the catalogue, by state."""
        return Counter(
            dict(rows(self.folder / "volumes.sqlite", "SELECT state, count(*) FROM requests GROUP BY 1"))
        )

    def check_storage(self, contents: dict[str, str]) -> None:
        """Every volume that there should be holds what was written to it; every volume in the catalogue is available, on
        its backend, with the content that the catalogue knows of; and there is nothing else on the backends.
        """
        found = stored(self.folder, self.in_force.backends, self.stores)
        volumes = rows(self.folder / "volumes.sqlite", "SELECT backend, id, state, sha256 FROM volumes")
        assert {(backend, volume) for backend, volume, *_ in volumes} == set(found)
        assert {state for *_, state, _ in volumes} <= {"available"}
        on = {volume: digest for (_, volume), digest in found.items()}
        assert {volume: on.get(volume) for volume in contents} == contents
        for backend, volume, _, digest in volumes:
            assert digest in (None, found[backend, volume])

    def _applied(self, new: Configuration, outcome: Any) -> None:
        assert outcome["generation"] > self.generation
        self.generation = outcome["generation"]
        self.before, self.in_force = self.in_force, new
        self.found["applied"] += 1


@asynccontextmanager
async def ground(folder: Path, *, targets: int = 2) -> AsyncIterator[Ground]:
    first = Configuration({"disk": DISK, "thin": THIN}, COPYING, TOP)
    (folder / "disk").mkdir()
    (folder / "more").mkdir()
    first.write(folder / "volumes.toml")
    async with AsyncExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        sans = [
            await stack.enter_async_context(target(folder / f"san{number}", portals=2))
            for number in range(targets)
        ]
        service = await stack.enter_async_context(volume_service(folder / "volumes.toml"))
        yield Ground(folder, service, sans, silent, first)


def good_changes(ground: Ground, chosen: Random) -> list[Edit]:
    """Some that would each change something."""
    now, (one, two) = ground.in_force, ground.targets
    options = {"connections": chosen.randint(1, 6), "timeout": 30 + chosen.random()}
    backends = {
        "more": {"kind": "directory", "path": "more"},
        "san": {"kind": "target", "address": chosen.choice(one.portals), **options},
        "other": {"kind": "target", "address": chosen.choice(two.portals), **options},
    }
    at_once = 16 + (int(now.copying["at_once"]) + 1) % 48
    copying = {"chunk": chosen.choice([8192, 16384, 65536]), "at_once": at_once}
    edits: list[Edit] = [lambda c: c.but(copying=copying)]
    for name, backend in backends.items():
        if name in now.backends:
            edits.append(lambda c, name=name: c.but(**{name: None}))  # type: ignore[misc]
        if backend != now.backends.get(name):
            edits.append(lambda c, name=name, backend=backend: c.but(**{name: backend}))  # type: ignore[misc]
    return edits


def bad_changes(ground: Ground, chosen: Random) -> list[tuple[str, str]]:
    """Each with its reason; what else they would change is good."""
    now = chosen.choice(good_changes(ground, chosen))(ground.in_force)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        unreachable = f"127.0.0.1:{nobody.getsockname()[1]}"
    san = {"kind": "target", "timeout": 0.5}
    return [
        ("build_failed", now.but(bad={**san, "address": unreachable}).text()),
        ("build_failed", now.but(bad={**san, "address": ground.silent_address}).text()),
        ("build_failed", now.but(bad={"kind": "directory", "path": "nowhere"}).text()),
        ("build_failed", now.but(bad={"kind": "pool", "path": "nowhere/pool", "size": "1MiB"}).text()),
        ("build_failed", now.but(thin={**THIN, "extent": "4KiB"}).text()),
        ("build_failed", now.but(top={"database": "sqlite:nowhere/volumes.sqlite"}).text()),
        ("build_failed", now.but(top={"requests": "unix:nowhere/volumes.sock"}).text()),
        ("unknown_key", now.but(top={"default_backend": "dsik"}).text()),
        ("configuration_invalid", now.but(thin={**THIN, "size": "much"}).text()),
        ("configuration_invalid", now.but(thin={**THIN, "sise": "1MiB"}).text()),
        ("configuration_invalid", now.but(bad={"kind": "tape"}).text()),
        ("configuration_invalid", now.text().partition("ying]")[0]),
    ]


async def through_changes(folder: Path, *, changes: int, clients: int, seed: int) -> Counter[str]:
    """What happened, by kind."""
    chosen = Random(seed)
    async with ground(folder) as made:
        load = VolumeLoad(made.door, clients=clients, backends=ALWAYS, sizes=SIZES, seed=seed)
        async with load:
            load.step("changes")
            await load.more(clients)
            for number in range(changes):
                if number % 3 == 2:
                    reason, text = chosen.choice(bad_changes(made, chosen))
                    assert (await made.refused(text))[0] == reason
                elif made.before is not None and chosen.random() < 0.1:
                    await made.rollback()
                else:
                    await made.change(chosen.choice(good_changes(made, chosen))(made.in_force))
                load.backends = tuple(made.in_force.backends)
                await load.more(AFTER_EACH)
                await made.settled()
            await load.stop()
        load.step("compare")
        await made.change(
            Configuration(
                {
                    "disk": DISK,
                    "thin": THIN,
                    "more": {"kind": "directory", "path": "more"},
                    "san": {"kind": "target", "address": made.targets[0].portals[0]},
                    "other": {"kind": "target", "address": made.targets[1].portals[0], "connections": 3},
                },
                COPYING,
                TOP,
            )
        )
        compared = await load.verify()
        drains = [
            entry["drained"]
            for entry in await made.ask("history", limit=changes + 10)
            if entry.get("drained")
        ]
        await made.stop()
        for each in made.targets:
            each.process.terminate()  # after that it has nothing more to tell
            await each.ended()
            assert {each.ended for each in each.connections.values()} == {CLEAN}
        assert load.failures == []
        assert made.requests() == Counter(done=load.accepted)
        made.check_storage(load.contents)
        assert all(drain["cut"] == 0 for drain in drains)
        connections = sum(len(each.connections) for each in made.targets)
        across = sum(drain["finished"] for drain in drains)
        return made.found + Counter(
            compared=compared,
            accepted=load.accepted,
            rounds=load.rounds,
            connections=connections,
            across=across,
        )


@pytest.mark.timeout(300)
async def test_fifty_changes_lose_no_action_tear_no_connection_and_leave_no_volume_half_copied(
    folder: Path,
) -> None:
    found = await through_changes(folder, changes=50, clients=6, seed=1)
    assert found["applied"] >= 30
    assert found["build_failed"]
    assert found["configuration_invalid"]
    assert found["accepted"] > 100
    assert found["compared"]
    assert found["connections"] > 10
    assert found["across"] > 10  # actions that went on while their generation was replaced


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a_thousand_changes_under_heavy_load_lose_nothing(folder: Path) -> None:
    found = await through_changes(folder, changes=1000, clients=24, seed=2)
    print(dict(found))
    assert found["applied"] > 600


async def test_a_copy_that_is_not_whole_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service whose copies lack the last byte of each piece, and which does not look: the load does."""
    broken = folder / "broken"
    shutil.copytree(example("volumes"), broken)
    copying = broken / "volumes" / "copying.py"
    text = copying.read_text()
    for old, new in (
        ("await new.write(offset, data)", "await new.write(offset, data[:-1])"),
        ("!= digest.hexdigest()", "is None"),
    ):
        assert old in text
        text = text.replace(old, new)
    copying.write_text(text)
    monkeypatch.setattr(storage, "example", lambda _: broken)
    monkeypatch.setattr(volume_load, "KEPT_SHARE", 1.0)
    async with ground(folder, targets=0) as made:
        async with VolumeLoad(made.door, clients=2, backends=ALWAYS, sizes=SIZES) as load:
            await load.more(20)
        assert any("does not hold what was written" in failure.why for failure in load.failures)
        with pytest.raises(AssertionError):
            made.check_storage(load.contents)


# what no change can prevent


async def under_way(client: VolumeClient, made: Ground, name: str) -> Any:
    """A copy to the target that is in progress."""
    await client.ask("create", name, size=4_000_000, backend="disk")
    pending = client.begin("copy", name, to=f"{name}.copy", backend="san")
    await pending.accepted.wait()
    async with asyncio.timeout(30):
        while not (made.targets[0].store / f"{name}.copy").exists():  # noqa: ASYNC110 - other processes do it
            await asyncio.sleep(0.01)
    return pending


async def test_a_copy_whose_target_dies_fails_and_leaves_nothing_half_copied(folder: Path) -> None:
    async with ground(folder, targets=1) as made:
        san = {"kind": "target", "address": made.targets[0].portals[0]}
        await made.change(made.in_force.but(san=san))
        client = await VolumeClient.to(made.door, "t")
        pending = await under_way(client, made, "v")
        made.targets[0].process.send_signal(signal.SIGKILL)
        answer = await client.end_of(pending)
        assert answer.state == "failed"
        assert "connect" in str(answer)  # it broke, or there was none to be had
        assert (await client.ask("show", "v")).said["volume"]["state"] == "available"
        assert (await client.ask("show", "v.copy")).reason == "NoSuchVolume"
        assert (await client.ask("create", "w", size=1000)).state == "done"
        assert (await client.ask("copy", "w", to="w.copy", backend="thin")).state == "done"
        await client.close()
        await made.stop()


async def test_a_service_that_was_killed_settles_what_it_left(folder: Path) -> None:
    async with ground(folder, targets=1) as made:
        san = {"kind": "target", "address": made.targets[0].portals[0]}
        await made.change(made.in_force.but(san=san))
        client = await VolumeClient.to(made.door, "t")
        pending = await under_way(client, made, "v")
        made.service.process.kill()
        with pytest.raises(Lost):
            await client.end_of(pending)
        await client.close()
        await made.service.process.wait()
        async with volume_service(made.config):
            client = await VolumeClient.to(made.door, "u")
            assert (await client.ask("show", "v")).said["volume"]["state"] == "available"
            copy = (await client.ask("show", "v.copy")).said["volume"]
            assert (copy["state"], copy["error"]) == ("error", "the service ended before the request did")
            assert made.requests() == Counter(done=1, failed=1)
            assert (await client.ask("delete", "v.copy")).state == "done"
            assert (await client.ask("create", "v.copy", size=1000, backend="san")).state == "done"
            await client.close()


async def test_a_volume_that_is_not_on_its_backend_can_be_deleted(folder: Path) -> None:
    async with ground(folder, targets=0) as made:
        client = await VolumeClient.to(made.door, "t")
        assert (await client.ask("create", "v", size=1000, backend="disk")).state == "done"
        (folder / "disk" / "v").unlink()
        failed = await client.ask("write", "v", data="eA==")
        assert (failed.state, (await client.ask("show", "v")).said["volume"]["state"]) == ("failed", "error")
        assert (await client.ask("delete", "v")).state == "done"
        assert (await client.ask("show", "v")).reason == "NoSuchVolume"
        await client.close()
        await made.stop()


async def test_a_request_that_is_asked_again_is_not_done_again_and_has_the_same_answer(folder: Path) -> None:
    async with ground(folder, targets=0) as made:
        answers = []
        for _ in range(3):
            client = await VolumeClient.to(made.door, "same")  # its requests have the same ids
            assert (await client.ask("create", "v", size=200_000)).state == "done"
            copy = client.begin("copy", "v", to="v.copy", backend="thin")
            if not answers:
                await copy.accepted.wait()
                again = await VolumeClient.to(made.door, "same")
                again.begin("create", "v", size=200_000)
                answers.append(await again.ask("copy", "v", to="v.copy", backend="thin"))
                await again.close()
            answers.append(await client.end_of(copy))
            for volume in ("v", "v.copy"):
                assert (await client.ask("delete", volume)).state == "done"
            await client.close()
        assert {(answer.state, answer.said["sha256"]) for answer in answers} == {
            ("done", hashlib.sha256(bytes(200_000)).hexdigest())
        }
        assert made.requests() == Counter(done=4)
        await made.stop()


async def test_requests_come_in_where_the_configuration_says_and_those_that_came_in_before_are_answered(
    folder: Path,
) -> None:
    async with ground(folder, targets=0) as made:
        old = await VolumeClient.to(made.door, "old")
        await old.ask("create", "v", size=400_000)
        pending = old.begin("copy", "v", to="v.copy", backend="thin")
        await pending.accepted.wait()
        await made.change(made.in_force.but(top={"requests": "unix:new.sock"}))
        new = await VolumeClient.to(folder / "new.sock", "new")
        assert (await new.ask("create", "w", size=1000)).state == "done"
        assert (await old.end_of(pending)).state == "done"
        await new.close()
        await old.close()
        await made.stop()
