"""Against real HAProxys."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, ExitStack, suppress

import pytest
from tests.rollout.balancers.node import Client, nodes
from tests.servers.haproxy import HAProxyServer, running_haproxy, web

from hitless.change import Deadline
from hitless.rollout.balancers import (
    BalancerError,
    BalancerRefused,
    BalancerUnreachable,
    DrainLate,
    InstancesDiffer,
    NoSuchServer,
    ServerState,
)
from hitless.rollout.balancers.haproxy import HAProxy
from hitless.rollout.balancers.settings import HAProxySettings


def soon(seconds: float = 60) -> Deadline:
    return Deadline.after(seconds)


def balancer(*instances: str, told: list[str] | None = None, **options: object) -> HAProxy:
    said: list[str] = [] if told is None else told
    return HAProxy(HAProxySettings(instances=instances, poll=0.05, **options), said.append)  # type: ignore[arg-type]


async def test_a_drained_server_gets_no_new_work_and_finishes_what_it_has() -> None:
    async with nodes(2) as (one, two), AsyncExitStack() as stack:
        haproxy = stack.enter_context(running_haproxy(web([(each.name, each.where) for each in (one, two)])))
        edge = balancer(haproxy.socket)
        clients = [await stack.enter_async_context(Client(haproxy.port)) for _ in range(4)]
        held = [asyncio.create_task(client.ask("/held")) for client in clients]
        await one.until_held(2)
        await two.until_held(2)
        draining = asyncio.create_task(edge.drain("n1", soon()))
        state = await until_draining(edge, draining)
        assert state.sessions == 2
        assert not state.is_idle
        async with Client(haproxy.port) as late:
            assert {await late.ask() for _ in range(6)} == {"n2"}
        assert not draining.done()
        one.release.set()
        two.release.set()
        await draining
        assert sorted(await asyncio.gather(*held)) == ["n1", "n1", "n2", "n2"]
        # Clients that keep their connections open hold nothing up, and go to the other server.
        assert {await client.ask() for client in clients} == {"n2"}
        await edge.maint("n1", soon())
        assert (await edge.servers(soon()))["n1"].status == "maint"
        await edge.ready("n1", soon())
        state = (await edge.servers(soon()))["n1"]
        assert (state.status, state.up) == ("ready", True)
        assert {await clients[0].ask() for _ in range(8)} == {"n1", "n2"}


async def test_a_drain_that_is_late_tells_who_is_waited_for_and_stays_draining() -> None:
    async with nodes(1) as (one,), AsyncExitStack() as stack:
        haproxy = stack.enter_context(running_haproxy(web([("n1", one.where)])))
        edge = balancer(haproxy.tcp)
        client = await stack.enter_async_context(Client(haproxy.port))
        held = asyncio.create_task(client.ask("/held"))
        await one.until_held(1)
        with pytest.raises(
            DrainLate, match=r"n1 still has 1 sessions after 2 s; the oldest: 127\.0\.0\.1:\d+ for"
        ) as caught:
            await edge.drain("n1", soon(2))
        assert len(caught.value.sessions) == 1
        assert (await edge.servers(soon()))["n1"].status == "drain"
        assert [each.instance for each in await edge.sessions("n1", soon())] == [haproxy.tcp]
        one.release.set()
        assert await held == "n1"
        await edge.drain("n1", soon())


async def test_sessions_are_cut_only_when_that_was_asked_for_and_it_is_told() -> None:
    async with nodes(1) as (one,), AsyncExitStack() as stack:
        body = (
            "frontend f\n  mode tcp\n  bind 127.0.0.1:{port}\n  default_backend b\nbackend b\n  mode tcp\n"
            + (f"  server n1 {one.where}\n")
        )
        haproxy = stack.enter_context(running_haproxy(body))
        client = await stack.enter_async_context(Client(haproxy.port))
        assert await client.ask() == "n1"
        told: list[str] = []
        with pytest.raises(DrainLate):  # in TCP mode an idle connection is a session
            await balancer(haproxy.socket, told=told).drain("n1", soon(2))
        assert await client.ask() == "n1"
        assert told == []
        await balancer(haproxy.socket, told=told, cut_after=0.2).drain("n1", soon())
        assert len(told) == 1
        assert told[0].startswith("1 sessions of n1 were cut after 0.2 s: 127.0.0.1:")
        with pytest.raises((asyncio.IncompleteReadError, OSError)):
            await client.ask()


async def test_several_instances_are_changed_together() -> None:
    async with nodes(2) as (one, two), AsyncExitStack() as stack:
        body = web([(each.name, each.where) for each in (one, two)])
        pair = [stack.enter_context(running_haproxy(body)) for _ in range(2)]
        edge = balancer(*(each.socket for each in pair))
        client = await stack.enter_async_context(Client(pair[1].port))
        held = [asyncio.create_task(client.ask("/held"))]
        other = await stack.enter_async_context(Client(pair[1].port))
        held.append(asyncio.create_task(other.ask("/held")))
        await one.until_held(1)
        with pytest.raises(DrainLate):
            await edge.drain("n1", soon(2))  # the other instance has nothing to do
        one.release.set()
        two.release.set()
        await asyncio.gather(*held)
        await edge.drain("n1", soon())
        assert all(" 8 " in each.ask("show servers state web").splitlines()[2][:40] for each in pair)
        assert set((await edge.servers(soon()))["n1"].instances) == {each.socket for each in pair}
        pair[0].ask("set server web/n1 state ready")
        with pytest.raises(InstancesDiffer, match=f"ready at {pair[0].socket}, drain at {pair[1].socket}"):
            await edge.servers(soon())
        await edge.drain("n1", soon())  # brings them together
        assert (await edge.servers(soon()))["n1"].status == "drain"


async def test_an_instance_that_is_down_is_told_and_nothing_is_changed() -> None:
    with ExitStack() as stack:
        body = web([("n1", "127.0.1.1:1"), ("n2", "127.0.1.2:1")])
        pair = [stack.enter_context(running_haproxy(body)) for _ in range(2)]
        edge = balancer(*(each.socket for each in pair))
        pair[1].stop(signal.SIGKILL)
        with pytest.raises(BalancerUnreachable, match=f"haproxy at {pair[1].socket} cannot be reached"):
            await edge.drain("n1", soon())
        assert " 8 " not in pair[0].ask("show servers state web")


async def test_an_instance_that_refuses_a_change_has_it_taken_back_at_the_others() -> None:
    with ExitStack() as stack:
        body = web([("n1", "127.0.1.1:1")])
        pair = [stack.enter_context(running_haproxy(body)) for _ in range(2)]
        edge = balancer(pair[0].socket, str(pair[1].folder / "user.sock"))
        with pytest.raises(BalancerRefused, match="level admin is needed"):
            await edge.maint("n1", soon())
        assert pair[0].ask("show servers state web").splitlines()[2].split()[6] == "0"


async def test_names_must_mean_one_server() -> None:
    body = (
        web([("n1", "127.0.1.1:1")])
        + "backend admin\n  mode http\n  server n1 127.0.1.1:2\n  server n2 127.0.1.2:2\n"
    )
    with running_haproxy(body) as haproxy:
        edge = balancer(haproxy.socket)
        with pytest.raises(
            NoSuchServer, match="n1 stands in several backends: write one of admin/n1, web/n1"
        ):
            await edge.drain("n1", soon())
        with pytest.raises(NoSuchServer, match="has no server n9; it has admin/n1, admin/n2, web/n1"):
            await edge.drain("n9", soon())
        assert set(await edge.servers(soon())) == {"admin/n1", "web/n1", "n2"}
        await edge.drain("web/n1", soon())
        states = await edge.servers(soon())
        assert [states[each].status for each in ("web/n1", "admin/n1", "n2")] == ["drain", "ready", "ready"]
        both = balancer(haproxy.socket, backends=("web", "admin"))
        await both.maint("n1", soon())
        states = await edge.servers(soon())
        assert [states[each].status for each in ("web/n1", "admin/n1", "n2")] == ["maint", "maint", "ready"]


@pytest.mark.parametrize("has_master", [True, False], ids=["master socket", "stats socket"])
async def test_a_reload_in_the_middle_of_a_drain_is_noticed_and_the_old_process_is_waited_for(
    has_master: bool,
) -> None:
    async with nodes(2) as (one, two), AsyncExitStack() as stack:
        body = web([(each.name, each.where) for each in (one, two)])
        haproxy = stack.enter_context(running_haproxy(body, has_master=has_master))
        told: list[str] = []
        edge = balancer(haproxy.master if has_master else haproxy.socket, told=told)
        clients = [await stack.enter_async_context(Client(haproxy.port)) for _ in range(2)]
        held = [asyncio.create_task(client.ask("/held")) for client in clients]
        await one.until_held(1)
        draining = asyncio.create_task(edge.drain("n1", soon()))
        await until_draining(edge, draining)
        await asyncio.to_thread(haproxy.reload)
        await until_draining(edge, draining)  # again
        assert any("was reloaded or restarted while n1 drained" in each for each in told)
        assert not draining.done()
        one.release.set()
        two.release.set()
        await draining
        assert sorted(await asyncio.gather(*held)) == ["n1", "n2"]


async def test_a_reload_is_an_error_where_the_old_process_cannot_be_seen() -> None:
    async with nodes(1) as (one,), AsyncExitStack() as stack:
        haproxy = stack.enter_context(running_haproxy(web([("n1", one.where)])))
        edge = balancer(haproxy.tcp)
        client = await stack.enter_async_context(Client(haproxy.port))
        held = asyncio.create_task(client.ask("/held"))
        await one.until_held(1)
        draining = asyncio.create_task(edge.drain("n1", soon()))
        await until_draining(edge, draining)
        await asyncio.to_thread(haproxy.reload)
        with pytest.raises(BalancerError, match="the sessions of its old process cannot be seen"):
            await draining
        one.release.set()
        await held


async def test_somebody_else_who_makes_a_draining_server_ready_is_noticed() -> None:
    async with nodes(1) as (one,), AsyncExitStack() as stack:
        haproxy = stack.enter_context(running_haproxy(web([("n1", one.where)])))
        edge = balancer(haproxy.socket)
        client = await stack.enter_async_context(Client(haproxy.port))
        held = asyncio.create_task(client.ask("/held"))
        await one.until_held(1)
        draining = asyncio.create_task(edge.drain("n1", soon()))
        await until_draining(edge, draining)
        haproxy.ask("set server web/n1 state ready")
        with pytest.raises(BalancerError, match="somebody else has set n1"):
            await draining
        one.release.set()
        await held


async def until_draining(edge: HAProxy, draining: asyncio.Task[None]) -> ServerState:
    async with asyncio.timeout(60):
        while not draining.done():
            with suppress(BalancerUnreachable):  # it may be restarting
                state = (await edge.servers(soon()))["n1"]
                if state.status == "drain":
                    return state
            await asyncio.sleep(0.02)  # HAProxy has no event to wait for
    await draining
    raise AssertionError("it ended")


async def test_many_questions_at_once_are_all_answered() -> None:
    with running_haproxy(web([(f"n{each}", "127.0.1.1:1") for each in range(200)])) as haproxy:
        edge = balancer(haproxy.socket)
        await asyncio.gather(*(edge.drain(f"n{each}", soon(100)) for each in range(200)))
        assert {each.status for each in (await edge.servers(soon())).values()} == {"drain"}


async def test_a_server_that_gets_no_work_because_of_its_weight_says_so() -> None:
    with running_haproxy(web([("n1", "127.0.1.1:1")])) as haproxy:
        edge = balancer(haproxy.socket)
        haproxy.ask("set server web/n1 weight 0")
        state = (await edge.servers(soon()))["n1"]
        assert "weight 0: it gets no work" in state.instances[haproxy.socket].detail


async def test_a_state_file_that_outlives_a_reload_keeps_the_server_out() -> None:
    lines = {
        "global_lines": "server-state-file {folder}/state",
        "default_lines": "load-server-state-from-file global",
    }
    with running_haproxy(web([("n1", "127.0.1.1:1")]), **lines) as haproxy:
        edge = balancer(haproxy.socket)
        await edge.maint("n1", soon())
        (haproxy.folder / "state").write_text(haproxy.ask("show servers state"))
        await asyncio.to_thread(haproxy.reload)
        assert (await edge.servers(soon()))["n1"].status == "maint"


async def test_clients_bound_by_a_cookie_reach_a_draining_server_until_it_is_out() -> None:
    async with nodes(2) as (one, two), AsyncExitStack() as stack:
        body = web([(each.name, f"{each.where} cookie {each.name}") for each in (one, two)])
        body = body.replace("backend web\n", "backend web\n  cookie S insert indirect nocache\n")
        haproxy = stack.enter_context(running_haproxy(body))
        edge = balancer(haproxy.socket)
        await edge.drain("n1", soon())
        reader, writer = await asyncio.open_connection("127.0.0.1", haproxy.port)
        writer.write(b"GET /held HTTP/1.1\r\nHost: x\r\nCookie: S=n1\r\n\r\n")
        await one.until_held(1)  # HAProxy's own rule
        with pytest.raises(DrainLate):
            await edge.drain("n1", soon(2))
        one.release.set()
        await reader.readuntil(b"\r\n\r\n")
        await edge.drain("n1", soon())
        await edge.maint("n1", soon())
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nCookie: S=n1\r\n\r\n")
        assert b"n2" in await reader.read(1000) + await reader.read(1000)
        writer.close()


async def garbage(answer: bytes) -> tuple[asyncio.Server, str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "stopped in the middle of its answer"),
        (b"\0\xff\x1b[2J garbage\n\n", "does not say which process it is"),
        (b"Pid: 7\n\n", "did not answer in its own words"),
        (b"Pid: 7\n# pxname,svname\nweb,n1\n", "stopped in the middle of its answer"),
        (b"Pid: 7\n# be_name srv_name srv_admin_state\nweb\n\n", "rows of different lengths"),
    ],
)
async def test_an_answer_that_is_no_answer_is_refused(answer: bytes, said: str) -> None:
    server, address = await garbage(answer)
    with pytest.raises(BalancerUnreachable, match=said):
        await balancer(address).servers(soon())
    server.close()


async def test_an_instance_that_does_not_answer_in_time_is_told() -> None:
    server = await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.1", 0)
    address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(BalancerUnreachable, match=r"did not answer within 0\.2 s"):
        await balancer(address, answer=0.2).servers(soon())
    server.close()


@pytest.mark.parametrize("count", [1000, pytest.param(9000, marks=pytest.mark.soak)])
async def test_thousands_of_sessions_are_counted_and_told_by_age(count: int) -> None:
    async with nodes(1) as (one,), AsyncExitStack() as stack:
        haproxy: HAProxyServer = stack.enter_context(
            running_haproxy(web([("n1", one.where)]), global_lines="maxconn 9500")
        )
        edge = balancer(haproxy.socket)
        for start in range(0, count, 250):
            pairs = await asyncio.gather(
                *(asyncio.open_connection("127.0.0.1", haproxy.port) for _ in range(250))
            )
            for _, writer in pairs:
                stack.callback(writer.close)
                writer.write(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
            await one.until_held(start + 250)
        with pytest.raises(DrainLate, match=f"n1 still has {count} sessions") as caught:
            await edge.drain("n1", soon(2))
        ages = [each.age_s for each in caught.value.sessions]
        assert len(ages) == count
        assert ages == sorted(ages, reverse=True)
        one.release.set()
        await edge.drain("n1", soon())
