"""Settings of an application's runtime change inside the running workers: in all of them, or in none."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from serve.clients import Held, fetch, in_flight_now, open_gate, pids, place, state, tell
from serve.harm import Mortal, state_of
from serve.live_apps import Watch, write_fault, write_settings, write_shop
from serve.service import Service, running, wait_for

WORKERS = 3

pytestmark = pytest.mark.timeout(600)  # many processes are started, perhaps on a busy machine


@contextmanager
def mortal(folder: Path) -> Iterator[Mortal]:
    service = Mortal(folder)
    service.configure(app="app:app", bind=["127.0.0.1:0"], state_dir=str(folder / "state"), workers=WORKERS)
    try:
        service.start()
        yield service
    finally:
        service.end()
        service.kill_all()


def level(service: Service) -> str:
    return str(fetch(place(service)).json["level"])


def row(service: Service) -> Any:
    return tell(service, "history", limit=1)[0]


@pytest.mark.parametrize(
    ("kind", "fork"), [("asgi", "auto"), ("wsgi", "auto"), ("lifespan", "auto"), ("asgi", "never")]
)
def test_live_options_change_inside_the_same_processes(tmp_path: Path, kind: str, fork: str) -> None:
    write_shop(tmp_path, kind=kind)
    write_settings(tmp_path, level="info")
    with running(tmp_path, workers=WORKERS, fork=fork) as service:
        before = pids(service)
        write_settings(tmp_path, level="debug", password="sesame")
        diff = _said(service, "diff", by_command=kind == "wsgi")
        assert "live: every changed option is live" in diff
        assert 'level: "info" → "debug"' in diff
        assert "rebuild Greeter: level changed" in diff
        assert level(service) == "info", "nothing has moved"
        told = _said(service, "reload", by_command=kind == "wsgi")
        assert "generation 1 serves, changed in place" in told
        assert {fetch(place(service), "/pieces").json["level"] for _ in range(12)} == {"debug"}
        assert pids(service) == before
        shown = service.status()
        assert shown["applied_hash"] == shown["attempted_hash"] == shown["generations"][0]["settings_hash"]
        assert (row(service)["plan"]["how"], row(service)["status"]) == ("live", "applied")

        assert "changed in place" in _said(service, "rollback", by_command=kind == "wsgi")
        assert {fetch(place(service)).json["level"] for _ in range(12)} == {"info"}
        assert tell(service, "rollback")["outcome"]["status"] == "applied"
        assert level(service) == "debug", "a rollback is taken back as well"
        assert pids(service) == before
        told = json.dumps([diff, tell(service, "history"), service.status(), service.log])
        assert "password" in told
        assert "sesame" not in told
        assert b"sesame" not in b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())


def _said(service: Service, method: str, *, by_command: bool) -> str:
    """What is told by the command, or by the service itself, without the start of a Python process."""
    if by_command:
        done = service.command(method)
        assert done.code == 0, done
        return done.out
    answer = tell(service, method)
    return "\n".join(answer["lines"]) if method == "diff" else str(answer["outcome"]["message"])


def test_everything_else_takes_new_processes_and_the_plan_says_why(tmp_path: Path) -> None:
    write_shop(tmp_path)
    write_settings(tmp_path, level="info")
    with running(tmp_path, workers=2) as service:
        generation = 1

        def expect(why: str, shows: Sequence[str] = (), **reload: Any) -> None:
            nonlocal generation
            before = pids(service)
            plan = tell(service, "diff")["plan"]
            if not reload:
                assert (plan["how"], why in plan["why"]) == ("new generation", True), plan
                assert [each["key"] for each in plan["differences"]] == list(shows) or not shows
            answer = tell(service, "reload", **reload)
            generation += 1
            assert answer["outcome"]["status"] == "applied", answer
            assert (answer["outcome"]["generation"], why in answer["outcome"]["message"]) == (
                generation,
                True,
            )
            assert not before & pids(service)

        write_settings(tmp_path, level="info", slots=2)
        expect("slots takes effect in new processes only")
        assert fetch(place(service)).json["slots"] == 2
        write_shop(tmp_path, "v2")
        write_settings(tmp_path, 'levl = "debug"\n')
        checked = service.command("check", "hitless")
        assert (checked.code, "shop.toml:1: levl: unknown key" in checked.err) == (2, True), checked
        assert "the settings are refused by the code that runs" in service.command("diff").out
        write_settings(tmp_path, level="debug", slots=2)
        expect(f"code has changed ({tmp_path / 'app.py'})", shows=["level"])
        assert (fetch(place(service)).json["version"], level(service)) == ("v2", "debug")
        write_settings(tmp_path, level="info", slots=2)
        service.configure(threads=3)
        expect("threads changed", shows=["threads", "level"])
        assert level(service) == "info"
        assert (tell(service, "rollback")["plan"]["differences"][-1]["key"], level(service)) == (
            "level",
            "debug",
        )
        generation += 1
        expect("threads changed", shows=["threads", "level"])
        expect("nothing differs that could change inside the processes")
        write_settings(tmp_path, level="debug", slots=2)
        expect("it was asked for", restart=True)
        assert level(service) == "debug"
        (tmp_path / "late.py").write_text("")  # a file that nobody has imported is nobody's code
        write_settings(tmp_path, level="warning", slots=2)
        assert tell(service, "reload")["plan"]["how"] == "live"


def test_rollback_goes_back_over_processes_and_settings_one_by_one(tmp_path: Path) -> None:
    write_shop(tmp_path)
    write_settings(tmp_path, level="one")
    with running(tmp_path, workers=2, start__probation="10m") as service:
        write_settings(tmp_path, level="two")
        assert tell(service, "reload")["plan"]["how"] == "live"
        write_shop(tmp_path, "v2")
        write_settings(tmp_path, level="three")
        assert tell(service, "reload")["outcome"]["generation"] == 2
        write_settings(tmp_path, level="four")
        assert tell(service, "reload")["plan"]["how"] == "live"

        def now() -> tuple[str, str]:
            found = fetch(place(service)).json
            return found["version"], found["level"]

        assert now() == ("v2", "four")
        answer = tell(service, "rollback")
        assert (answer["plan"]["how"], now()) == ("live", ("v2", "three"))
        write_shop(tmp_path, "v3")  # code that is lying about matters to nobody who goes back
        assert tell(service, "rollback")["plan"]["how"] == "live"
        assert now() == ("v2", "four")
        service.configure(threads=3)
        assert tell(service, "reload")["outcome"]["status"] == "applied"
        assert now() == ("v3", "four")
        assert tell(service, "rollback")["plan"]["how"] == "new generation"
        assert now() == ("v2", "four"), "its processes come back with the settings that they had last"


def test_what_is_refused_by_the_sources_moves_nothing(tmp_path: Path) -> None:
    write_shop(tmp_path)
    write_settings(tmp_path, level="info")
    with running(tmp_path, workers=2) as service:
        before = pids(service)
        write_settings(tmp_path, 'levl = "debug"\n')
        for words in (("reload",), ("diff",), ("check", "hitless")):
            told = service.command(*words)
            assert told.code == 2, told
            assert "shop.toml:1: levl: unknown key; did you mean level?" in told.err
        assert row(service)["reason"] == "configuration_invalid"
        assert (pids(service), level(service)) == (before, "info")
        write_settings(tmp_path, level="debug")
        assert service.command("check", "hitless").code == 0
        assert (pids(service), level(service)) == (before, "info")


def test_whoever_is_started_later_has_the_settings_of_the_others_whatever_the_file_says(
    tmp_path: Path,
) -> None:
    write_shop(tmp_path)
    write_settings(tmp_path, level="one")
    with running(tmp_path, workers=2) as service:
        write_settings(tmp_path, level="two")
        tell(service, "reload")
        write_settings(tmp_path, "levl = 1\n")
        (victim, *_) = before = pids(service)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: len(pids(service) - {victim}) == 2, 60, what="another worker")
        assert len(pids(service) & before) == 1
        assert {fetch(place(service)).json["level"] for _ in range(20)} == {"two"}
        tell(service, "scale", workers=4)
        assert {fetch(place(service)).json["level"] for _ in range(20)} == {"two"}
        upgraded = tell(service, "upgrade")
        assert upgraded["outcome"]["status"] == "applied", upgraded
        tell(service, "scale", workers=5)
        service.configure(workers=5)
        write_settings(tmp_path, level="three")
        answer = tell(service, "reload")
        assert (answer["plan"]["how"], level(service)) == ("live", "three")
        assert tell(service, "rollback")["plan"]["how"] == "live"
        assert {fetch(place(service)).json["level"] for _ in range(20)} == {"two"}


@pytest.mark.parametrize("kind", ["asgi", "wsgi", "lifespan"])
def test_a_runtime_that_cannot_start_keeps_the_new_generation_from_serving(tmp_path: Path, kind: str) -> None:
    write_shop(tmp_path, kind=kind)
    write_settings(tmp_path, level="info")
    with running(tmp_path) as service:
        write_shop(tmp_path, "v2", kind)
        write_settings(tmp_path, level=3)
        answer = tell(service, "reload")
        assert answer["outcome"]["reason"] == "lifespan_failed"
        assert "shop.toml:1: level: expected text, got 3" in answer["outcome"]["message"]
        assert fetch(place(service)).json["version"] == "v1"


def test_a_request_in_flight_keeps_its_settings_and_status_says_who_holds_them(tmp_path: Path) -> None:
    write_shop(tmp_path)
    write_settings(tmp_path, level="info")
    with running(tmp_path) as service, Held(place(service)) as held:
        held.send("/gate")
        wait_for(lambda: in_flight_now(service) == 1, 60, what="a request in flight")
        write_settings(tmp_path, level="debug")
        assert tell(service, "reload")["plan"]["how"] == "live"
        assert level(service) == "debug"
        shown = service.command("status").out
        assert ", settings: generation 1 drains (replaced): 1 leases left" in shown
        assert "the generation, taken at " in shown
        open_gate(service)
        assert held.receive().json["level"] == "info"
        assert held.ask().json["level"] == "debug"
        wait_for(
            lambda: not state(service)["generations"][0]["workers"][0]["live_drains"],
            60,
            what="the end of the drain",
        )


def test_a_worker_does_not_change_alone_and_settings_that_cannot_travel_take_new_processes(
    tmp_path: Path,
) -> None:
    write_shop(tmp_path)
    with (tmp_path / "app.py").open("a") as file:
        file.write(ALONE)
    write_settings(tmp_path, level="info")
    with running(tmp_path) as service:
        assert fetch(place(service), "/alone").json["said"] == "HostDecides"
        write_settings(tmp_path, level="odd!")
        answer = tell(service, "reload")
        assert answer["plan"]["how"] == "new generation"
        assert "cannot be passed from process to process" in answer["plan"]["why"]


ALONE = """
from pydantic import field_validator

