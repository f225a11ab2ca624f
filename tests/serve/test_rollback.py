"""A rollback brings the old generation back, code and all, and the journal remembers what that was."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from serve.clients import Held, fetch, place, reload, state, tell, unharmed, write_teller
from serve.service import Service, running, wait_for
from serve.test_changes import beside

SLOW_IMPORT_S = 0.6


def write_slow_app(folder: Path, version: str) -> None:
    write_teller(folder, version)
    file = folder / "app.py"
    file.write_text(f"import time\ntime.sleep({SLOW_IMPORT_S})\n" + file.read_text())


def roll_back(service: Service) -> Any:
    outcome = tell(service, "rollback")["outcome"]
    assert outcome["status"] == "applied", outcome
    return outcome


async def test_a_rollback_is_instant_and_brings_back_code_that_is_no_longer_on_disk(tmp_path: Path) -> None:
    write_slow_app(tmp_path, "v1")
    with running(tmp_path, workers=2, env={"N": "1"}) as service:
        async with unharmed(place(service), clients=8) as load:
            with Held(place(service)) as held:
                write_slow_app(tmp_path, "v2")
                await beside(reload, service, env={"N": "2"})
                assert held.ask().json["version"] == "v2"
                assert state(service)["on_probation"]
                (tmp_path / "app.py").write_text("this is no Python")
                service.config.write_text("this is no TOML")
                await beside(roll_back, service)
                now = held.ask().json
                assert (now["version"], now["env"]["N"]) == ("v1", "1")
                await load.more(20)
                await beside(roll_back, service)
                now = held.ask().json
                assert (now["version"], now["env"]["N"]) == ("v2", "2"), "a rollback can be rolled back"
                await beside(roll_back, service)
                assert held.ask().json["version"] == "v1"
        rollbacks = [row for row in tell(service, "history") if row["plan"]["kind"] == "rollback"]
        assert [row["generation"] for row in rollbacks] == [5, 4, 3]
        for row in rollbacks:
            assert row["timings"]["prepare"] < SLOW_IMPORT_S, "forked from what was kept, not imported"


def test_the_kept_generation_may_die_and_the_rollback_imports_it_anew(tmp_path: Path) -> None:
    write_teller(tmp_path)
    with running(tmp_path, env={"N": "1"}) as service, Held(place(service)) as held:
        reload(service, env={"N": "2"})
        kept = next(one for one in state(service)["generations"] if one["state"] != "serving")
        os.kill(kept["template_pid"], signal.SIGKILL)
        wait_for(lambda: not state(service)["on_probation"], 10, what="the end of what was kept")
        roll_back(service)
        assert held.ask().json["env"]["N"] == "1"


def test_after_probation_the_settings_come_from_the_journal(tmp_path: Path) -> None:
    write_teller(tmp_path)
    with running(tmp_path, env={"N": "1"}, start__probation="50ms") as service, Held(place(service)) as held:
        write_teller(tmp_path, "v2")
        reload(service, env={"N": "2"})
        service.await_log("probation generation=2 ended")
        assert not state(service)["on_probation"]
        roll_back(service)
        now = held.ask().json
        assert (now["env"]["N"], now["version"]) == ("1", "v2"), (
            "the settings are back; the code is what is there"
        )
        service.await_log("probation generation=3 ended")
        tell(service, "scale", workers=2)
        roll_back(service)
        assert held.ask().json["env"]["N"] == "2"


def test_with_nothing_to_go_back_to_the_service_stays_as_it_is(tmp_path: Path) -> None:
    write_teller(tmp_path)
    with running(tmp_path) as service:
        for _ in range(2):
            result = service.command("rollback", "--json")
            assert (result.code, result.reason) == (3, "nothing_to_roll_back_to")
            tell(service, "scale", workers=2)
        told = service.command("rollback")
        assert told.code == 3
        assert "nothing to roll back to" in told.err
        assert "generation 1 still serves" in told.err
        assert fetch(place(service)).status == 200


def test_history_and_rollback_survive_a_restart_of_the_supervisor(tmp_path: Path) -> None:
    write_teller(tmp_path)
    with running(tmp_path, env={"N": "1"}) as service:
        reload(service, env={"N": "2"})
        wait_for(
            lambda: tell(service, "history")[0]["drained"], 20, what="the end of the drain in the journal"
        )
        before = tell(service, "history")
    with running(tmp_path, env={"N": "2"}, control=str(tmp_path / "run" / "elsewhere.sock")) as service:
        rows = service.command("history", str(tmp_path / "run" / "elsewhere.sock"), "--json").json
        assert rows[1:] == before, "nothing is forgotten"
        assert (rows[0]["plan"]["kind"], rows[0]["status"]) == ("start", "applied")
        result = service.command("rollback", str(tmp_path / "run" / "elsewhere.sock"), "--json")
        assert result.code == 0, result
        (difference,) = result.json["plan"]["differences"]
        assert (difference["key"], difference["old"], difference["new"]) == ("env.N", "2", "1")


def test_a_journal_that_cannot_be_written_keeps_no_service_down(tmp_path: Path) -> None:
    write_teller(tmp_path)
    (tmp_path / "file").touch()
    with running(tmp_path, state_dir=str(tmp_path / "file" / "state")) as service:
        assert "cannot be written" in service.log
        assert "this run's journal is" in service.log
        reload(service)
        assert len(tell(service, "history")) == 2
