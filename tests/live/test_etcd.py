"""A live service whose settings are in etcd: hosts change together, and what befalls etcd does not befall them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from tests.change.documents import blocks
from tests.live.conftest import New, Told
from tests.live.models import Settings, Thing, World
from tests.servers.etcd import Etcd, etcd, etcd_server

from hitless.change import Status
from hitless.config import TomlFile
from hitless.config.etcd import EtcdPrefix
from hitless.control import ControlClient
from hitless.live import Runtime, Setting, StartFailed, Triggers

__all__ = ["etcd", "etcd_server"]

WATCHED = Triggers(watch_interval_s=3600.0, watch_settle_s=0.0)


def source(etcd: Etcd) -> EtcdPrefix:
    return EtcdPrefix("/volumes/", [etcd.endpoint], timeout_s=10.0)


def declare(runtime: Runtime[Settings], world: World) -> None:
    @runtime.resource
    class Pool(Thing):
        def __init__(self, url: Annotated[str, Setting("database.url")]) -> None:
            super().__init__(world, url)


async def test_hosts_that_share_a_prefix_change_together(new: New, etcd: Etcd, world: World) -> None:
    etcd.put(volumes_a_toml="level = 'debug'\n[database]\nurl = 'one'\n")
    hosts = [new(), new()]
    told = [Told(host) for host in hosts]
    for host in hosts:
        declare(host, world)
        await host.start(source(etcd), triggers=WATCHED)
    revision = etcd.put(volumes_a_toml="[database]\nurl = 'two'\n", volumes_b_yaml="level: warning\n")
    for host, heard in zip(hosts, told, strict=True):
        started = await heard.wait_for("change.started", 2)
        await heard.wait_for("change.committed", 2)
        assert started.fields["requested_by"] == f"etcd:/volumes/ at revision {revision}"
        assert (host.settings.level, host.settings.database.url) == ("warning", "two")
        assert host.generation == 2


async def test_files_and_etcd_are_watched_side_by_side(
    new: New, etcd: Etcd, world: World, tmp_path: Path
) -> None:
    etcd.put(volumes_a_toml="port = 81\n")
    path = tmp_path / "here.toml"
    path.write_text("level = 'of the file'\n")
    path.chmod(0o600)
    runtime = new()
    told = Told(runtime)
    quick = Triggers(watch_interval_s=0.2, watch_settle_s=0.0)
    await runtime.start(source(etcd), TomlFile(path), triggers=quick)
    path.write_text("level = 'new'\n")
    await told.wait_for("change.committed", 2)
    etcd.put(volumes_a_toml="port = 82\n")
    await told.wait_for("change.committed", 3)
    assert (runtime.settings.level, runtime.settings.port) == ("new", 82)
    assert not told.named("change.rejected")


async def test_etcd_gone_and_back_with_a_bad_value_leaves_a_working_generation(
    new: New, etcd: Etcd, world: World, tmp_path: Path
) -> None:
    first = etcd.put(volumes_a_toml="[database]\nurl = 'one'\n")
    runtime = new()
    declare(runtime, world)
    told = Told(runtime)
    path = tmp_path / "s.sock"
    await runtime.start(
        source(etcd), triggers=Triggers(watch_interval_s=3600.0, watch_settle_s=0.0, control=path)
    )

    async def watch() -> Any:
        def ask() -> Any:
            with ControlClient(path) as service:
                return service.call("status")["watch"]

        return await asyncio.to_thread(ask)

    def serves(url: str) -> bool:
        with runtime.leases.lock:
            return runtime.settings.database.url == url and world.still_open == {url: 1}

    etcd.kill()
    await told.wait_for("source.lost")
    [standing] = (await watch())["sources"]
    assert (standing["name"], standing["state"], standing["revision"]) == (
        "etcd:/volumes/",
        "unreachable",
        str(first),
    )
    assert "cannot be asked" in standing["message"]
    outcome = await runtime.reload()
    assert (outcome.status, outcome.reason, outcome.invalid) == (Status.REJECTED, "source_unreachable", False)
    assert serves("one")

    etcd.start()
    await told.wait_for("source.found")
    revision = etcd.put(volumes_a_toml="[database]\nurl = 2\n")
    rejected = await told.wait_for("change.rejected", 2)
    assert rejected.fields["message"] == "etcd:/volumes/a.toml:2: database.url: expected text, got 2"
    async with asyncio.timeout(60):
        while (found := await watch())["failing"] is None:
            pass  # the event comes before the end of the change
    assert found["failing"] == found["sources"][0]["failing"]
    assert (found["sources"][0]["state"], found["sources"][0]["revision"]) == ("connected", str(revision))
    assert serves("one")

    etcd.delete("/volumes/a.toml")
    rejected = await told.wait_for("change.rejected", 3)
    assert rejected.fields["message"] == "etcd:/volumes/: has no keys below it"
    etcd.put(volumes_a_toml="[database]\nurl = 'two'\n")
    await told.wait_for("change.committed", 2)
    await runtime.drained()
    assert serves("two")
    async with asyncio.timeout(60):
        while (await watch())["failing"] is not None:
            pass


async def test_a_start_without_etcd_fails_and_says_that_it_may_be_tried_again(new: New, etcd: Etcd) -> None:
    etcd.kill()
    runtime = new()
    with pytest.raises(StartFailed, match=r"etcd:/volumes/: .*; it can be tried again") as caught:
        await runtime.start(source(etcd))
    assert caught.value.outcome.reason == "source_unreachable"


async def test_a_secret_file_that_is_missing_is_named_with_the_key_that_wants_it(
    new: New, etcd: Etcd, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    etcd.put(volumes_a_toml=f"[database]\npassword = 'file:{secret}'\n")
    secret.write_text("correct-horse\n")
    runtime = new()
    await runtime.start(source(etcd))
    secret.unlink()
    outcome = await runtime.reload()
    assert outcome.message.startswith("etcd:/volumes/a.toml:2: database.password: the secret file")
    assert runtime.settings.database.password is not None
    assert runtime.settings.database.password.get_secret_value() == "correct-horse"


async def test_the_example_of_the_page_follows_a_change(etcd: Etcd) -> None:
    etcd.put(volumes_10_toml="level = 'info'\n")
    [program] = blocks("etcd.md", "python")
    example = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program.replace("http://127.0.0.1:2379", etcd.endpoint).replace(".level)", ".level, flush=True)"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert example.stdout is not None
    try:
        async with asyncio.timeout(100):
            assert await example.stdout.readline() == b"info\n"
            etcd.put(volumes_10_toml="level = 'debug'\n")
            assert await example.stdout.readline() == b"debug\n"
            assert await example.wait() == 0
    finally:
        if example.returncode is None:
            example.kill()
            await example.wait()