class Odd(Settings):
    @field_validator("level", mode="after")
    @classmethod
    def _grow(cls, value):  # reads something else than it writes
        return value + "!" if value.startswith("odd!") else value

shop, alone = app, Runtime(Odd, name="shop")

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await alone.start(TomlFile("shop.toml"))
        await send(dict(type="lifespan.startup.complete"))
        await receive()
        await alone.stop()
        return await send(dict(type="lifespan.shutdown.complete"))
    try:
        await alone.reload()
        said = "nothing"
    except Exception as error:
        said = type(error).__name__
    body = json.dumps(dict(said=said)).encode()
    await send(dict(type="http.response.start", status=200, headers=[(b"content-length", str(len(body)).encode())]))
    await send(dict(type="http.response.body", body=body))
"""


@pytest.mark.parametrize("how", ["kill", pytest.param("stop", marks=pytest.mark.soak)])
def test_who_is_lost_at_the_swap_is_replaced_from_the_new_settings(tmp_path: Path, how: str) -> None:
    write_shop(tmp_path)
    write_settings(tmp_path, level="one")
    with mortal(tmp_path) as service, Watch(place(service)) as watch:
        watch.more(60)
        before = pids(service)
        victim = min(before)
        write_settings(tmp_path, level="two")
        service.arm("stop", "live.settled")
        answer: list[Any] = []
        reloading = threading.Thread(target=lambda: answer.append(service.reload()))
        reloading.start()
        wait_for(lambda: state_of(service.pid) == "T", 60, what="the supervisor at the swap")
        os.kill(victim, signal.SIGKILL if how == "kill" else signal.SIGSTOP)
        os.kill(service.pid, signal.SIGCONT)
        reloading.join(120)
        committed = time.monotonic()
        assert answer[0].json["outcome"]["status"] == "applied", answer
        wait_for(lambda: len(pids(service) - {victim}) == WORKERS, 60, what="another worker")
        watch.more(100)
        assert {each.level for each in watch.since(committed) if not each.failure} == {"two"}
        assert {each.pid for each in watch.seen if each.failure} <= {victim, None}
        assert pids(service) >= before - {victim}


def test_twenty_changes_good_and_bad_leave_one_state_in_all_workers(tmp_path: Path) -> None:
    write_shop(tmp_path)
    current = "level 0"
    write_settings(tmp_path, level=current)
    chosen = random.Random(20261121)
    bad = [(phase, how) for phase in ("prepare", "settle") for how in ("refuse", "hang", "kill")]
    plan: list[tuple[str, str] | None] = [None] * (20 - len(bad)) + bad
    chosen.shuffle(plan)
    killed: set[int] = set()
    with running(tmp_path, workers=WORKERS) as service, Watch(place(service)) as watch:
        watch.more(60)
        for number, fault in enumerate(plan, 1):
            wait_for(lambda: len(pids(service)) == WORKERS, 60, what="all workers")
            before = pids(service)
            wanted = f"level {number}"
            write_settings(tmp_path, level=wanted)
            victim = chosen.choice(sorted(before))
            if fault is not None:
                write_fault(tmp_path, victim, *fault)
            began = time.monotonic()
            outcome = tell(service, "reload")["outcome"]
            ended = time.monotonic()
            (tmp_path / "fault").unlink(missing_ok=True)
            if fault is None:
                assert outcome["status"] == "applied", outcome
                assert pids(service) == before
                current = wanted
            else:
                status = "rejected" if fault[0] == "prepare" else "rolled_back"
                assert outcome["status"] == status, (fault, outcome)
                assert outcome["generation"] == 1
            if fault is not None and fault[1] == "kill":
                assert outcome["reason"] == "worker_died"
                killed.add(victim)
            watch.more(60)
            assert {each.level for each in watch.since(ended) if not each.failure} == {current}, (
                number,
                fault,
            )
            if fault is not None:
                assert {each.level for each in watch.since(began) if not each.failure} == {current}, (
                    "nobody changed"
                )
        rows = tell(service, "history", limit=30)
        assert {each["plan"].get("how") for each in rows if each["plan"]["kind"] == "reload"} == {"live"}
        assert state(service)["generation"] == 1
    failed = [each for each in watch.seen if each.failure]
    assert {each.pid for each in failed} <= killed | {None}, failed
    assert len([each for each in failed if each.pid is None]) <= 6 * len(killed), failed
    assert len(watch.seen) > 1000
