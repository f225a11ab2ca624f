"""Against a real nginx."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from tests.rollout.balancers.node import Client, nodes
from tests.servers.nginx import NginxServer, running_nginx
from tests.servers.sshd import running_sshd

from hitless.change import Deadline
from hitless.rollout.balancers import BalancerRefused, BalancerUnreachable, DrainLate, NoSuchServer
from hitless.rollout.balancers.nginx import Nginx
from hitless.rollout.balancers.settings import NginxSettings
from hitless.rollout.balancers.upstream_file import rewritten, statuses


def soon(seconds: float = 60) -> Deadline:
    return Deadline.after(seconds)


def balancer(server: NginxServer) -> Nginx:
    return Nginx(
        NginxSettings(
            kind="nginx",
            file=str(server.file),
            pid=str(server.pid),
            nginx=server.command,
            poll=0.05,
            answer=30,
        )
    )


def test_only_the_servers_own_line_changes_and_is_the_same_again_in_the_end() -> None:
    text = (
        "upstream web {\n  server 127.0.1.1:80 weight=2; # n1 first rack\n\tserver 127.0.1.2:80;\n"
        "  server 127.0.1.3:80 down; # n3\n  # server 127.0.1.4:80; # n4\n  keepalive 4;\n}\n"
    )
    assert statuses(text) == {"n1": "ready", "127.0.1.2:80": "ready", "n3": "maint"}
    for name in ("n1", "127.0.1.2:80"):
        for status in ("drain", "maint"):
            changed = rewritten(text, name, status)  # type: ignore[arg-type]
            assert statuses(changed) == {**statuses(text), name: status}
            assert len(set(changed.splitlines()) ^ set(text.splitlines())) == 2
            assert rewritten(changed, name, "ready") == text


async def test_a_drained_server_gets_no_new_work_and_finishes_what_it_has() -> None:
    async with nodes(2) as (one, two), AsyncExitStack() as stack:
        lines = [f"server {each.where}; # {each.name}" for each in (one, two)]
        nginx = stack.enter_context(running_nginx(lines))
        edge = balancer(nginx)
        idle = await stack.enter_async_context(Client(nginx.port))
        assert await idle.ask() in ("n1", "n2")
        clients = [await stack.enter_async_context(Client(nginx.port)) for _ in range(8)]
        held = [asyncio.create_task(client.ask("/held")) for client in clients]
        await one.until_held(3)  # both get some, as each worker takes turns
        await two.until_held(3)
        with pytest.raises(
            DrainLate, match=r"n1 still has \d sessions after 4 s; the oldest: worker \d+ for"
        ):
            await edge.drain("n1", soon(4))
        state = (await edge.servers(soon()))["n1"]
        assert (state.status, state.up) == ("drain", False)
        assert state.sessions > 0
        before = one.requests
        for _ in range(6):
            async with Client(nginx.port) as late:
                assert await late.ask() == "n2"
        assert one.requests == before
        one.release.set()
        two.release.set()
        await edge.drain("n1", soon())
        assert set(await asyncio.gather(*held)) == {"n1", "n2"}
        await edge.maint("n1", soon())
        assert (await edge.servers(soon()))["n1"].status == "maint"
        await edge.ready("n1", soon())
        assert nginx.file.read_text().splitlines()[1].strip() == lines[0]
        async with Client(nginx.port) as client:
            assert {await client.ask() for _ in range(12)} == {"n1", "n2"}


async def test_a_file_that_nginx_refuses_is_as_it_was_and_the_old_one_serves_on() -> None:
    async with nodes(2) as (one, two), AsyncExitStack() as stack:
        nginx = stack.enter_context(
            running_nginx([f"server {each.where}; # {each.name}" for each in (one, two)])
        )
        edge = balancer(nginx)
        other = nginx.file.with_name("other.conf")
        other.write_text("upstream other { nonsense; }\n")
        before = nginx.file.read_text()
        with pytest.raises(BalancerRefused, match=r'-t -q failed: .*unknown directive "nonsense"'):
            await edge.drain("n1", soon())
        assert nginx.file.read_text() == before
        assert (await edge.servers(soon()))["n1"].status == "ready"
        other.unlink()
        async with Client(nginx.port) as client:
            assert {await client.ask() for _ in range(8)} == {"n1", "n2"}
        await edge.drain("n1", soon())


async def test_a_file_that_was_written_and_not_loaded_counts_as_what_is_worse() -> None:
    async with nodes(2) as (one, two), AsyncExitStack() as stack:
        nginx = stack.enter_context(
            running_nginx([f"server {each.where}; # {each.name}" for each in (one, two)])
        )
        edge = balancer(nginx)
        await edge.drain("n1", soon())
        # What a kill between writing and reloading leaves.
        nginx.file.write_text(rewritten(nginx.file.read_text(), "n2", "drain"))
        states = await edge.servers(soon())
        assert states["n2"].status == "ready"
        assert "was not loaded" in states["n2"].instances["nginx"].detail
        await edge.ready("n1", soon())
        states = await edge.servers(soon())
        assert [states[name].status for name in ("n1", "n2")] == ["ready", "drain"]


async def test_what_is_missing_is_told() -> None:
    with running_nginx(["server 127.0.1.1:1; # n1"]) as nginx:
        edge = balancer(nginx)
        with pytest.raises(NoSuchServer, match=r"has no server n7; it has n1"):
            await edge.drain("n7", soon())
        nginx.stop()
        with pytest.raises((BalancerUnreachable, BalancerRefused), match="nginx"):
            await edge.drain("n1", soon())
        nginx.file.unlink()
        with pytest.raises(BalancerRefused, match="No such file"):
            await edge.servers(soon())


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_an_nginx_of_another_machine_is_reached_by_ssh() -> None:
    async with nodes(2) as (one, two), AsyncExitStack() as stack:
        nginx = stack.enter_context(
            running_nginx([f"server {each.where}; # {each.name}" for each in (one, two)])
        )
        sshd = stack.enter_context(running_sshd())
        settings = NginxSettings(
            kind="nginx", file=str(nginx.file), pid=str(nginx.pid), nginx=nginx.command, hosts=("n1",),
            ssh=("ssh", "-F", str(sshd.config)), answer=60,
        )  # fmt: skip
        edge = Nginx(settings)
        await edge.drain("n1", soon(200))
        async with Client(nginx.port) as client:
            assert {await client.ask() for _ in range(6)} == {"n2"}
        assert set((await edge.servers(soon()))["n1"].instances) == {"n1"}
        await edge.ready("n1", soon(200))
        await edge.aclose()
